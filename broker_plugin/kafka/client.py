"""Kafka clients as the two roles use them: every send is acknowledged or raises, every consumer commits by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from broker_plugin.kafka.client_logs import logged
from broker_plugin.kafka.fatal_errors import FatalErrors
from broker_plugin.settings.sections import Connection, InputSettings, WorkerSettings
from schemas.errors import BrokerError

# dead letters carry the packet and its coordinates
ENVELOPE_BYTES: Final = 65_536
# the group moved on without us: the batch is dropped, its offsets are read again by whoever has them now
MOVED_ON: Final = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS}
)
# what a broker that is away or coming back answers, or librdkafka in its place
OUTAGE: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._DESTROY_BROKER,
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
COMMIT_PAUSE_S: Final = 0.5
ADMIN_TIMEOUT_S: Final = 30.0
T = TypeVar("T")
Headers = Sequence[tuple[str, bytes]]

log = structlog.get_logger(__name__)


def client_config(connection: Connection) -> dict[str, Any]:
    """librdkafka's settings of one connection; holds secrets, never log it."""
    values = {
        "bootstrap.servers": connection.bootstrap_servers,
        "security.protocol": connection.security_protocol,
        "sasl.mechanism": connection.sasl_mechanism,
        "sasl.username": connection.sasl_username,
        "sasl.password": connection.sasl_password and connection.sasl_password.get_secret_value(),
        "ssl.ca.location": connection.ssl_ca_location and str(connection.ssl_ca_location),
        "ssl.certificate.location": connection.ssl_certificate_location and str(connection.ssl_certificate_location),
        "ssl.key.location": connection.ssl_key_location and str(connection.ssl_key_location),
        "ssl.key.password": connection.ssl_key_password and connection.ssl_key_password.get_secret_value(),
    }
    return {key: value for key, value in values.items() if value is not None}


def make_consumer(
    connection: Connection,
    worker: WorkerSettings,
    *,
    group: str,
    start: str,
    on_error: Callable[[KafkaError], None] | None = None,
) -> Consumer:
    """A consumer that never commits by itself; cooperative, static where an instance id is set."""
    config: dict[str, Any] = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": start,
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": worker.session_timeout_ms,
        "heartbeat.interval.ms": worker.heartbeat_interval_ms,
        "max.poll.interval.ms": worker.max_poll_interval_ms,
        # back-pressure: a batch is read once the last one is acknowledged, and no more than this is read ahead
        "queued.max.messages.kbytes": 65_536,
    }
    if isinstance(connection, InputSettings):  # a survey may have a new topic a night
        config["topic.metadata.refresh.interval.ms"] = int(connection.topic_refresh_s * 1000)
    if on_error is not None:
        config["error_cb"] = on_error
    if worker.instance_id is not None:
        config["group.instance.id"] = f"{worker.instance_id}-{group}"
    return open_consumer(connection, config)


def open_consumer(connection: Connection, config: Mapping[str, Any]) -> Consumer:
    """Of this connection, with ``config`` laid over its settings; it speaks through the structured log."""
    return Consumer(client_config(connection) | dict(config) | logged(connection, "consumer"))


def admin_client(connection: Connection) -> AdminClient:
    """For questions to a cluster. Silent: nothing polls it, and what fails is told by its answers."""
    return AdminClient(client_config(connection) | {"log_level": 0})


