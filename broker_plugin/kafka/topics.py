"""Clusters and topics as the worker wants them: there, made with their retention, counted, identified. A refusal says
which and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from broker_plugin.kafka.client import ADMIN_TIMEOUT_S, ENVELOPE_BYTES, client_config
from broker_plugin.settings.sections import Connection, InternalSettings, OutputSettings, Settings
from schemas.errors import BrokerError

DAY_MS: Final = 86_400_000

WRITTEN_TWICE_FROM: Final = 3  # replicas: with two, one that is away would stop production
TOPIC_WAIT_S: Final = 10.0
# how long a first answer is waited for: where connections are refused, and where nothing is heard
REFUSED_S: Final = 3.0
SILENT_S: Final = 10.0
# no patience mends these
_HOPELESS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE})
T = TypeVar("T")


class _Administrator:
    """An AdminClient whose failures are BrokerErrors that name the cluster, the question and librdkafka's reason."""

    def __init__(self, connection: Connection, *, name: str | None = None) -> None:
        self._address = connection.bootstrap_servers + (f" ({name})" if name else "")
        self._faults: list[KafkaError] = []
        # its own log lines would say again what the error says
        self._client = AdminClient(client_config(connection) | {"error_cb": self._faults.append, "log_level": 0})

    def ask(self, what: str, question: Callable[[AdminClient], T]) -> T:
        """The answer of a call that waits."""
        try:
            return question(self._client)
        except KafkaException as error:
            self._client.poll(0)
            raise self._failed(what, error) from error

    def await_result(self, what: str, question: Callable[[AdminClient], Future[T]]) -> T:
        """The answer of a call that gives a future."""
        future = self.ask(what, question)
        deadline = time.monotonic() + ADMIN_TIMEOUT_S
        while not future.done():
            self._client.poll(0.1)
            if time.monotonic() > deadline or any(fault.code() in _HOPELESS for fault in self._faults):
                raise self._failed(what, "no answer")
        return self.ask(what, lambda _: future.result())

    def await_answer(self) -> None:
        """Return at the first answer; give up when it cannot come, or after REFUSED_S or SILENT_S."""
        started = time.monotonic()
        while True:
            try:
                self._client.list_topics(timeout=1.0)
            except KafkaException as error:
                self._client.poll(0)
                codes = {fault.code() for fault in self._faults}
                patience_s = REFUSED_S if KafkaError._ALL_BROKERS_DOWN in codes else SILENT_S
                if codes & _HOPELESS or time.monotonic() - started > patience_s:
                    raise self._failed("no connection to Kafka", error) from error
            else:
                return

    def _failed(self, what: str, error: object) -> BrokerError:
        # "all brokers are down" follows the reason and says less
        faults = [f for f in self._faults if f.code() != KafkaError._ALL_BROKERS_DOWN] or self._faults
        why = faults[-1].str() if faults else error
        return BrokerError(f"{self._address}: {what}: {why}")


def require_brokers(settings: Settings, *sections: str) -> None:
    """Ask the cluster of each section (input, internal, output) for a sign of life, before what would retry for long.

    BrokerError within seconds when one gives none, with its address, its setting and the reason.
    """
    for section in sections:
        connection: Connection = getattr(settings, section)
        _Administrator(connection, name=f"{section}.bootstrap_servers").await_answer()


def create_topics(internal: InternalSettings, output: OutputSettings, *, shadow: bool = False) -> None:
    """Create what is missing, with its retention; ``shadow``: the challengers' topic too.

    BrokerError when the stamp log has another partition count.
    """
    largest = internal.max_message_bytes + ENVELOPE_BYTES
    wanted = [
        (internal, internal.stamp_log_topic, internal.partitions, internal.replication, internal.retention_days),
        (internal, internal.dead_letter_topic, 1, internal.replication, internal.dead_letter_retention_days),
        (internal, internal.ledger_topic, 1, internal.replication, internal.ledger_retention_days),
        (output, output.topic, output.partitions, output.replication, None),
    ]
    if output.elasticc_topic is not None:
        wanted.append((output, output.elasticc_topic, output.partitions, output.replication, None))
    if shadow:
        wanted.append((output, output.shadow_topic, output.partitions, output.replication, None))
    for connection, name, partitions, replication, days in wanted:
        config = {"max.message.bytes": str(largest)}
        if replication >= WRITTEN_TWICE_FROM:  # else "acknowledged by all" may mean the leader alone
            config["min.insync.replicas"] = "2"
        if days is not None:
            config["retention.ms"] = str(int(days * DAY_MS))
        create_topic(connection, NewTopic(name, partitions, replication, config=config))
    found = num_partitions(internal, internal.stamp_log_topic)
    if found != internal.partitions:
        raise BrokerError(
            f"{internal.stamp_log_topic} has {found} partitions, internal.partitions is {internal.partitions}: "
            "set it to the topic's, since objects cannot move between partitions"
        )


def create_topic(connection: Connection, topic: NewTopic) -> None:
    """Create a topic unless it is there; BrokerError when that is refused."""
    administrator = _Administrator(connection)

    def create(client: AdminClient) -> Future[None]:
        return client.create_topics([topic], request_timeout=ADMIN_TIMEOUT_S)[topic.topic]

    try:
        administrator.await_result(f"creating topic {topic.topic}", create)
    except BrokerError as error:
        cause = error.__cause__
        if not isinstance(cause, KafkaException) or cause.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def num_partitions(connection: Connection, topic: str, *, wait_s: float = TOPIC_WAIT_S) -> int:
    """Number of partitions of a topic; BrokerError when the broker does not answer or has no such topic.

    A topic that was just created is unknown for a moment, so "unknown" is believed only after ``wait_s``.
    """
    administrator = _Administrator(connection)
    deadline = time.monotonic() + wait_s
    while True:
        found = administrator.ask(f"topic {topic}", lambda c: c.list_topics(topic, timeout=ADMIN_TIMEOUT_S)).topics[
            topic
        ]
        if found.error is None and found.partitions:
            return len(found.partitions)
        if time.monotonic() > deadline:
            raise BrokerError(f"{connection.bootstrap_servers}: topic {topic}: {found.error}")
        time.sleep(0.1)


def topic_identity(connection: Connection, topic: str) -> tuple[str, str]:
    """Cluster id and topic id, the broker's own; an id the broker does not state is the empty string."""
    num_partitions(connection, topic)  # waits for a topic that was just created
    administrator = _Administrator(connection)
    what = f"identity of topic {topic}"
    cluster_id = administrator.ask(what, lambda c: c.list_topics(topic, timeout=ADMIN_TIMEOUT_S).cluster_id)
    described = administrator.await_result(
        what, lambda c: c.describe_topics(TopicCollection([topic]), request_timeout=ADMIN_TIMEOUT_S)[topic]
    )
    return cluster_id or "", str(described.topic_id or "")
