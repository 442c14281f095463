"""SIGKILL after every step of a batch, in each role: no stamp lost, no second different record, ledger balanced."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from broker_plugin.demo.demo import read_accounts, send, total
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from broker_plugin.worker.points import Point
from schemas.synthetic import generate_packets
from tests.brokers.support import Run

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

BATCHES = ("ingest.batch_size=12", "classify.batch_size=12", "internal.partitions=2", "worker.delivery_timeout_s=20")
INGEST_POINTS = (Point.CONSUMED, Point.PRODUCED, Point.ACKNOWLEDGED, Point.LEDGERED, Point.GROUP_COMMITTED)
NUM_OBJECTS, NUM_FRAMES = 25, 10
NUM_PACKETS = NUM_OBJECTS * NUM_FRAMES


def fed(address: str, folder: Path, *extra: str) -> Run:
    """A run whose packets are on the input topic."""
    folder.mkdir()
    run = Run(address, folder, *BATCHES, *extra)
    create_topics(run.settings.internal, run.settings.output)
    packets = generate_packets(seed=21, num_objects=NUM_OBJECTS, num_frames=NUM_FRAMES)
    send(run.settings, [packet.payload for packet in packets])
    return run


def die(run: Run, role: str, point: Point) -> None:
    """The role runs until its second pass of the point."""
    with run.role(role, dies_at=point, number=2) as process:
        assert process.wait(60) == -signal.SIGKILL, run.log.read_text()[-4000:]


def finish_ingest(run: Run) -> None:
    """Ingest to the end of the input."""
    with run.role("ingest") as process:
        run.await_accounts(process, lambda accounts: total(accounts, "ingest") == NUM_PACKETS)


def finish_classify(run: Run) -> None:
    """Classify to the end of the stamp log, the copies of its observations included."""
    internal = run.settings.internal
    num_stamps = sum(1 for _ in read_topic(internal, internal.stamp_log_topic))
    with run.role("classify") as process:
        run.await_accounts(process, lambda accounts: total(accounts, "classify") - absent(accounts) >= num_stamps)


def absent(accounts: dict) -> int:
    """Offsets of the stamp log that hold no message: none, since ingest uses no transactions."""
    return total(accounts, "classify", "absent")


def test_ingest_dies_after_every_step(kafka: str, tmp_path: Path) -> None:
    """Every packet reaches the stamp log; what was published twice is the same bytes and triggers once."""
    run = fed(kafka, tmp_path / "run")
    for point in INGEST_POINTS:
        die(run, "ingest", point)
    finish_ingest(run)
    accounts = read_accounts(run.settings)
    assert total(accounts, "ingest", "stamped") == NUM_PACKETS
    assert all(account.balanced for account in accounts.values())
    internal = run.settings.internal
    stamps = [message.value() for message in read_topic(internal, internal.stamp_log_topic)]
    assert len(set(stamps)) == NUM_PACKETS
    finish_classify(run)
    accounts = read_accounts(run.settings)
    assert total(accounts, "classify", "duplicate") == len(stamps) - NUM_PACKETS
    assert all(account.balanced for account in accounts.values())


@pytest.mark.parametrize(
    "exactly_once",
    [pytest.param(False, id="at-least-once"), pytest.param(True, id="exactly-once", marks=pytest.mark.slow)],
)
def test_classify_dies_after_every_step(kafka: str, tmp_path: Path, exactly_once: bool) -> None:
    """Each trigger has one value, that of an undisturbed run over the same log; under exactly_once, one record."""
    extra = ("classify.exactly_once=true", "worker.instance_id=one") if exactly_once else ()
    run = fed(kafka, tmp_path / "run", *extra)
    finish_ingest(run)
    for point in Point:
        die(run, "classify", point)
    finish_classify(run)
    accounts = read_accounts(run.settings)
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "classify") - total(accounts, "classify", "absent") == NUM_PACKETS
    values = run.values_by_trigger()
    assert len(values) == NUM_PACKETS
    assert all(len(set(of_trigger)) == 1 for of_trigger in values.values())
    if exactly_once:
        assert all(len(of_trigger) == 1 for of_trigger in values.values())
    undisturbed = run.changed(
        f'internal.group="{run.settings.internal.group}-again"',
        f'output.topic="{run.settings.output.topic}.again"',
        f'classify.state_dir="{tmp_path / "again"}"',
        "classify.exactly_once=false",
    )
    with undisturbed.role("classify") as process:
        undisturbed.await_accounts(
            process, lambda accounts: len(undisturbed.values_by_trigger()) == NUM_PACKETS, timeout_s=60
        )
    assert {place: set(found) for place, found in undisturbed.values_by_trigger().items()} == {
        place: set(found) for place, found in values.items()
    }
