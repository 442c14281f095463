"""A client that librdkafka has given up for good, told as one BrokerError.

A fatal error is set by confluent_kafka while it serves a callback, and what then reaches Python depends on which
callbacks follow it: a KafkaException, the KafkaError itself, which is no exception, or a SystemError that says
nothing. An ``except`` clause does not see the second; a context manager does.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from broker_plugin.kafka.interrupts import was_interrupted
from schemas.errors import BrokerError

FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
    }
)
_KINDS: Final = (KafkaException, KafkaError, SystemError)


@dataclass(frozen=True, slots=True)
class FatalErrors:
    """``with`` it, a call that serves callbacks raises BrokerError and nothing of librdkafka's. where: the broker's
    address; what: the client."""

    where: str
    what: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, value: object, traceback: TracebackType | None) -> None:
        if kind is None or not issubclass(kind, _KINDS):
            return
        if isinstance(value, SystemError) and was_interrupted():
            raise KeyboardInterrupt from value
        error = value.args[0] if isinstance(value, KafkaException) else value
        cause = value if isinstance(value, BaseException) else None
        if isinstance(error, KafkaError) and error.code() not in FENCED:
            raise BrokerError(f"{self.where}: {self.what}: {error}") from cause
        told = error.str() if isinstance(error, KafkaError) else "see the log lines of this client"
        raise BrokerError(
            f"{self.where}: {self.what}: fenced by a newer process of the same instance, or given up for good: {told}"
        ) from cause
