"""How a batch of the classify role is sent and committed: at least once, or in a Kafka transaction.

``begin``, then sends through ``output`` and ``internal``, then ``commit``. What ``commit`` refuses was not done: the
group moved on, and the batch is read again by whoever has its partitions now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from broker_plugin.kafka.client import AckedProducer, commit_offsets
from broker_plugin.kafka.fatal_errors import FENCED
from schemas.errors import BrokerError

log = structlog.get_logger(__name__)


class Delivery(Protocol):
    """Sends and commits of one consumer."""

    output: AckedProducer
    internal: AckedProducer

    def begin(self) -> None:
        """Before the first send of a batch."""

    def commit(self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        """Commit the group's positions, by partition; ``starts`` is where a refused batch begins.

        False when the group moved on. BrokerError for any other refusal.
        """


class AtLeastOnce:
    """Acknowledged sends, then the group's offsets."""

    def __init__(self, consumer: Consumer, *, output: AckedProducer, internal: AckedProducer, retry_s: float) -> None:
        self._retry_s = retry_s
        self.output = output
        self.internal = internal
        self._consumer = consumer

    def begin(self) -> None:
        """Nothing to open."""

    def commit(self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        """See Delivery."""
        return not ends or commit_offsets(self._consumer, _places(topic, ends), retry_s=self._retry_s)


class ExactlyOnce:
    """One transaction a batch: records, ledger entries and the group's offsets become visible together or never.

    The group's generation fences a consumer that lost its partitions; a second process of the same static instance
    fences this one by ``transactional_id``, which is a BrokerError here: the process ends and a supervisor decides.
    """

    def __init__(self, consumer: Consumer, producer: TransactionalProducer) -> None:
        self.output: AckedProducer = producer
        self.internal: AckedProducer = producer
        self._producer = producer
        self._consumer = consumer

    def begin(self) -> None:
        """Open the batch's transaction."""
        self._producer.begin()

    def commit(self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        """See Delivery. After a refusal the consumer stands at ``starts`` again, where it still has the partition."""
        if self._producer.commit(self._consumer, _places(topic, ends)):
            return True
        held = {place.partition for place in self._consumer.assignment()}
        for place in _places(topic, {p: start for p, start in starts.items() if p in held}):
            self._consumer.seek(place)
        return False


class TransactionalProducer(AckedProducer):
    """An AckedProducer whose sends belong to the open transaction."""

    def open(self) -> None:
        """Fence and roll back whatever an earlier process of this transactional id left open."""
        self._call("init_transactions", self._timeout_s)

    def begin(self) -> None:
        """Start a transaction."""
        self._call("begin_transaction")

    def commit(self, consumer: Consumer, places: list[TopicPartition]) -> bool:
        """Commit with the consumer's positions; False when it had to be rolled back. BrokerError when fenced."""
        try:
            if places:
                self._retried("send_offsets_to_transaction", places, consumer.consumer_group_metadata())
            self._retried("commit_transaction")
        except KafkaException as error:
            cause = error.args[0]
            if cause.fatal() or cause.code() in FENCED or not cause.txn_requires_abort():
                raise self._failed("transaction", error) from error
            log.warning("transaction rolled back, batch dropped", error=str(error))
            self._call("abort_transaction", self._timeout_s)
            return False
        return True

    def _retried(self, name: str, *arguments: object) -> None:
        """Call with a timeout until it succeeds or fails for another reason than time; a last failure is raised."""
        for left in (2, 1, 0):
            try:
                getattr(self._producer, name)(*arguments, self._timeout_s)
            except KafkaException as error:
                if not error.args[0].retriable() or left == 0:
                    raise
            else:
                return

    def _call(self, name: str, *arguments: object) -> None:
        try:
            getattr(self._producer, name)(*arguments)
        except KafkaException as error:
            raise self._failed(name, error) from error

    def _failed(self, what: str, error: KafkaException) -> BrokerError:
        code = error.args[0].code()
        if code not in FENCED:
            return BrokerError(f"{self._address}: {what}: {error}")
        return BrokerError(
            f"{what}: fenced: a newer process has this transactional id, or the transaction was open for longer than "
            f"worker.delivery_timeout_s ({self._timeout_s:g} s)"
        )


def _places(topic: str, offsets: Mapping[int, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
