"""What happens around a worker: the broker dies and comes back, a second worker takes over from a killed one."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker_plugin.demo.demo import read_accounts, send, total
from broker_plugin.kafka.topics import create_topics
from broker_plugin.testing.kafka_node import KafkaNode
from schemas.classification import Classification
from schemas.synthetic import generate_packets
from tests.brokers.support import Run

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
NUM_OBJECTS, NUM_FRAMES = 30, 10
NUM_PACKETS = NUM_OBJECTS * NUM_FRAMES
SMALL_BATCHES = ("ingest.batch_size=20", "classify.batch_size=20")


def packets() -> list[bytes]:
    return [p.payload for p in generate_packets(seed=31, num_objects=NUM_OBJECTS, num_frames=NUM_FRAMES)]


def check_complete(run: Run) -> None:
    """Every packet was stamped, every trigger has one value, every object's last record has all its frames."""
    accounts = read_accounts(run.settings)
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "ingest", "stamped") == NUM_PACKETS
    assert all(len(set(values)) == 1 for values in run.values_by_trigger().values())
    frames = [Classification.from_bytes(value).num_frames for value in run.last_values().values()]
    assert frames == [NUM_FRAMES] * NUM_OBJECTS


@pytest.mark.parametrize(
    "exactly_once",
    [pytest.param(False, id="at-least-once"), pytest.param(True, id="exactly-once", marks=pytest.mark.slow)],
)
def test_a_broker_killed_and_restarted_loses_nothing(
    own_kafka: KafkaNode, tmp_path: Path, exactly_once: bool
) -> None:
    """SIGKILL of the broker mid-stream and a restart on its data: the same worker goes on, and nothing is lost.

    Every line of its log is JSON meanwhile, what librdkafka says of the outage among them.
    """
    extra = ("classify.exactly_once=true",) if exactly_once else ()
    run = Run(own_kafka.address, tmp_path, *SMALL_BATCHES, *extra)
    with run.worker() as worker:
        send(run.settings, packets())
        run.await_accounts(worker, lambda accounts: total(accounts, "classify") >= 60)
        own_kafka.kill()
        time.sleep(3)
        own_kafka.start()
        run.follow(worker, NUM_PACKETS)
        assert worker.poll() is None
    assert worker.returncode == 0
    check_complete(run)
    said = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert {line["role"] for line in said if line.get("facility") == "FAIL"} == {"ingest", "classify"}


def test_a_broker_that_stays_away_ends_the_worker(own_kafka: KafkaNode, tmp_path: Path) -> None:
    """Past worker.delivery_timeout_s of outage the worker says so and exits 1, for its supervisor to see."""
    run = Run(own_kafka.address, tmp_path, *SMALL_BATCHES, "worker.delivery_timeout_s=4")
    with run.worker() as worker:
        send(run.changed("worker.delivery_timeout_s=60").settings, packets())  # the survey's producer has patience
        run.await_accounts(worker, lambda accounts: total(accounts, "classify") >= 20)
        own_kafka.kill()
        assert worker.wait(90) == 1
    own_kafka.start()
    with run.worker() as worker:
        run.follow(worker, NUM_PACKETS)
    check_complete(run)


def test_a_killed_worker_is_taken_over_by_another(kafka: str, tmp_path: Path) -> None:
    """Two workers share the groups; one is killed; the other goes on with complete sequences, from the log."""
    first = Run(kafka, tmp_path, *SMALL_BATCHES)
    second = first.changed(f'classify.state_dir="{tmp_path / "second"}"')
    second.log = tmp_path / "second.log"
    create_topics(first.settings.internal, first.settings.output)
    payloads = packets()
    half = NUM_PACKETS // 2
    with ExitStack() as stack:
        doomed = stack.enter_context(first.worker())
        heir = stack.enter_context(second.worker())
        send(first.settings, payloads[:half])
        first.follow(heir, half)
        await_assigned(first, second)
        before = num_assigned(second)
        send(first.settings, payloads[half:])
        os.killpg(doomed.pid, signal.SIGKILL)
        doomed.wait(30)
        second.follow(heir, NUM_PACKETS)
        assert num_assigned(second) > before
    check_complete(first)


def test_workers_that_come_and_go_under_load_publish_each_trigger_once(kafka: str, tmp_path: Path) -> None:
    """Exactly-once over two rebalances: a second worker joins while the first works, then the first leaves, packets
    coming in all the while. Under read_committed every trigger has one record."""
    first = Run(kafka, tmp_path, *SMALL_BATCHES, "classify.exactly_once=true")
    second = first.changed(f'classify.state_dir="{tmp_path / "second"}"')
    second.log = tmp_path / "second.log"
    create_topics(first.settings.internal, first.settings.output)
    payloads = packets()
    third = NUM_PACKETS // 3
    with ExitStack() as stack:
        staying = stack.enter_context(first.worker())
        send(first.settings, payloads[:third])
        first.await_accounts(staying, lambda accounts: total(accounts, "classify") >= third // 2)
        heir = stack.enter_context(second.worker())
        send(first.settings, payloads[third : 2 * third])
        await_assigned(first, second)
        send(first.settings, payloads[2 * third :])
        staying.terminate()
        second.follow(heir, NUM_PACKETS)
        assert staying.wait(60) == 0
    check_complete(first)
    values = first.values_by_trigger()
    assert len(values) == NUM_PACKETS
    assert all(len(of_trigger) == 1 for of_trigger in values.values())


def num_assigned(run: Run) -> int:
    """How often its worker was assigned a partition of the stamp log."""
    return run.log.read_bytes().count(b"partition assigned")


def await_assigned(*runs: Run) -> None:
    """Until every worker has been assigned partitions: then each holds its share of the four."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if all(map(num_assigned, runs)):
            return
        time.sleep(0.2)
    raise AssertionError("the stamp log's partitions were not shared out")
