"""A worker that sleeps past its session and wakes up: what it held has another owner, and it must not be heard."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from subprocess import Popen

import pytest

from broker_plugin.demo.demo import read_accounts, send, total
from broker_plugin.kafka.topics import create_topics
from broker_plugin.worker.points import Point
from schemas.synthetic import generate_packets
from tests.brokers.support import Run

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
NUM_PACKETS = 200
FLAGS = (
    "ingest.batch_size=50",
    "classify.batch_size=10",
    "internal.partitions=4",
    "classify.exactly_once=true",
    # readers wait so long for the transaction that a sleeper left open
    "worker.delivery_timeout_s=8",
)


def stamped(address: str, folder: Path, *extra: str) -> Run:
    """A run whose stamp log is full and whose classify group has not begun."""
    run = Run(address, folder, *FLAGS, *extra)
    create_topics(run.settings.internal, run.settings.output)
    packets = [p.payload for p in generate_packets(seed=41, num_objects=20, num_frames=10)]
    send(run.settings, packets)
    with run.role("ingest") as ingest:
        run.await_accounts(ingest, lambda accounts: total(accounts, "ingest", "stamped") == NUM_PACKETS)
    return run


def await_stopped(process: Popen[bytes]) -> None:
    """Until the process has stopped itself."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        time.sleep(0.05)
    raise AssertionError("it did not stop")


def done(run: Run) -> bool:
    """Whether every trigger has an outcome."""
    accounts = read_accounts(run.settings)
    return total(accounts, "classify") - total(accounts, "classify", "absent") >= NUM_PACKETS


def check_once(run: Run) -> None:
    """Under read_committed every trigger has one record and every offset one outcome."""
    values = run.values_by_trigger()
    assert len(values) == NUM_PACKETS
    assert all(len(found) == 1 for found in values.values())
    assert all(account.balanced for account in read_accounts(run.settings).values())


@pytest.mark.parametrize("point", [pytest.param(Point.INFERRED, marks=pytest.mark.slow), Point.STORE_COMMITTED])
def test_a_paused_worker_is_not_heard_when_it_wakes(kafka: str, tmp_path: Path, point: Point) -> None:
    """SIGSTOP mid-batch until another worker has done everything, then SIGCONT: each record is there once.

    The sleeper drops its batch and joins again, or ends with 1 if the broker has given up its transaction.
    """
    run = stamped(kafka, tmp_path)
    heir = run.changed(f'classify.state_dir="{tmp_path / "heir"}"')
    with run.role("classify", dies_at=point, number=2, by=signal.SIGSTOP) as zombie:
        await_stopped(zombie)
        with heir.role("classify") as process:
            heir.await_accounts(process, lambda accounts: done(run))
            os.kill(zombie.pid, signal.SIGCONT)
            time.sleep(4)
            assert zombie.poll() in (None, 1), run.log.read_text()[-3000:]
    check_once(run)


def test_a_second_process_of_an_instance_fences_the_first(kafka: str, tmp_path: Path) -> None:
    """Two processes of one worker.instance_id: the older one is fenced, says so, and ends with exit status 1."""
    # the sleep must not outlast the delivery timeout, or what the older one says first is that
    run = stamped(kafka, tmp_path, "worker.instance_id=one", "worker.delivery_timeout_s=60")
    newer = run.changed(f'classify.state_dir="{tmp_path / "newer"}"')
    with run.role("classify", dies_at=Point.PRODUCED, number=2, by=signal.SIGSTOP) as older:
        await_stopped(older)
        with newer.role("classify") as process:
            newer.await_accounts(process, lambda accounts: done(run))
            os.kill(older.pid, signal.SIGCONT)
            assert older.wait(60) == 1
    assert b"fenced" in run.log.read_bytes()
    check_once(run)
