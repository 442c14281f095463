"""The health server, over real HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from broker_plugin.telemetry.health import ASSIGNED, RESTORED, Health, HealthServer
from broker_plugin.telemetry.metrics import IngestMetrics
from schemas.errors import SettingsError


class Clock:
    """Time that moves only when told to."""

    time_s = 50.0

    def __call__(self) -> float:
        return self.time_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(max_silence_s=10.0, waits_for=(ASSIGNED, RESTORED), now=clock)


@pytest.fixture
def url(health: Health) -> Iterator[str]:
    registry = CollectorRegistry()
    IngestMetrics(registry, surveys=("ztf",), version="1.2.3")
    with HealthServer(registry, health) as server:
        yield f"http://127.0.0.1:{server.port}"


def get(url: str, path: str, **headers: str) -> httpx.Response:
    return httpx.get(url + path, headers=headers, timeout=10, trust_env=False)


def test_ready_once_every_condition_is_met(url: str, health: Health) -> None:
    """503 until partitions are assigned and stores restored, with what is missing; 503 again when one is lost."""
    assert get(url, "/readyz").status_code == 503
    assert get(url, "/readyz").json()["waits_for"] == ["assigned", "restored"]
    health.set(ASSIGNED, True)
    assert get(url, "/readyz").json()["waits_for"] == ["restored"]
    health.set(RESTORED, True)
    assert get(url, "/readyz").status_code == 200
    health.set(RESTORED, False)
    assert get(url, "/readyz").status_code == 503


def test_draining_is_not_ready_but_healthy(url: str, health: Health) -> None:
    """While it drains a worker must not be killed, nor counted on."""
    health.set(ASSIGNED, True)
    health.set(RESTORED, True)
    health.drain()
    assert get(url, "/readyz").json()["waits_for"] == ["draining"]
    assert get(url, "/healthz").status_code == 200


def test_unhealthy_when_the_loop_hangs(url: str, health: Health, clock: Clock) -> None:
    """No progress for longer than the limit is 503 on both pages, until the loop comes round."""
    health.set(ASSIGNED, True)
    health.set(RESTORED, True)
    clock.time_s += 10.0
    assert get(url, "/healthz").status_code == 200
    clock.time_s += 0.5
    answer = get(url, "/healthz")
    assert (answer.status_code, answer.json()) == (503, {"healthy": False, "silence_s": 10.5})
    assert get(url, "/readyz").status_code == 503
    health.progressed()
    assert get(url, "/healthz").status_code == 200
    assert get(url, "/readyz").status_code == 200


@pytest.mark.parametrize("accept", ["text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"])
def test_metrics_in_the_format_asked_for(url: str, accept: str) -> None:
    """Both exposition formats parse and hold our series."""
    answer = get(url, "/metrics", Accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(accept.partition(";")[0])
    if accept.startswith("text/plain"):
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"convention_packets", "convention_lag_seconds", "convention_build_info"} <= names
    assert 'version="1.2.3"' in answer.text


def test_other_paths_and_methods(url: str) -> None:
    """An unknown path is 404, a HEAD has no body, a POST is refused; a query string changes nothing."""
    assert get(url, "/").status_code == 404
    assert get(url, "/metrics?x=1").status_code == 200
    head = httpx.head(url + "/healthz", timeout=10, trust_env=False)
    assert (head.status_code, head.content) == (200, b"")
    assert httpx.post(url + "/healthz", timeout=10, trust_env=False).status_code == 501


def test_a_silent_client_does_not_block_others(url: str) -> None:
    """A connection that never asks anything leaves the pages served."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10):
        assert get(url, "/healthz").status_code == 200


def test_close_releases_port_and_thread(health: Health) -> None:
    """After close the thread is gone and the port can be bound again; closing twice is harmless."""
    server = HealthServer(CollectorRegistry(), health)
    port = server.port
    assert any(thread.name == "health" for thread in threading.enumerate())
    server.close()
    server.close()
    assert not any(thread.name == "health" for thread in threading.enumerate())
    HealthServer(CollectorRegistry(), health, port=port).close()


def test_a_taken_port_names_the_setting(health: Health) -> None:
    """Two processes on one port: one clear line that says which setting to change."""
    with (
        HealthServer(CollectorRegistry(), health) as server,
        pytest.raises(SettingsError, match=rf"worker.metrics_port: .*:{server.port}: Address already in use"),
    ):
        HealthServer(CollectorRegistry(), health, port=server.port)


def test_unknown_condition_is_refused(health: Health) -> None:
    """A misspelt condition cannot leave the worker unready for ever without notice."""
    with pytest.raises(KeyError, match="asigned"):
        health.set("asigned", True)
