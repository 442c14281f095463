"""Faults of the machine, the bundle and the disk, as an operator meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from broker_plugin.demo.demo import read_accounts, send, total
from broker_plugin.kafka.client import client_config
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from schemas.classification import Classification
from schemas.dead_letter import DeadLetter
from schemas.synthetic import generate_packets
from tests.brokers.support import Run

pytestmark = pytest.mark.timeout(180)


def packets_of(seed: int, num_objects: int, num_frames: int) -> list[bytes]:
    return [p.payload for p in generate_packets(seed=seed, num_objects=num_objects, num_frames=num_frames)]


def ingest(run: Run, packets: list[bytes]) -> None:
    """Every packet onto the stamp log."""
    create_topics(run.settings.internal, run.settings.output)
    send(run.settings, packets)
    num = len(packets) + total(read_accounts(run.settings), "ingest")
    with run.role("ingest") as process:
        run.await_accounts(process, lambda accounts: total(accounts, "ingest") == num)


def classify_all(run: Run, num_stamps: int) -> None:
    with run.role("classify") as process:
        run.await_accounts(process, lambda accounts: total(accounts, "classify") == num_stamps)


def check_complete(run: Run, num_objects: int, num_frames: int) -> None:
    """One value a trigger, all frames in each object's last record, a balanced ledger."""
    values = run.values_by_trigger()
    assert len(values) == num_objects * num_frames
    assert all(len(set(of_trigger)) == 1 for of_trigger in values.values())
    frames = [Classification.from_bytes(value).num_frames for value in run.last_values().values()]
    assert frames == [num_frames] * num_objects
    assert all(account.balanced for account in read_accounts(run.settings).values())


def one_partition(run: Run) -> str:
    """The input topic, with a single partition."""
    (topic,) = run.settings.input.topics
    create_topics(run.settings.internal, run.settings.output)
    admin = AdminClient(client_config(run.settings.input))
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    return topic


def test_one_poison_packet_in_a_batch_of_500(broker: str, tmp_path: Path) -> None:
    """499 packets of the batch are stamped, the one is dead-lettered with its bytes, and one commit covers all."""
    run = Run(broker, tmp_path, "ingest.batch_size=500", "ingest.batch_deadline_s=10")
    topic = one_partition(run)
    packets = packets_of(41, 50, 10)
    packets[250] = packets[250][:-60]
    producer = Producer(client_config(run.settings.input))
    for packet in packets:
        producer.produce(topic, packet, partition=0)
    assert producer.flush(30) == 0
    with run.role("ingest") as process:
        accounts = run.await_accounts(process, lambda accounts: total(accounts, "ingest") == 500)
    batches = [json.loads(line) for line in run.log.read_text().splitlines() if '"event": "batch"' in line]
    assert [batch["packets"] for batch in batches] == [500]
    assert total(accounts, "ingest", "stamped") == 499
    assert all(account.balanced for account in accounts.values())
    internal = run.settings.internal
    (letter,) = [DeadLetter.from_bytes(m.value() or b"") for m in read_topic(internal, internal.dead_letter_topic)]
    assert (letter.offset, letter.payload) == (250, packets[250])


def overwrite_start(path: Path) -> None:
    path.write_bytes(b"\x00" * 4096 + path.read_bytes()[4096:])


@pytest.mark.kafka
def test_corrupt_store_files_are_rebuilt_from_the_log(kafka: str, tmp_path: Path) -> None:
    """Stores damaged between two runs are set aside and rebuilt without a trigger: later records are complete, and no
    earlier one is published again."""
    run = Run(kafka, tmp_path)
    packets = packets_of(42, 8, 10)
    ingest(run, packets[:40])
    classify_all(run, 40)
    files = sorted(Path(run.settings.classify.state_dir).glob("*.sqlite"))
    assert files
    for path in files:
        overwrite_start(path)
    ingest(run, packets[40:])
    classify_all(run, 80)
    assert run.log.read_text().count("store set aside") >= 1
    assert all(len(of_trigger) == 1 for of_trigger in run.values_by_trigger().values())
    check_complete(run, 8, 10)


