"""A short soak: a cluster of three, two supervised workers, kills of both, one packet in a hundred damaged."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from broker_plugin.testing.kafka_node import kafka_home
from tests.brokers.support import ROOT


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(600)
@pytest.mark.parametrize("exactly_once", [False, True], ids=["at-least-once", "exactly-once"])
def test_a_minute_of_kills_loses_nothing(exactly_once: bool) -> None:
    """The ledger balances to the last packet, and under exactly_once no record is there twice."""
    if kafka_home() is None:
        pytest.skip("no Apache Kafka in KAFKA_HOME, or no java")
    command = [sys.executable, "-m", "benchmarks.soak", "--seconds=60", "--rate=20", "--worker-kills=4"]
    command += ["--broker-kills=1", *(["--exactly-once"] if exactly_once else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["worker_kills"] >= 1
    assert figures["broker_kills"] == 1
