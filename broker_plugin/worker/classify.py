"""The classify role: stamp log in, classifications out. Stateful: one store a partition of the log.

Durable order of a batch: applied to the store (one open transaction), scored, produced, acknowledged, ledger entry
acknowledged, store committed with its position, group's offset committed. docs/guarantees.md says what a death after
each of them leads to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from confluent_kafka import Consumer, Message, TopicPartition

from broker_plugin.accounts.dead_letters import DeadLetterWriter
from broker_plugin.accounts.ledger import LedgerWriter
from broker_plugin.kafka.client import next_batch
from broker_plugin.kafka.delivery import Delivery
from broker_plugin.kafka.topics import num_partitions
from broker_plugin.messages import HEADER_INGEST_TIME, HEADER_PRODUCER_TIME, BatchResult, LogMessage
from broker_plugin.settings.sections import Settings
from broker_plugin.store.stamp_store import StampStore
from broker_plugin.store.store_file import StoreIdentity, count_set_aside
from broker_plugin.telemetry.classify_metrics import ClassifyMetrics
from broker_plugin.telemetry.metrics import Step
from broker_plugin.version import plugin_version
from broker_plugin.worker.classify_engine import ClassifyEngine
from broker_plugin.worker.output_form import OutputForm
from broker_plugin.worker.partitions import Partitions
from broker_plugin.worker.points import Passed, Point, unwatched
from broker_plugin.worker.restores import Restores
from broker_plugin.worker.starting import Start, find_starts

log = structlog.get_logger(__name__)


class ClassifyRole:
    """What was not committed is delivered again, and a trigger delivered again gives the same bytes again."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        delivery: Delivery,
        engine: ClassifyEngine,
        *,
        metrics: ClassifyMetrics,
        instance: str,
        passed: Passed = unwatched,
    ) -> None:
        self._passed = passed
        self._settings = settings
        self._consumer = consumer
        self._delivery = delivery
        self._engine = engine
        self._metrics = metrics
        self._instance = instance
        self._topic = settings.internal.stamp_log_topic
        self._stores: dict[int, StampStore] = {}
        self._committed: dict[int, int] = {}
        self._form = OutputForm(settings.output, patience_s=settings.worker.delivery_timeout_s)
        group = settings.internal.group
        self._ledger = LedgerWriter(
            delivery.internal, settings.internal.ledger_topic, "classify", group, instance, metrics
        )
        self.partitions = Partitions(settings.internal, consumer, self._ledger, metrics)
        self._restores = Restores(metrics)
        self._letters = DeadLetterWriter(
            delivery.internal, settings.internal, metrics, plugin_version=plugin_version()
        )

    def subscribe(self, on_change: Callable[[bool], None]) -> None:
        """Join the group; ``on_change`` hears whether partitions are assigned."""

        def assigned(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            internal = self._settings.internal
            starts = find_starts(
                consumer,
                partitions,
                role="classify",
                group=internal.group,
                connection=internal,
                internal=internal,
            )
            # a group that never did anything starts at the log's beginning
            starts = [replace(s, position=s.log_start if s.position is None else s.position) for s in starts]
            self.partitions.assigned(starts)
            consumer.incremental_assign([self._open(start) for start in starts])
            on_change(True)

        def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            # called from consume, so between batches: nothing is in flight
            self.partitions.gone(partitions)
            self._close(partition.partition for partition in partitions)

        def lost(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self.partitions.gone(partitions, lost=True)
            self._close(partition.partition for partition in partitions)

        self._consumer.subscribe([self._topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def step(self) -> int:
        """One batch; returns its number of messages. Raises BrokerError, StoreError or InferenceError."""
        classify = self._settings.classify
        internal = self._settings.internal
        batch = next_batch(self._consumer, internal, classify.batch_size, classify.batch_deadline_s)
        messages = [_log_message(message) for message in batch]
        if not messages:
            self.partitions.report()
            return 0
        self._passed(Point.CONSUMED)
        self._metrics.batch(len(messages))
        result = self._engine.process(
            messages,
            self._stores,
            self._committed,
            restore_below=self._committed,
            coalesce_now=classify.coalesce and self._behind(messages) > classify.coalesce_lag,
        )
        self._metrics.took(result.durations_s, result.cpu_s)
        with self._metrics.step(Step.PUBLISH):
            self._publish(result)
        with self._metrics.step(Step.COMMIT):
            self._commit(messages)
        self._count(result)
        ends = {message.partition: message.offset + 1 for message in messages}
        self.partitions.handled(batch, [TopicPartition(self._topic, p, end) for p, end in ends.items()])
        self._restores.applied(ends)
        log.info("batch", messages=len(messages), records=len(result.records), unreadable=len(result.unreadable))
        return len(messages)

    @property
    def restored(self) -> bool:
        """Whether no store is being built from the log."""
        return self._restores.done

    def close(self) -> None:
        """Close the stores; open transactions roll back."""
        self._close(list(self._stores))

    def _open(self, start: Start) -> TopicPartition:
        """Open a partition's store; where its consumption starts."""
        partition, group_position = start.partition, start.place.offset
        num = num_partitions(self._settings.internal, self._topic)
        identity = StoreIdentity(start.cluster_id, start.topic_id, self._topic, partition, num)
        path = store_path(self._settings, partition)
        num_aside = count_set_aside(path)
        store = StampStore(path, identity, rules=self._engine.view_rules, holder=self._instance)
        if count_set_aside(path) > num_aside:
            self._metrics.store_rebuilt()
        self._stores[partition] = store
        self._committed[partition] = group_position
        first = self._restores.begin(start, store.position)
        log.info("partition assigned", partition=partition, start=first, group=group_position, store=store.position)
        return TopicPartition(self._topic, partition, first)

    def _close(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            store = self._stores.pop(partition, None)
            self._committed.pop(partition, None)
            self._restores.drop(partition)
            self._metrics.store_closed(partition)
            if store is not None:
                store.close()

    def _publish(self, result: BatchResult) -> None:
        self._delivery.begin()
        send, shadow_topic = self._delivery.output.produce, self._settings.output.shadow_topic
        for record in result.records:
            if record.publish:
                for topic, value in self._form.messages(record):
                    send(topic, key=record.key, value=value, headers=record.headers)
        for record in result.shadow:
            if record.publish:
                send(shadow_topic, key=record.key, value=self._form.value(record), headers=record.headers)
        for unreadable in result.unreadable:
            self._letters.record(unreadable)
        self._passed(Point.PRODUCED)
        self._delivery.output.flush()
        if result.unreadable:
            self._delivery.internal.flush()
        self._passed(Point.ACKNOWLEDGED)
        for partition, outcomes in result.outcomes.items():
            fresh = [(o.offset, o.outcome.value, o.reason) for o in outcomes]
            fresh = [entry for entry in fresh if entry[0] >= self._committed[partition]]
            if fresh:
                self._ledger.write(self._topic, partition, fresh)
        self._delivery.internal.flush()
        self._passed(Point.LEDGERED)

    def _commit(self, messages: Sequence[LogMessage]) -> None:
        starts = {message.partition: message.offset for message in reversed(messages)}
        ends = {message.partition: message.offset + 1 for message in messages}
        for partition in ends:
            self._stores[partition].commit()
        self._passed(Point.STORE_COMMITTED)
        moved = {p: end for p, end in ends.items() if end > self._committed[p]}
        if not self._delivery.commit(self._topic, starts, moved):
            self._metrics.batch_dropped()
            return
        self._passed(Point.GROUP_COMMITTED)
        self._committed |= moved

    def _behind(self, messages: Sequence[LogMessage]) -> int:
        lag = 0
        for partition, end in {message.partition: message.offset + 1 for message in messages}.items():
            marks = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            if marks is not None:
                lag += max(0, int(marks[1]) - end)
        return lag

    def _count(self, result: BatchResult) -> None:
        for outcomes in result.outcomes.values():
            for outcome in outcomes:
                self._metrics.outcome(outcome.outcome)
        self._count_challenge(result)
        for record in result.records:
            self._metrics.scored(record.classification)
            headers = dict(record.headers)
            self._metrics.published(
                observed_mjd=record.classification.last_mjd,
                produced_s=_seconds(headers.get(HEADER_PRODUCER_TIME)),
                ingested_s=_seconds(headers.get(HEADER_INGEST_TIME)),
            )
        for partition, store in self._stores.items():
            if partition in result.outcomes:
                counts = store.counts()
                self._metrics.store_size(
                    partition, num_objects=counts["objects"], num_facts=counts["facts"], size_bytes=counts["bytes"]
                )

    def _count_challenge(self, result: BatchResult) -> None:
        if not result.shadow and not result.num_unchallenged:
            return
        said = {(r.partition, r.offset): r.classification.predicted_class for r in result.records}
        agreed = sum(said[r.partition, r.offset] == r.classification.predicted_class for r in result.shadow)
        self._metrics.challenged(
            duration_s=result.durations_s["challenge"],
            agreed=agreed,
            disagreed=len(result.shadow) - agreed,
            failed=result.num_unchallenged,
        )


def store_path(settings: Settings, partition: int) -> Path:
    """The store file of one partition of the stamp log."""
    return Path(settings.classify.state_dir) / f"{settings.internal.stamp_log_topic}-{partition}.sqlite"


def _log_message(message: Message) -> LogMessage:
    key = message.key()
    pairs: list[tuple[str, bytes | None]] = list(message.headers() or ())  # type: ignore[arg-type]
    headers = tuple((name, value or b"") for name, value in pairs)
    return LogMessage(
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        key=key.encode() if isinstance(key, str) else key,
        payload=message.value() or b"",
        headers=headers,
        timestamp_ms=int(message.timestamp()[1]),
    )


def _seconds(milliseconds: bytes | None) -> float | None:
    if milliseconds is None or not re.fullmatch(rb"\d+", milliseconds):
        return None
    return int(milliseconds) / 1000
