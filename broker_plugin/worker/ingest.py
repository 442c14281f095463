"""The ingest role: packets in, observations on the stamp log out. Stateless; scaled by Kafka.

Durable order of a batch: produced, acknowledged, ledger entry acknowledged, group's offset committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from confluent_kafka import Consumer, Message, TopicPartition

from broker_plugin.accounts.dead_letters import DeadLetterWindow, DeadLetterWriter
from broker_plugin.accounts.ledger import LedgerWriter, Outcomes
from broker_plugin.kafka.client import AckedProducer, commit_offsets, next_batch
from broker_plugin.kafka.registry import Registry
from broker_plugin.messages import (
    HEADER_INGEST_TIME,
    HEADER_INPUT_OFFSET,
    HEADER_INPUT_PARTITION,
    HEADER_INPUT_TOPIC,
    HEADER_PRODUCER_TIME,
)
from broker_plugin.settings.sections import IngestSettings, RegistrySettings, Settings
from broker_plugin.telemetry.metrics import DEAD_LETTER, FILTERED, STAMPED, IngestMetrics, Step
from broker_plugin.worker.partitions import Partitions
from broker_plugin.worker.points import Passed, Point, unwatched
from broker_plugin.worker.schema_pauses import SchemaPauses
from broker_plugin.worker.starting import find_starts
from schemas.cuts import Cuts, SkyBox
from schemas.decode import PacketDecoder
from schemas.errors import PacketError, SchemaUnavailable
from schemas.observation import log_key
from schemas.outcome import Filtered

log = structlog.get_logger(__name__)


def cuts_of(settings: IngestSettings) -> Cuts:
    """The settings' cuts as the decoder takes them."""
    sky = settings.sky
    return Cuts(
        programids=frozenset(settings.programids) if settings.programids else None,
        min_reliability=settings.min_reliability,
        reject_moving=settings.reject_moving,
        sky_box=None if sky is None else SkyBox(sky.ra_min, sky.ra_max, sky.dec_min, sky.dec_max),
    )


def packet_decoder(settings: IngestSettings, registry: RegistrySettings | None = None) -> PacketDecoder:
    """What turns packets into observations as the settings ask; ``registry``: for schema ids that are not bundled."""
    resolver = None if registry is None or registry.registry_url is None else Registry(registry)
    return PacketDecoder(cuts=cuts_of(settings), keep_native=settings.keep_native, resolver=resolver)


class IngestRole:
    """At-least-once: a batch read again publishes the same bytes again, which the store knows as duplicates."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        producer: AckedProducer,
        *,
        metrics: IngestMetrics,
        instance: str,
        plugin_version: str,
        now: Callable[[], float] = time.time,
        passed: Passed = unwatched,
    ) -> None:
        self._passed = passed
        self._settings = settings
        self._consumer = consumer
        self._producer = producer
        self._metrics = metrics
        self._now = now
        self._decoder = packet_decoder(settings.ingest, settings.input)
        self._pauses = SchemaPauses(consumer, metrics)
        internal = settings.internal
        self._ledger = LedgerWriter(
            producer, internal.ledger_topic, "ingest", settings.input.group, instance, metrics
        )
        self.partitions = Partitions(settings.input, consumer, self._ledger, metrics)
        self._letters = DeadLetterWriter(producer, internal, metrics, plugin_version=plugin_version)
        self._window = DeadLetterWindow(settings.ingest)

    def subscribe(self, on_change: Callable[[bool], None]) -> None:
        """Join the group; ``on_change`` hears whether partitions are assigned."""

        def assigned(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            settings = self._settings
            starts = find_starts(
                consumer,
                partitions,
                role="ingest",
                group=settings.input.group,
                connection=settings.input,
                internal=settings.internal,
            )
            consumer.incremental_assign([start.place for start in starts])
            self.partitions.assigned(starts)
            on_change(True)

        def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._pauses.forget(partitions)
            self.partitions.gone(partitions)

        def lost(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._pauses.forget(partitions)
            self.partitions.gone(partitions, lost=True)

        topics = list(self._settings.input.topics)
        self._consumer.subscribe(topics, on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def step(self) -> int:
        """One batch; returns its number of packets. BrokerError when Kafka fails past its retries, TooManyDeadLetters
        when more than the set share of packets cannot be read."""
        ingest = self._settings.ingest
        self._pauses.resume_due()
        batch = next_batch(self._consumer, self._settings.input, ingest.batch_size, ingest.batch_deadline_s)
        if not batch:
            self.partitions.report()
            return 0
        self._passed(Point.CONSUMED)
        outcomes: dict[tuple[str, int], Outcomes] = {}
        with self._metrics.step(Step.DECODE):
            for message in batch:
                place = (str(message.topic()), int(message.partition() or 0))
                if self._pauses.holds(place):
                    continue
                try:
                    outcome, reason = self._one(message)
                except SchemaUnavailable as error:
                    self._pauses.pause(message, error)
                    continue
                self._pauses.decoded(place)
                outcomes.setdefault(place, []).append((int(message.offset() or 0), outcome, reason))
        if not outcomes:  # all of it waits for schemas
            return len(batch)
        self._passed(Point.PRODUCED)
        with self._metrics.step(Step.PUBLISH):
            self._producer.flush()
            self._passed(Point.ACKNOWLEDGED)
            for (topic, partition), of_partition in outcomes.items():
                self._ledger.write(topic, partition, of_partition)
            self._producer.flush()
        self._passed(Point.LEDGERED)
        with self._metrics.step(Step.COMMIT):
            ends = [TopicPartition(t, p, found[-1][0] + 1) for (t, p), found in outcomes.items()]
            if not commit_offsets(self._consumer, ends, retry_s=self._settings.worker.delivery_timeout_s):
                self._metrics.batch_dropped()
        self._passed(Point.GROUP_COMMITTED)
        self._metrics.batch(len(batch))
        self.partitions.handled(batch, ends)
        self._window.check()
        log.info("batch", packets=len(batch), partitions=len(outcomes))
        return len(batch)

    def _one(self, message: Message) -> tuple[str, str | None]:
        """Decode and queue one packet; what became of it."""
        payload = message.value() or b""
        try:
            outcome = self._decoder.decode(payload)
        except PacketError as error:
            self._letters.packet(message, error)
            self._metrics.dead_lettered(None, error.reason, size_bytes=len(payload))
            self._window.letter(error.reason)
            return DEAD_LETTER, error.reason.value
        self._window.sound()
        survey = outcome.identity.survey
        if isinstance(outcome, Filtered):
            self._metrics.filtered(survey, outcome.reason, size_bytes=len(payload))
            return FILTERED, outcome.reason.value
        fact = outcome.fact
        self._producer.produce(
            self._settings.internal.stamp_log_topic,
            key=log_key(fact.survey, fact.object_id),
            value=fact.to_bytes(),
            headers=[
                (HEADER_INPUT_TOPIC, str(message.topic()).encode()),
                (HEADER_INPUT_PARTITION, str(message.partition()).encode()),
                (HEADER_INPUT_OFFSET, str(message.offset()).encode()),
                (HEADER_INGEST_TIME, str(int(self._now() * 1000)).encode()),
                (HEADER_PRODUCER_TIME, str(message.timestamp()[1]).encode()),
            ],
        )
        self._metrics.stamped(survey, size_bytes=len(payload))
        return STAMPED, None
