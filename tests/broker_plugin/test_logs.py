"""Structured logs and what must never be in them."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from broker_plugin.kafka.client import AckedProducer, make_consumer
from broker_plugin.kafka.client_logs import REPEAT_S, LibrdkafkaLog
from broker_plugin.settings.sections import InputSettings, OutputSettings, WorkerSettings
from broker_plugin.telemetry.logs import STARS, configure_logs, mask_secrets


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_is_one_object_a_line_with_its_context() -> None:
    """Time in UTC, level, event, the process's context and the fields of the call."""
    stream = io.StringIO()
    configure_logs(format="json", stream=stream, role="ingest")
    structlog.get_logger().info("batch", num_messages=500, duration_s=0.25)
    (line,) = lines(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "batch", "level": "info", "role": "ingest", "num_messages": 500, "duration_s": 0.25}


def test_the_level_holds_for_every_logger() -> None:
    """Below the level nothing is written, by structlog or the standard library; above it, both are."""
    stream = io.StringIO()
    configure_logs(level="WARNING", format="json", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("kafka").info("quiet")
    structlog.get_logger().warning("loud")
    logging.getLogger("kafka").error("broker %s is down", "b1")
    assert [(line["event"], line["level"]) for line in lines(stream)] == [
        ("loud", "warning"),
        ("broker b1 is down", "error"),
    ]


def test_auto_is_json_unless_a_terminal_looks() -> None:
    """A pipe gets JSON, a terminal columns."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, is_json in ((io.StringIO(), True), (Terminal(), False)):
        configure_logs(stream=stream)
        structlog.get_logger().info("assigned", partitions=[0, 1])
        text = stream.getvalue()
        assert text.startswith("{") == is_json
        assert "assigned" in text


def test_configuring_twice_does_not_double_lines() -> None:
    """A second set-up replaces the first."""
    stream = io.StringIO()
    configure_logs(format="json", stream=stream)
    configure_logs(format="json", stream=stream)
    structlog.get_logger().info("once")
    assert len(lines(stream)) == 1


@pytest.mark.parametrize("format", ["json", "console"])
def test_secrets_are_stars_everywhere(format: str) -> None:
    """By name, nested, inside an address, inside a library's text, as a secret type, and inside a traceback."""
    stream = io.StringIO()
    configure_logs(format="json" if format == "json" else "console", stream=stream)
    log = structlog.get_logger()
    log.info("config", settings={"sasl.password": "hunter2", "nested": [{"ssl_key_password": "hunter2"}]})
    log.info("registry", url="https://user:hunter2@registry:8081/", held=SecretStr("hunter2"))
    logging.getLogger("rdkafka").warning("conf sasl.password=hunter2, sasl.username=me")
    try:
        raise OSError("cannot reach https://user:hunter2@registry:8081/ with api_key='hunter2'")
    except OSError:
        secret_local = "hunter2"
        log.exception("failed", length=len(secret_local))
    assert "cannot reach" in stream.getvalue()
    assert "hunter2" not in stream.getvalue().replace('secret_local = "hunter2"', "")
    assert stream.getvalue().count(STARS) >= 5


def test_token_counts_are_no_secrets() -> None:
    """Frames' tokens are this project's word for features: their counts stay readable."""
    event = mask_secrets(
        None, "info", {"num_tokens": 5, "token_cache_hits": 3, "access_token": "x", "auth_token": "y"}
    )
    assert event == {"num_tokens": 5, "token_cache_hits": 3, "access_token": STARS, "auth_token": STARS}


@given(
    st.dictionaries(
        st.text("abcdef_", min_size=1),
        st.one_of(
            st.integers(), st.floats(allow_nan=False), st.booleans(), st.none(), st.text("abc xyz.:/=0123456789")
        ),
    )
)
def test_harmless_events_pass_unchanged(event: dict[str, object]) -> None:
    """Masking touches nothing that is no secret."""
    assert mask_secrets(None, "info", dict(event)) == event


def say(log: LibrdkafkaLog, level: int, text: str) -> None:
    """As confluent_kafka does."""
    log.log(level, "%s [%s] %s", "FAIL", "rdkafka#consumer-1", text)


def test_librdkafka_lines_are_structured_and_repeats_counted() -> None:
    """Level, component, client and facility are fields; a line that differs in its times only is not written again
    within half a minute, then once with the number of those left out."""
    stream, now = io.StringIO(), [0.0]
    configure_logs(level="WARNING", format="json", stream=stream, role="ingest")
    log = LibrdkafkaLog("input consumer", timer=lambda: now[0])
    say(log, logging.ERROR, "b1:9092: refused (after 0ms in state CONNECT)")
    for now[0] in (1.0, 2.0, REPEAT_S + 1):
        say(log, logging.ERROR, f"b1:9092: refused (after {now[0]:.0f}ms in state CONNECT)")
    say(log, logging.INFO, "not of interest")
    first, again = lines(stream)
    assert again.pop("timestamp") != ""
    assert first["event"] == "b1:9092: refused (after 0ms in state CONNECT)"
    assert "num_repeats" not in first
    assert again == {
        "event": f"b1:9092: refused (after {REPEAT_S + 1:.0f}ms in state CONNECT)",
        "level": "error",
        "role": "ingest",
        "component": "input consumer",
        "client": "rdkafka#consumer-1",
        "facility": "FAIL",
        "num_repeats": 2,
    }


def test_librdkafka_lines_are_not_kept_for_ever() -> None:
    """A client that never repeats itself is written whole, and its lines are forgotten."""
    stream, now = io.StringIO(), [0.0]
    configure_logs(format="json", stream=stream)
    log = LibrdkafkaLog("input consumer", timer=lambda: now[0])
    for now[0] in range(1000):  # type: ignore[assignment]
        say(log, logging.WARNING, f"offset {now[0]}")
    assert len(lines(stream)) == 1000
    assert len(log._said) <= 101


def test_clients_of_a_dead_broker_speak_through_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of librdkafka's own reaches standard error: connection refused is one JSON line a client."""
    stream = io.StringIO()
    configure_logs(format="json", stream=stream)
    worker = WorkerSettings()
    dead = "127.0.0.1:1"
    consumer = make_consumer(InputSettings(bootstrap_servers=dead), worker, group="g", start="earliest")
    consumer.subscribe(["alerts"])
    producer = AckedProducer(OutputSettings(bootstrap_servers=dead), worker, max_message_bytes=1_000_000)
    deadline = time.monotonic() + 10
    while stream.getvalue().count("refused") < 2 and time.monotonic() < deadline:
        consumer.consume(1, timeout=0.1)
        producer.serve()
    consumer.close()
    assert capfd.readouterr() == ("", "")
    refused = [line for line in lines(stream) if "refused" in str(line["event"])]
    assert {(line["component"], line["level"]) for line in refused} == {
        ("input consumer", "error"),
        ("output producer", "error"),
    }
    assert len(refused) == 2
