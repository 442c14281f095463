"""Notices that a cluster is away while there is nothing to send: a worker must not wait for ever in silence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException

from schemas.errors import BrokerError

PROBE_TIMEOUT_S: Final = 1.0

log = structlog.get_logger(__name__)


class OutageWatch:
    """Given to a consumer as its error callback, and asked between batches."""

    def __init__(self, limit_s: float, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._timer = timer
        self._since: float | None = None

    def on_error(self, error: KafkaError) -> None:
        """librdkafka's report; only the loss of every broker counts, the rest it mends by itself."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._since is None:
            self._since = self._timer()
            log.warning("no broker answers", error=str(error))

    def check(self, consumer: Consumer) -> None:
        """Ask the cluster, if it was away at the last look; BrokerError when it is for longer than the limit."""
        if self._since is None:
            return
        try:
            consumer.list_topics(timeout=PROBE_TIMEOUT_S)
        except KafkaException as error:
            if self._timer() - self._since > self._limit_s:
                raise BrokerError(f"no broker answered for {self._limit_s:g} s: {error}") from error
        else:
            log.info("the brokers answer again")
            self._since = None
