"""A real Prometheus scrapes a real worker, and an alert fires."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker_plugin.demo.demo import send
from broker_plugin.kafka.embedded_broker import free_port
from broker_plugin.telemetry.metrics_reference import families
from schemas.synthetic import generate_packets
from tests.brokers.support import ROOT, Run

pytestmark = [pytest.mark.prometheus, pytest.mark.tansu, pytest.mark.timeout(180)]
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: convention-broker
    static_configs: [{{targets: [{targets}]}}]
"""


class Prometheus:
    """A server's HTTP interface."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=f"http://{address}/api/v1", timeout=10, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The instant vector of an expression, by labels."""
        answer = self._client.get("/query", params={"query": expression})
        found: list[dict[str, Any]] = answer.json()["data"]["result"] if answer.status_code == 200 else []
        return {tuple(sorted(row["metric"].items())): float(row["value"][1]) for row in found}

    def value(self, expression: str) -> float | None:
        """The value of an expression of one series; None when it has none."""
        return next(iter(self.query(expression).values()), None)

    def firing(self) -> dict[str, dict[str, str]]:
        """Labels of the alerts that fire, by name."""
        alerts = self._client.get("/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert["labels"] for alert in alerts if alert["state"] == "firing"}

    def await_value(self, expression: str, expected: float) -> None:
        """Until an expression has the value; fails after 60 s."""
        deadline = time.monotonic() + 60
        while (found := self.value(expression)) != expected:
            assert time.monotonic() < deadline, f"{expression} is {found}, expected {expected}"
            time.sleep(0.3)


@contextmanager
def prometheus(folder: Path, ports: list[int]) -> Iterator[Prometheus]:
    """A server with the shipped rules, their patience left out, that scrapes these ports."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus: it is Debian's package prometheus")
    folder.mkdir()
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    (folder / "alerts.yml").write_text(re.sub(r"\bfor: \d+m", "for: 0s", rules))
    targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    (folder / "prometheus.yml").write_text(CONFIG.format(rules=folder / "alerts.yml", targets=targets))
    address = f"127.0.0.1:{free_port()}"
    command = [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    found = Prometheus(address)
    try:
        await_ready(address, process, folder / "prometheus.log")
        yield found
    finally:
        found.close()
        process.terminate()
        process.wait(30)


def await_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"http://{address}/-/ready", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def metrics_ports(run: Run) -> list[int]:
    """The ports that the two roles said they serve metrics on."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = [json.loads(line) for line in run.log.read_text().splitlines() if line.startswith("{")]
        ports = [line["metrics_port"] for line in lines if line.get("event") == "started"]
        if len(ports) == 2:
            return ports
        time.sleep(0.2)
    raise AssertionError(run.log.read_text())


def test_prometheus_scrapes_a_worker_and_an_alert_fires(
    tansu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every family arrives, counters agree with what was sent, lag is 0 at the end; a worker told to use CUDA on a
    machine without raises the alarm, a batch of poison another one, and a stopped worker a third."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = Run(tansu, tmp_path, 'classify.device="cuda"')
    packets = [packet.payload for packet in generate_packets(seed=12, num_objects=4, num_frames=8)]
    poison = [packet[:-60] for packet in packets[:3]]
    with run.worker() as worker, prometheus(tmp_path / "prometheus", metrics_ports(run)) as server:
        server.await_value("sum(convention_packets_total)", 0)
        send(run.settings, packets)
        run.follow(worker, len(packets))
        server.await_value('sum(convention_packets_total{survey="ztf", outcome="stamped"})', len(packets))
        records = 'convention_log_records_total{outcome=~"classified|abstained|too_short"}'
        server.await_value(f"sum({records})", len(packets))
        send(run.settings, poison)
        server.await_value('sum(convention_dead_letters_total{reason="bad_container"})', len(poison))
        server.await_value("sum(convention_lag_messages)", 0)
        server.await_value("max(convention_lag_seconds)", 0)
        check_families(server)
        check_rest(server, len(packets))
        await_firing(server, {"ConventionCpuFallback", "ConventionDeadLetters"})
        assert server.firing()["ConventionCpuFallback"]["role"] == "classify"
        worker.terminate()
        worker.wait(60)
        await_firing(server, {"ConventionWorkerDown"})


def await_firing(server: Prometheus, names: set[str]) -> None:
    deadline = time.monotonic() + 40
    while missing := names - set(server.firing()):
        assert time.monotonic() < deadline, f"{missing} do not fire"
        time.sleep(0.3)


def check_families(server: Prometheus) -> None:
    """Every family that the page about metrics lists is there, under its role."""
    for role, of_role in families().items():
        for family in of_role:
            name = family.name + ("_count" if family.kind == "histogram" else "")
            assert server.query(f'{name}{{role="{role}"}}'), name


def check_rest(server: Prometheus, num_packets: int) -> None:
    """Latencies, durations, store, device and ledger tell of the same packets."""
    for since in ("observation", "producer", "ingest"):
        assert server.value(f'sum(convention_publish_latency_seconds_count{{since="{since}"}})') == num_packets
    for step in ("decode", "apply", "assemble", "infer", "publish", "commit"):
        assert (server.value(f'sum(convention_step_duration_seconds_sum{{step="{step}"}})') or 0) > 0, step
    assert server.value("sum(convention_store_objects)") == 4
    assert server.value("sum(convention_store_facts)") == num_packets
    assert server.value("convention_restore_progress_ratio") == 1
    assert server.value('convention_device{device="cpu"}') == 1
    assert server.value('sum(convention_ledger_offsets_total{role="classify"})') == num_packets
    assert server.value("sum(convention_ledger_imbalance_offsets_total)") == 0
    assert (server.value("sum(convention_chunk_sequences_sum)") or 0) > 0
    assert (server.value("sum(convention_token_cache_lookups_total)") or 0) > 0