class AckedProducer:
    """Sends are durable once ``flush`` returns. Idempotent, acks=all, keys hashed as Java's clients do."""

    def __init__(
        self,
        connection: Connection,
        worker: WorkerSettings,
        *,
        max_message_bytes: int,
        transactional_id: str | None = None,
    ) -> None:
        self._address = connection.bootstrap_servers
        self._timeout_s = worker.delivery_timeout_s
        self._failures: list[str] = []
        config = client_config(connection) | {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "compression.type": "none",  # float16 pixels do not compress
            "message.max.bytes": max_message_bytes,
            "delivery.timeout.ms": int(worker.delivery_timeout_s * 1000),
        }
        if transactional_id is not None:
            # a transaction that its process left open holds back readers for at most this long
            config |= {"transactional.id": transactional_id, "transaction.timeout.ms": config["delivery.timeout.ms"]}
        self._producer = Producer(config | logged(connection, "producer"))
        self._fatal = FatalErrors(self._address, "producer")

    def serve(self, wait_s: float = 0.0) -> None:
        """Let librdkafka say what it has to say: between batches, or it piles up while there are none. BrokerError
        when it has given up."""
        with self._fatal:
            self._producer.poll(wait_s)

    def produce(self, topic: str, *, key: bytes | None, value: bytes, headers: Headers = ()) -> None:
        """Queue one message; waits for room when the queue is full. BrokerError when it cannot be queued."""
        while True:
            try:
                self._producer.produce(
                    topic, key=key, value=value, headers=list(headers), on_delivery=self._on_delivery
                )
            except BufferError:
                self.serve(0.1)
                continue
            except KafkaException as error:
                raise BrokerError(f"message of {len(value)} bytes for {topic}: {error}") from error
            self.serve()
            return

    def flush(self) -> None:
        """Wait until everything queued is acknowledged; BrokerError when anything is not."""
        with self._fatal:
            left = self._producer.flush(self._timeout_s + 5)
        if left or self._failures:
            failures, self._failures = self._failures, []
            raise BrokerError(
                f"{self._address}: {left} messages unacknowledged, {len(failures)} failed: {'; '.join(failures[:3])}"
            )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(f"{message.topic()}: {error}")


def next_batch(consumer: Consumer, connection: Connection, size: int, wait_s: float) -> list[Message]:
    """At most ``size`` messages, those that arrive within ``wait_s``; rebalances are answered in here, and what their
    callbacks raise is raised. BrokerError on an error event that librdkafka does not mend by itself."""
    with FatalErrors(connection.bootstrap_servers, "consumer"):
        batch = consumer.consume(size, timeout=wait_s)
    return list(messages_of(batch))


def messages_of(batch: Sequence[Message]) -> Iterator[Message]:
    """The messages of a batch; BrokerError on an error event that librdkafka does not mend by itself."""
    for message in batch:
        error = message.error()
        if error is None:
            yield message
        elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():
            if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue  # a topic that is yet to be created
            if error.code() == KafkaError._MAX_POLL_EXCEEDED:
                log.warning("put out of the group by a slow batch, joining again", error=str(error))
                continue
            raise BrokerError(f"consuming: {error}")


def commit_offsets(consumer: Consumer, places: list[TopicPartition], *, retry_s: float) -> bool:
    """Commit the group's positions (next offsets); False when the group moved on, so that they are read again.

    An outage is waited out for ``retry_s``. BrokerError when it lasts longer, and for any other refusal.
    """
    deadline = time.monotonic() + retry_s
    while True:
        try:
            consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() in MOVED_ON:
                log.warning("the group moved on, batch dropped", error=str(error))
                return False
            if not (cause.retriable() or cause.code() in OUTAGE) or time.monotonic() > deadline:
                raise BrokerError(f"commit of {places[0].topic}: {error}") from error
            log.warning("commit failed, trying again", error=str(error))
            time.sleep(COMMIT_PAUSE_S)
        else:
            return True


def query(connection: Connection, what: str, ask: Callable[[], T], *, timeout_s: float = ADMIN_TIMEOUT_S) -> T:
    """The broker's answer; asked again after a lost connection. BrokerError when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except (KafkaException, TimeoutError) as error:  # a future's own patience may end first
            away = isinstance(error, TimeoutError) or error.args[0].retriable() or error.args[0].code() in OUTAGE
            if not away or time.monotonic() > deadline:
                raise BrokerError(f"{connection.bootstrap_servers}: {what}: {error!r}") from error
            time.sleep(0.1)
