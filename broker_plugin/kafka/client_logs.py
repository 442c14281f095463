"""librdkafka's own log lines as structured ones: which client spoke, how grave it is, not twenty times a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from broker_plugin.settings.sections import Connection

REPEAT_S: Final = 30.0
MOST_KEPT: Final = 100
_TIMES_VARY: Final = " (after "  # "Connection refused (after 3ms in state CONNECT)"


class LibrdkafkaLog:
    """What confluent_kafka takes as ``logger``: its ``log`` is called where the client is polled or flushed.

    A line goes on as an event with ``component`` (input consumer, output producer), ``client`` and ``facility``, at
    the level that confluent_kafka maps librdkafka's own to. One that repeats within REPEAT_S is counted, not written:
    the next one that is says in ``num_repeats`` how many there were.
    """

    def __init__(self, component: str, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._component = component
        self._timer = timer
        self._said: dict[str, tuple[float, int]] = {}  # text -> when it was last written, repeats since
        self._log = structlog.get_logger("librdkafka")

    def log(self, level: int, message: str, *arguments: object) -> None:
        """level: of the standard library. arguments: facility, client name and text, as ``message`` formats them."""
        facility, client, text = arguments if len(arguments) == 3 else ("", "", message % arguments)
        topic = str(text).partition(_TIMES_VARY)[0]
        now = self._timer()
        written, repeats = self._said.get(topic, (-REPEAT_S, 0))
        if now - written < REPEAT_S:
            self._said[topic] = (written, repeats + 1)
            return
        if len(self._said) >= MOST_KEPT:
            self._said = {key: told for key, told in self._said.items() if now - told[0] < REPEAT_S}
        self._said[topic] = (now, 0)
        fields = {"num_repeats": repeats} if repeats else {}
        self._log.log(level, str(text), component=self._component, facility=facility, client=client, **fields)


def logged(connection: Connection, kind: str) -> dict[str, Any]:
    """The setting of a client of this connection that lets it speak through structlog, where that is set up.

    kind: consumer or producer. Without a set-up it is silent: a verb says itself in the end what failed, in one line.
    """
    if not structlog.is_configured():
        return {"log_level": 0}
    section = type(connection).__name__.removesuffix("Settings").lower()
    return {"logger": LibrdkafkaLog(f"{section} {kind}")}
