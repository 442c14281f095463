"""Writing to the dead-letter topic, and when there are too many of them to go on.

A message that was redriven carries headers that say from where and how often; a dead letter of it carries them on, so
that a second failure leads back to the first message.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import structlog
from confluent_kafka import Message

from broker_plugin.kafka.client import AckedProducer
from broker_plugin.messages import Unreadable
from broker_plugin.settings.sections import IngestSettings, InternalSettings
from broker_plugin.telemetry.metrics import RoleMetrics
from schemas.dead_letter import DeadLetter
from schemas.errors import DeadLetterReason, PacketError, Stage, TooManyDeadLetters

# values are UTF-8 text: topic:partition:offset, and a number in decimal
HEADER_REDRIVE_ORIGINAL: Final = "redrive-original"  # where the packet first stood
HEADER_REDRIVE_LETTER: Final = "redrive-letter"  # the dead letter it was taken from
HEADER_REDRIVE_ATTEMPT: Final = "redrive-attempt"  # 1 at its first redrive
REDRIVE_HEADERS: Final = frozenset({HEADER_REDRIVE_ORIGINAL, HEADER_REDRIVE_LETTER, HEADER_REDRIVE_ATTEMPT})

log = structlog.get_logger(__name__)


def redrive_headers(message: Message) -> dict[str, bytes]:
    """The headers that redriving put on a message; empty when it never was redriven."""
    pairs: list[tuple[str, bytes | None]] = list(message.headers() or ())  # type: ignore[arg-type]
    return {name: value or b"" for name, value in pairs if name in REDRIVE_HEADERS}


class DeadLetterWriter:
    """Queues dead letters with the role's producer; they are durable when its ``flush`` returns."""

    def __init__(
        self,
        producer: AckedProducer,
        internal: InternalSettings,
        metrics: RoleMetrics,
        *,
        plugin_version: str,
    ) -> None:
        self._producer = producer
        self._internal = internal
        self._metrics = metrics
        self._version = plugin_version

    def packet(self, message: Message, error: PacketError) -> None:
        """A packet that cannot become an observation; the caller counts it."""
        key = message.key()
        letter = DeadLetter.from_error(
            error,
            message.value() or b"",
            topic=str(message.topic()),
            partition=int(message.partition() or 0),
            offset=int(message.offset() or 0),
            timestamp_ms=int(message.timestamp()[1]),
            key=key.encode() if isinstance(key, str) else key,
            plugin_version=self._version,
            max_payload_bytes=self._internal.max_message_bytes,
        )
        self._send(letter, redrive_headers(message))

    def record(self, unreadable: Unreadable) -> None:
        """A stamp-log record that holds no fact."""
        message = unreadable.message
        error = PacketError(DeadLetterReason.BAD_AVRO, Stage.AVRO, str(unreadable.error))
        letter = DeadLetter.from_error(
            error,
            message.payload,
            topic=self._internal.stamp_log_topic,
            partition=message.partition,
            offset=message.offset,
            timestamp_ms=message.timestamp_ms,
            key=message.key,
            plugin_version=self._version,
            max_payload_bytes=self._internal.max_message_bytes,
        )
        self._metrics.letter(error.reason)
        self._send(letter, {name: value for name, value in message.headers if name in REDRIVE_HEADERS})

    def _send(self, letter: DeadLetter, headers: dict[str, bytes]) -> None:
        self._producer.produce(
            self._internal.dead_letter_topic, key=letter.key, value=letter.to_bytes(), headers=list(headers.items())
        )
        log.warning(
            "dead letter",
            reason=letter.reason,
            detail=letter.detail,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
        )


class DeadLetterWindow:
    """The last packets of a process; more dead letters among them than the set share stop it."""

    def __init__(self, settings: IngestSettings) -> None:
        self._limit = settings.max_dead_letter_share
        self._outcomes: deque[bool] = deque(maxlen=settings.dead_letter_window)
        self._reasons: deque[str] = deque(maxlen=settings.dead_letter_window)

    def sound(self) -> None:
        """A packet was stamped or filtered."""
        self._outcomes.append(False)

    def letter(self, reason: DeadLetterReason) -> None:
        """A packet was dead-lettered."""
        self._outcomes.append(True)
        self._reasons.append(reason.value)

    def check(self) -> None:
        """TooManyDeadLetters when the window is full and holds more than its share: the stream or this version is
        broken, not a packet."""
        num_packets, num_letters = len(self._outcomes), sum(self._outcomes)
        if num_packets < (self._outcomes.maxlen or 0) or num_letters <= self._limit * num_packets:
            return
        raise TooManyDeadLetters(
            f"{num_letters} of the last {num_packets} packets are dead letters, more than "
            f"ingest.max_dead_letter_share = {self._limit:g} (newest reason: {self._reasons[-1]}): "
            "look at the dead-letter topic, mend the cause, and redrive"
        )