@pytest.mark.kafka
def test_damage_met_while_running_ends_the_worker_and_a_restart_mends_it(kafka: str, tmp_path: Path) -> None:
    """A flipped bit in a payload is never classified: the role ends with status 1 and says so in one line; started
    again it rebuilds the store from the log and goes on."""
    run = Run(kafka, tmp_path, "internal.partitions=1")
    packets = packets_of(43, 4, 10)
    ingest(run, packets[:20])
    classify_all(run, 20)
    (path,) = Path(run.settings.classify.state_dir).glob("*.sqlite")
    flip_payload_bits(path)
    ingest(run, packets[20:])
    with run.role("classify") as process:
        assert process.wait(60) == 1
    assert re.search(r"store \S+ is corrupt .*: set aside, a restart rebuilds it", run.log.read_text())
    classify_all(run, 40)
    check_complete(run, 4, 10)


def flip_payload_bits(path: Path) -> None:
    """One byte of every stored payload."""
    import sqlite3

    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT first_offset, bytes FROM payloads").fetchall()
    for offset, payload in rows:
        damaged = payload[:200] + bytes([payload[200] ^ 1]) + payload[201:]
        connection.execute("UPDATE payloads SET bytes = ? WHERE first_offset = ?", (damaged, offset))
    connection.commit()
    connection.close()


@pytest.mark.tansu
def test_two_processes_on_one_store(tansu: str, tmp_path: Path) -> None:
    """A worker of another group on the same state folder ends with status 1, its supervisor's too, and says who holds
    the store; the first one goes on undisturbed."""
    run = Run(tansu, tmp_path)
    packets = packets_of(44, 4, 6)
    ingest(run, packets[:12])
    second = run.changed('internal.group="another"', 'input.group="another-ingest"')
    second.log = tmp_path / "second.log"
    with run.role("classify") as first:
        run.await_accounts(first, lambda accounts: total(accounts, "classify") == 12)
        with second.worker() as other:
            assert other.wait(90) == 1
        assert first.poll() is None
        send(run.settings, packets[12:])
        with run.role("ingest"):
            run.await_accounts(first, lambda accounts: total(accounts, "classify") >= 24)
    (line,) = [line for line in second.log.read_text().splitlines() if "is held by" in line]
    assert re.fullmatch(r"convention-broker: error: store \S+\.sqlite is held by process \d+ on .*-classify\)", line)


@pytest.mark.kafka
def test_a_bundle_that_fails_at_the_tenth_batch(kafka: str, tmp_path: Path) -> None:
    """Nine batches are published; the tenth is retried by halves down to one sequence, then the role ends with status
    1 and names bundle and object; a sound bundle takes up where it ended, and nothing is lost or different."""
    run = Run(kafka, tmp_path, "internal.partitions=1", "classify.batch_size=8", "classify.min_frames=1")
    packets = packets_of(45, 10, 10)
    ingest(run, packets)
    with run.failing_classify(num_calls=9) as process:
        assert process.wait(90) == 1
    text = run.log.read_text()
    assert re.findall(r"FAILING (\d+)", text) == ["8", "4", "2", "1"]
    (line,) = [line for line in text.splitlines() if line.startswith("convention-broker: error:")]
    assert re.search(r"bundle convention-ztf-\S+ cannot score ztf:\S+ \(\d+ frames\) alone: RuntimeError", line)
    accounts = read_accounts(run.settings)
    assert total(accounts, "classify") == 72
    classify_all(run, 100)
    check_complete(run, 10, 10)


@pytest.mark.tansu
def test_a_batch_that_hangs_ends_at_the_drain_deadline(tansu: str, tmp_path: Path) -> None:
    """Told to stop in the middle of a batch that does not end, a role gives it up at the deadline with status 1; the
    batch is read again by the next one."""
    run = Run(tansu, tmp_path, "worker.drain_deadline_s=1", "classify.min_frames=1")
    packets = packets_of(46, 4, 4)
    ingest(run, packets)
    with run.failing_classify(num_calls=0, hangs=True) as process:
        run.await_log("FAILING")
        process.terminate()
        assert process.wait(15) == 1
    assert "not drained in time" in run.log.read_text()
    classify_all(run, 16)
    check_complete(run, 4, 4)
