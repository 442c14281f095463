"""Rescoring: the current view of every stored object under the bundles in use now, published once more.

It reads the stores of a stopped worker (a running one holds them under their locks) and changes nothing in them. The
view is the one at the group's committed position (the store's, where the broker has forgotten the group): what lies
beyond it triggers by itself when the worker starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Final

from confluent_kafka import KafkaException, TopicPartition

from broker_plugin.kafka.client import AckedProducer, open_consumer
from broker_plugin.kafka.topics import num_partitions, topic_identity
from broker_plugin.messages import (
    HEADER_LOG_OFFSET,
    HEADER_LOG_PARTITION,
    HEADER_LOG_TOPIC,
    HEADER_RESCORED,
    HEADER_TRIGGER_SOURCE_ID,
    OutputRecord,
)
from broker_plugin.settings.sections import Settings
from broker_plugin.store.assembly import FrameCache, assemble
from broker_plugin.store.stamp_store import StampStore
from broker_plugin.store.store_file import StoreIdentity
from broker_plugin.store.triggers import LoadedBundle
from broker_plugin.version import plugin_version
from broker_plugin.worker.classify import store_path
from broker_plugin.worker.output_form import OutputForm
from broker_plugin.worker.scoring import classify_sequences
from model.scores import Scorer
from schemas.classification import Status
from schemas.errors import BrokerError, SettingsError, StoreError
from schemas.sequence import StampSequence
from schemas.view import FactKey, select_view

CHUNK: Final = 64
BROKER_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class _View:
    """What one bundle sees of one object at ``newest_offset``, the largest first offset among its frames."""

    object_key: bytes
    bundle: LoadedBundle
    sequence: StampSequence
    newest_offset: int


def rescore(
    settings: Settings,
    scorers: Collection[Scorer],
    producer: AckedProducer,
    *,
    moved: Callable[[int], None] = lambda num_objects: None,
) -> Counter[str]:
    """Publish a record of every object in the stores of ``classify.state_dir``; how many of each status.

    ``moved`` hears the number of objects done. SettingsError when there is no store, StoreError when a worker holds
    one or one lacks frames that the bundles want, BrokerError when Kafka fails.
    """
    topic, classify = settings.internal.stamp_log_topic, settings.classify
    bundles = [LoadedBundle.of(scorer, classify) for scorer in scorers]
    positions = _committed_positions(settings)
    identity = topic_identity(settings.internal, topic)
    places = {partition: store_path(settings, partition) for partition in positions}
    places = {partition: path for partition, path in places.items() if path.exists()}
    if not places:
        raise SettingsError(f"classify.state_dir: {classify.state_dir} holds no store of {topic}")
    form = OutputForm(settings.output, patience_s=settings.worker.delivery_timeout_s)
    counts: Counter[str] = Counter()
    for partition, path in places.items():
        owner = StoreIdentity(*identity, topic, partition, len(positions))
        with closing(StampStore(path, owner, holder="rescoring")) as store:
            if not store.serves([bundle.rule for bundle in bundles]):
                raise StoreError(
                    f"{path} lacks frames that the bundles want: start a worker with them, it is rebuilt"
                )
            committed, applied = positions[partition], store.position or 0
            at_offset = (applied if committed is None else min(applied, committed)) - 1
            for record in _records(store, bundles, partition, at_offset, topic):
                counts[record.classification.status.value] += 1
                if record.classification.status is not Status.TOO_SHORT or classify.publish_too_short:
                    for to_topic, value in form.messages(record):
                        producer.produce(to_topic, key=record.key, value=value, headers=record.headers)
                moved(counts.total())
        producer.flush()
    return counts


def _records(
    store: StampStore, bundles: Sequence[LoadedBundle], partition: int, at_offset: int, topic: str
) -> Iterator[OutputRecord]:
    cache = FrameCache()
    views = _views(store, bundles, at_offset, cache)
    while chunk := list(islice(views, CHUNK)):
        said = classify_sequences(
            [view.sequence for view in chunk], [view.bundle for view in chunk], plugin_version=plugin_version()
        )
        for view, classification in zip(chunk, said, strict=True):
            headers = (
                (HEADER_TRIGGER_SOURCE_ID, view.sequence.source_ids[-1].encode()),
                (HEADER_LOG_TOPIC, topic.encode()),
                (HEADER_LOG_PARTITION, str(partition).encode()),
                (HEADER_LOG_OFFSET, str(view.newest_offset).encode()),
                (HEADER_RESCORED, b"1"),
            )
            yield OutputRecord(
                view.object_key, classification.to_bytes(), headers, partition, view.newest_offset, classification
            )


def _views(store: StampStore, bundles: Sequence[LoadedBundle], at_offset: int, cache: FrameCache) -> Iterator[_View]:
    """The views of every object that have a frame, in the order of the objects' arrival."""
    for object_key in list(store.object_keys()):
        facts = store.facts(object_key)
        for bundle in bundles:
            keys: list[FactKey] = select_view(facts, bundle.rule, at_offset=at_offset)
            if keys:
                sequence = assemble(store, object_key, bundle.rule, at_offset=at_offset, cache=cache)
                yield _View(object_key, bundle, sequence, max(key.first_offset for key in keys))


def _committed_positions(settings: Settings) -> dict[int, int | None]:
    """The classify group's next offset by partition, None where the broker has none."""
    internal = settings.internal
    topic = internal.stamp_log_topic
    places = [TopicPartition(topic, partition) for partition in range(num_partitions(internal, topic))]
    consumer = open_consumer(internal, {"group.id": internal.group})
    try:
        found = consumer.committed(places, timeout=BROKER_TIMEOUT_S)
    except KafkaException as error:
        raise BrokerError(f"{internal.bootstrap_servers}: group {internal.group}: {error}") from error
    finally:
        consumer.close()
    return {place.partition: place.offset if place.offset >= 0 else None for place in found}
