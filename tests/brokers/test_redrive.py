"""Dead letters: what gets there, how they are redriven, and when there are too many."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from broker_plugin.demo.demo import read_accounts, send, total
from broker_plugin.kafka.client import client_config
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from schemas.classification import Classification
from schemas.dead_letter import DeadLetter
from schemas.surveys.lsst_wire import bundled_schema
from schemas.synthetic import generate_packets
from schemas.writers.alert import AlertFields, Stamps
from schemas.writers.lsst import Pointing, lsst_packet
from tests.brokers.support import ROOT, Run
from tests.registry_server import RegistryServer, registry_server

pytestmark = pytest.mark.timeout(180)
NEWER_ID = 1200


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as found:
        yield found


def redrive(run: Run, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    """The verb as it is typed; its letters."""
    command = [sys.executable, "-m", "broker_plugin", "redrive", *(f"--set={flag}" for flag in run.flags)]
    done = subprocess.run(
        [*command, "--json", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    letters: list[dict[str, Any]] = json.loads(done.stdout)["letters"]
    return letters


def letters_of(run: Run) -> list[tuple[DeadLetter, dict[str, str]]]:
    """Each dead letter with its headers."""
    internal = run.settings.internal
    found = []
    for message in read_topic(internal, internal.dead_letter_topic):
        headers: list[tuple[str, bytes]] = list(message.headers() or ())  # type: ignore[arg-type]
        found.append((DeadLetter.from_bytes(message.value() or b""), {k: v.decode() for k, v in headers}))
    return found


def ingest_until(run: Run, num_packets: int) -> None:
    """Ingest until so many offsets have an outcome."""
    with run.role("ingest") as process:
        run.await_accounts(process, lambda accounts: total(accounts, "ingest") == num_packets)


def lsst_packets(num: int) -> list[bytes]:
    """One object, a night each; every third packet is of a schema that only a registry knows."""
    stamps = Stamps(np.full((31, 31), 5.0, np.float32), np.ones((31, 31), np.float32))
    packets = []
    for index in range(num):
        fields = AlertFields(
            str(100 + index), "7", 61000.25 + index, "gr"[index % 2], 150.0, 2.0, 5e3, 50.0, 1.1, 0.9
        )
        packet = lsst_packet(
            replace(fields, object_id="7", source_id=str(100 + index)),
            stamps,
            Pointing(20.0, 15.0, 15.0),
            variance=np.full((31, 31), 100.0, np.float32),
            psf=np.full((5, 5), 0.04),
            schema_id=1101,
        )
        schema_id = NEWER_ID if index % 3 == 2 else 1101
        packets.append(packet[:1] + schema_id.to_bytes(4, "big") + packet[5:])
    return packets


def newer_schema(*, whole: bool) -> dict[str, Any]:
    """11.1 under another name; not whole: its last field was forgotten when it was registered."""
    schema = bundled_schema(1101)
    assert schema is not None
    fields = schema["fields"] if whole else schema["fields"][:-1]
    return schema | {"name": f"lsst.v{NEWER_ID // 100}_{NEWER_ID % 100}.alert", "fields": fields}


def test_a_mended_schema_and_a_redrive(broker: str, server: RegistryServer, tmp_path: Path) -> None:
    """Packets dead-lettered for a wrong schema in the registry are, once it is mended, redriven and classified with
    the others; the ledger balances, and a second redrive finds nothing to do."""
    num_packets, num_bad = 18, 6
    server.add(NEWER_ID, newer_schema(whole=False))
    run = Run(broker, tmp_path, f'input.registry_url="{server.url}"')
    create_topics(run.settings.internal, run.settings.output)
    with run.worker() as worker:
        send(run.settings, lsst_packets(num_packets))
        accounts = run.follow(worker, num_packets)
    assert total(accounts, "ingest", "dead_letter") == num_bad
    server.add(NEWER_ID, newer_schema(whole=True))
    redriven = redrive(run, "--readable")
    assert [letter["action"] for letter in redriven] == ["redriven"] * num_bad
    with run.worker() as worker:
        accounts = run.follow(worker, num_packets + num_bad)
    assert total(accounts, "ingest", "stamped") == num_packets
    assert total(accounts, "redrive", "redriven") == num_bad
    assert all(account.balanced for account in accounts.values())
    (value,) = run.last_values().values()
    record = Classification.from_bytes(value)
    assert record.num_frames == num_packets
    assert record.probabilities is not None
    assert redrive(run) == []


def poisons(num: int) -> list[bytes]:
    """Packets cut short."""
    return [p.payload[:-60] for p in generate_packets(seed=2, num_objects=1, num_frames=num)]


@pytest.mark.kafka
def test_a_second_failure_leads_back_to_the_first(kafka: str, tmp_path: Path) -> None:
    """A dead letter of a redriven packet says how often it was redriven and where it first stood."""
    run = Run(kafka, tmp_path)
    create_topics(run.settings.internal, run.settings.output)
    send(run.settings, poisons(1))
    ingest_until(run, 1)
    ((letter, headers),) = letters_of(run)
    first = f"{letter.topic}:{letter.partition}:{letter.offset}"
    assert headers == {}
    for attempt in (1, 2):
        (redriven,) = redrive(run)
        assert (redriven["original"], redriven["attempt"]) == (first, attempt)
        ingest_until(run, 1 + attempt)
        letter, headers = letters_of(run)[-1]
        dead_letters = run.settings.internal.dead_letter_topic
        assert headers == {
            "redrive-original": first,
            "redrive-letter": f"{dead_letters}:0:{attempt - 1}",
            "redrive-attempt": str(attempt),
        }
        assert f"{letter.topic}:{letter.partition}:{letter.offset}" != first
        assert letter.payload == poisons(1)[0]
    assert [letter["letter"] for letter in redrive(run, "--again", "--dry-run")] == ["0:0"]


@pytest.mark.kafka
def test_filters_and_targets(kafka: str, tmp_path: Path) -> None:
    """Reason, time, object, readability and number select letters; a dry run sends nothing; --to sends elsewhere."""
    run = Run(kafka, tmp_path)
    create_topics(run.settings.internal, run.settings.output)
    send(run.settings, [*poisons(3), b"no packet"])
    ingest_until(run, 4)
    everything = redrive(run, "--dry-run")
    assert [letter["action"] for letter in everything] == ["would_redrive"] * 4
    assert {letter["reason"] for letter in everything} == {"bad_container", "unknown_framing"}
    assert len(redrive(run, "--dry-run", "--limit", "2", "--since", "1h")) == 2
    assert redrive(run, "--dry-run", "--since", "2999-01-01") == []
    assert redrive(run, "--dry-run", "--readable") == []
    assert total(read_accounts(run.settings), "redrive") == 0
    other = f"{run.settings.internal.topic_prefix}.second-look"
    (sent,) = redrive(run, "--reason", "unknown_framing", "--to", other, "--cluster", "internal")
    assert sent["to"] == other
    assert [message.value() for message in read_topic(run.settings.internal, other)] == [b"no packet"]
    assert len(redrive(run, "--dry-run")) == 3


@pytest.mark.kafka
def test_a_packet_too_large_to_keep_is_fetched(kafka: str, tmp_path: Path) -> None:
    """A letter that holds only coordinates and SHA-256 is redriven from the original topic while the packet is there;
    once it is gone the letter is named, and the status is 1."""
    run = Run(kafka, tmp_path, "internal.max_message_bytes=20000")
    create_topics(run.settings.internal, run.settings.output)
    (topic,) = run.settings.input.topics
    packets = [letter * 50_000 for letter in (b"a", b"b")]
    put(run, topic, packets)
    ingest_until(run, 2)
    assert [letter.payload for letter, _ in letters_of(run)] == [None, None]
    (sent,) = redrive(run, "--limit", "1")
    assert (sent["action"], sent["size"]) == ("redriven", 50_000)
    values = [message.value() for message in read_topic(run.settings.input, topic)]
    assert sorted(values) == sorted([*packets, packets[0]])
    admin = AdminClient(client_config(run.settings.input))
    for deleted in admin.delete_records([TopicPartition(topic, 0, 2)]).values():
        deleted.result(10)
    (gone,) = redrive(run, status=1)
    assert (gone["action"], gone["packet"]) == ("gone", f"{topic}:0:1")


def put(run: Run, topic: str, packets: Sequence[bytes]) -> None:
    """Packets of any size onto the first partition."""
    producer = Producer(client_config(run.settings.input))
    for packet in packets:
        producer.produce(topic, packet, partition=0)
    assert producer.flush(30) == 0


@pytest.mark.kafka
def test_an_unreadable_stamp_is_dead_lettered(kafka: str, tmp_path: Path) -> None:
    """A stamp-log record that holds no fact goes to the dead-letter topic, and its neighbours are classified."""
    run = Run(kafka, tmp_path)
    create_topics(run.settings.internal, run.settings.output)
    packets = [p.payload for p in generate_packets(seed=3, num_objects=2, num_frames=6)]
    put(run, run.settings.internal.stamp_log_topic, [b"no fact"])
    with run.worker() as worker:
        send(run.settings, packets)
        accounts = run.await_accounts(worker, lambda accounts: total(accounts, "classify") == len(packets) + 1)
    assert total(accounts, "classify", "unreadable") == 1
    ((letter, _),) = letters_of(run)
    assert (letter.payload, letter.reason) == (b"no fact", "bad_avro")
    assert (letter.topic, letter.partition, letter.offset) == (run.settings.internal.stamp_log_topic, 0, 0)
    assert len(run.last_values()) == 2
    (sent,) = redrive(run, "--dry-run")
    assert sent["to"] == run.settings.internal.stamp_log_topic


@pytest.mark.tansu
def test_too_many_dead_letters_stop_the_worker(tansu: str, tmp_path: Path) -> None:
    """More than the set share of a window: one clear line, status 1, and every packet is accounted for."""
    run = Run(tansu, tmp_path, "ingest.dead_letter_window=20", "ingest.batch_size=10")
    create_topics(run.settings.internal, run.settings.output)
    sound = [p.payload for p in generate_packets(seed=3, num_objects=2, num_frames=6)]
    send(run.settings, [*sound, *poisons(20)])
    with run.role("ingest") as process:
        assert process.wait(60) == 1
    (line,) = [line for line in run.log.read_text().splitlines() if "are dead letters" in line]
    assert "more than ingest.max_dead_letter_share = 0.5 (newest reason: bad_container)" in line
    accounts = read_accounts(run.settings)
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "ingest") >= 20
