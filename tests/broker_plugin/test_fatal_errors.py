"""What of a client's fatal error reaches the worker."""

from __future__ import annotations

import signal

import pytest
from confluent_kafka import KafkaError, KafkaException

from broker_plugin.kafka.fatal_errors import FatalErrors
from broker_plugin.kafka.interrupts import end_at_signals
from schemas.errors import BrokerError, StoreError

GUARD = FatalErrors("host:9092", "producer")


@pytest.mark.parametrize("code", [KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID])
def test_a_fenced_client_says_so(code: int) -> None:
    """A KafkaException becomes a BrokerError that names the address, the client and the reason."""
    with pytest.raises(BrokerError, match=r"^host:9092: producer: fenced by a newer process") as caught, GUARD:
        raise KafkaException(KafkaError(code, "a newer one", True))
    assert "a newer one" in str(caught.value)


def test_another_fatal_error_is_not_called_fenced() -> None:
    """Its own text is told."""
    with pytest.raises(BrokerError, match=r"^host:9092: producer: .*too large") as caught, GUARD:
        raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large", True))
    assert "fenced" not in str(caught.value)


def test_what_is_no_exception_is_caught_too() -> None:
    """confluent_kafka may raise the KafkaError itself, or a SystemError, when callbacks follow a fatal error."""
    with pytest.raises(BrokerError, match="a newer one"):
        GUARD.__exit__(KafkaError, KafkaError(KafkaError._FENCED, "a newer one", True), None)
    with pytest.raises(BrokerError, match="see the log lines of this client"), GUARD:
        raise SystemError("returned a result with an exception set")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lost_ctrl_c_is_found(number: signal.Signals) -> None:
    """confluent_kafka makes a bare SystemError of a signal that comes while it waits: it is the signal again, and
    no fault of the client; a SystemError without a signal before it is."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    try:
        end_at_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt), GUARD:
            raise SystemError("returned NULL without setting an exception")
        end_at_signals()
        with pytest.raises(BrokerError), GUARD:
            raise SystemError("returned NULL without setting an exception")
    finally:
        for one, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(one, handler)


def test_other_errors_pass() -> None:
    """What a rebalance callback raises is not this guard's."""
    with pytest.raises(StoreError, match="damaged"), GUARD:
        raise StoreError("damaged")
