"""Structured logs to standard output: INFO for the life cycle and one line a batch.

    log = structlog.get_logger()
    log.info("assigned", role="classify", partitions=[0, 1])

JSON (one object a line) or, for people, columns on a terminal. Records of the standard library's loggers take the
same way, librdkafka's among them. Secrets never appear: values of names that sound like one, credentials inside
addresses or texts, and pydantic's secret types all print as stars.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import Processor

STARS: Final = "**********"
SECRET_NAME: Final = re.compile(
    r"passw(or)?d|secret|credential|authorization|api[._-]?key|(access|auth|bearer|refresh|api)[._-]?token", re.I
)
# scheme://user:password@host
ADDRESS_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
# password=..., sasl.password: ... inside a text, as librdkafka and libraries write their settings
NAMED_IN_TEXT: Final = re.compile(r"(?i)((?:password|passwd|secret|api[._-]?key)['\"]?\s*[=:]\s*['\"]?)[^\s'\",;}]+")


def configure_logs(
    *,
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO",
    format: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
    **context: str,
) -> None:
    """Set up structlog and the root logger of this process; ``context`` (role, instance) goes on every line.

    auto: columns when the stream is a terminal, JSON otherwise. Calling it again replaces the set-up.
    """
    target = sys.stdout if stream is None else stream
    console = format == "console" or (format == "auto" and target.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _adder(context),
        structlog.processors.StackInfoRenderer(),
    ]
    # a plain traceback: one with local variables would print what the masks cannot see
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(default=str)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            mask_secrets,
            renderer,
        ],
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def mask_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: secrets anywhere in the event become stars."""
    return {key: _masked(key, value) for key, value in event.items()}


def _adder(context: Mapping[str, str]) -> Processor:
    def add(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in context.items():
            event.setdefault(key, value)
        return event

    return add


def _masked(key: str, value: Any) -> Any:
    if SECRET_NAME.search(key) and value is not None:
        return STARS
    if isinstance(value, str):
        return NAMED_IN_TEXT.sub(rf"\g<1>{STARS}", ADDRESS_CREDENTIALS.sub(STARS, value))
    if isinstance(value, Mapping):
        return {name: _masked(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_masked("", inner) for inner in value]
    return value
