"""What asks a broker things on the side, while there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest
from confluent_kafka import Consumer, TopicPartition
from prometheus_client import CollectorRegistry

from broker_plugin.accounts.ledger import LedgerWriter
from broker_plugin.kafka.client import query
from broker_plugin.kafka.embedded_broker import free_port
from broker_plugin.settings.sections import InputSettings
from broker_plugin.telemetry.metrics import IngestMetrics
from broker_plugin.worker import partitions as partitions_module
from broker_plugin.worker import starting
from broker_plugin.worker.partitions import Partitions
from broker_plugin.worker.starting import LATEST, Start, list_offsets
from schemas.errors import BrokerError


@pytest.fixture
def nowhere() -> InputSettings:
    """A connection to a port that nobody listens on."""
    return InputSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")


def test_a_look_at_the_topics_bears_an_outage(nowhere: InputSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is no other topic: the worker goes on, and what sends or commits decides about the outage."""
    monkeypatch.setattr(partitions_module, "LOOK_TIMEOUT_S", 0.5)
    metrics = IngestMetrics(CollectorRegistry(), surveys=("ztf",), version="1")
    consumer = Consumer({"bootstrap.servers": nowhere.bootstrap_servers, "group.id": "g", "log_level": 0})
    ledger = LedgerWriter(None, "ledger", "ingest", "g", "i")  # type: ignore[arg-type]
    partitions = Partitions(nowhere, consumer, ledger, metrics)
    partitions.assigned([Start("alerts", 0, "cluster", "topic", 0, 0, 0)])
    partitions.check_topics(interval_s=0)
    consumer.close()


def test_a_question_without_an_answer_is_a_broker_error(
    nowhere: InputSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever patience ends first, the client's or the future's, the error is of the broker and names it."""
    monkeypatch.setattr(starting, "QUERY_TIMEOUT_S", 0.3)
    monkeypatch.setattr("broker_plugin.kafka.client.ADMIN_TIMEOUT_S", 0.3)
    with pytest.raises(BrokerError, match=nowhere.bootstrap_servers):
        query(nowhere, "offsets", lambda: (_ for _ in ()).throw(TimeoutError()), timeout_s=0.2)
    monkeypatch.setattr(starting, "query", lambda c, what, ask: query(c, what, ask, timeout_s=0.5))
    with pytest.raises(BrokerError, match=f"{nowhere.bootstrap_servers}: offsets"):
        list_offsets(nowhere, [TopicPartition("alerts", 0)], LATEST)


ROOT = Path(__file__).parents[2]


NEED_A_BROKER = (
    "replay packet --target kafka --topic alerts",
    "backfill packet",
    "backfill --rescore",
    "ledger",
    "redrive",
    "train export-log --output snapshot",
    "worker",
)


def test_a_verb_without_a_broker_says_so_once(nowhere: InputSettings, tmp_path: Path) -> None:
    """Within seconds one line names the address and its setting, status 1, and nothing is written; a worker says it
    for both of its roles."""
    address = nowhere.bootstrap_servers
    flags = [f"--set={name}.bootstrap_servers={address}" for name in ("input", "internal", "output")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started, running = time.monotonic(), []
    for number, verb in enumerate(NEED_A_BROKER):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "packet").write_bytes(b"packet")
        command = [sys.executable, "-m", "broker_plugin", *verb.split(), *flags]
        running.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=PIPE, stderr=PIPE, text=True))
    for number, process in enumerate(running):
        said, complaint = process.communicate(timeout=60)
        assert (process.returncode, said) == (1, ""), NEED_A_BROKER[number]
        (line,) = complaint.splitlines()
        assert re.search(rf"{address} \((input|internal)\.bootstrap_servers\): no connection .*refused", line)
        assert [path.name for path in (tmp_path / str(number)).iterdir()] == ["packet"]
    assert time.monotonic() - started < 45  # 5 where nothing else runs
