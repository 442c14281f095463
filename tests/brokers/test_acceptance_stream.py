"""The acceptance stream through ingest and classify on a real broker: every guarantee, on 500 objects.

20 to 120 frames each (so that the bound N is exceeded), ugriz, LSST and ZTF packets over 8 input partitions without a
key, shuffled, 5% of the frames duplicated, 5% late, 1% withdrawn, 1% more that cannot be read. What must come of it
is computed in memory first.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from broker_plugin.demo.demo import total
from broker_plugin.kafka.client import client_config
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.messages import HEADER_INPUT_OFFSET, HEADER_INPUT_PARTITION
from broker_plugin.settings.sections import ClassifySettings, Settings
from broker_plugin.store.stamp_store import PRUNE_STEP
from broker_plugin.store.triggers import LoadedBundle
from broker_plugin.testing.acceptance import (
    NUM_PARTITIONS,
    Stream,
    StreamPlan,
    build_stream,
    expected_facts,
    expected_values,
    expected_views,
)
from broker_plugin.testing.producing import produce_all
from broker_plugin.version import plugin_version
from model.runtime import load_scorer
from schemas.classification import Classification, Status
from schemas.dead_letter import DeadLetter
from schemas.decode import PacketDecoder
from schemas.errors import PacketError
from schemas.observation import content_digest
from schemas.view import SPARE_FRAMES
from tests.brokers.support import Accounts, Run

PLAN: Final = StreamPlan(num_objects={"ugriz": 350, "lsst": 100, "ztf": 50})
MAX_FRAMES: Final = 32
# Batches of seconds, of which only an object's newest trigger is scored: what two cores can do in a minute.
SETTINGS: Final = (
    f"classify.max_frames={MAX_FRAMES}",
    "classify.coalesce=true",
    "classify.coalesce_lag=1",
    "classify.batch_size=2000",
    "classify.batch_deadline_s=4.0",
    "internal.partitions=4",
)
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Truth:
    """The stream and what it must lead to: digests of all facts, the view's frames and last value of each object; why
    each poison packet cannot be read."""

    stream: Stream
    digests: frozenset[bytes]
    frames: dict[bytes, tuple[str, ...]]
    values: dict[bytes, bytes]
    faults: Counter[tuple[bytes, str]]


def load_bundles(paths: list[Path]) -> list[LoadedBundle]:
    settings = ClassifySettings(max_frames=MAX_FRAMES)
    return [LoadedBundle.of(load_scorer(path, threads=settings.threads), settings) for path in paths]


@pytest.fixture(scope="session")
def truth(slim_bundles: list[Path]) -> Truth:
    """Drawn and computed once for both brokers."""
    stream = build_stream(PLAN)
    facts = expected_facts(stream.payloads)
    bundles = load_bundles(slim_bundles)
    views = {key: view for bundle in bundles for key, view in expected_views(facts, bundle).items()}
    return Truth(
        stream,
        frozenset(fact.key.digest for stored in facts.values() for fact in stored),
        {key: tuple(fact.source_id for fact, _ in view) for key, view in views.items()},
        expected_values(facts, bundles, plugin_version=plugin_version()),
        Counter((payload, fault_of(payload)) for payload in stream.poison),
    )


def fault_of(payload: bytes) -> str:
    with pytest.raises(PacketError) as error:
        PacketDecoder().decode(payload)
    return error.value.reason.value


def send_stream(settings: Settings, stream: Stream) -> None:
    """A topic of eight partitions, every packet on the one drawn for it, none with a key."""
    (topic,) = settings.input.topics
    admin = AdminClient(client_config(settings.input))
    largest = {"max.message.bytes": str(settings.internal.max_message_bytes)}
    admin.create_topics([NewTopic(topic, NUM_PARTITIONS, 1, config=largest)])[topic].result(30)
    producer = Producer(client_config(settings.input) | {"linger.ms": 5})
    produce_all(producer, topic, ({"value": p.payload, "partition": p.partition} for p in stream.packets))
    assert producer.flush(60) == 0


def test_the_stream_is_what_it_says(truth: Truth) -> None:
    """500 objects of 20 to 120 frames, some beyond N; duplicates, withdrawals, and alerts of one object all over."""
    stream = truth.stream
    num_frames = sum(stream.num_frames.values())
    assert len(stream.num_frames) == 500
    assert min(stream.num_frames.values()) >= 20
    assert 100 <= max(stream.num_frames.values()) <= 120
    assert sum(frames > MAX_FRAMES + SPARE_FRAMES for frames in stream.num_frames.values()) >= 10
    assert sum(packet.is_duplicate for packet in stream.packets) == round(0.05 * num_frames)
    assert sum(map(len, stream.withdrawn.values())) == round(0.01 * num_frames)
    assert truth.faults.total() == round(0.01 * num_frames)
    assert len({reason for _, reason in truth.faults}) >= 4
    partitions: dict[bytes, set[int]] = {}
    for packet in stream.packets:
        partitions.setdefault(packet.key, set()).add(packet.partition)
    assert min(map(len, partitions.values())) > 1


def test_truth_does_not_depend_on_the_order(truth: Truth, slim_bundles: list[Path]) -> None:
    """The views of another order of the same packets, duplicates left out, are the same."""
    packets = [p for p in truth.stream.packets if not (p.is_duplicate or p.is_poison) and p.key < b"m"]
    random.Random(1).shuffle(packets)
    facts = expected_facts(packet.payload for packet in packets)
    frames = {
        key: tuple(fact.source_id for fact, _ in view)
        for bundle in load_bundles(slim_bundles)
        for key, view in expected_views(facts, bundle).items()
    }
    assert frames
    assert frames == {key: truth.frames[key] for key in frames}


def done(accounts: Accounts, truth: Truth) -> bool:
    """Every packet has its outcome, and every stamp made of one (none of the stream is filtered)."""
    num_packets = len(truth.stream.packets)
    stamps = num_packets - truth.faults.total()
    return total(accounts, "ingest") >= num_packets and total(accounts, "classify") >= stamps


def test_every_guarantee_on_the_stream(broker: str, truth: Truth, tmp_path: Path) -> None:
    """No stamp lost, poison dead-lettered, last records as computed, withdrawn frames absent, views and store
    bounded, ledger balanced."""
    run = Run(broker, tmp_path, *SETTINGS)
    started, num_packets = time.monotonic(), len(truth.stream.packets)
    with run.worker() as worker:
        send_stream(run.settings, truth.stream)
        accounts = run.await_accounts(worker, lambda found: done(found, truth), timeout_s=300)
    seconds = time.monotonic() - started
    assert worker.returncode == 0, run.log.read_text()[-4000:]
    print(f"{num_packets} packets in {seconds:.0f} s: {num_packets / seconds:.0f} a second")
    check_nothing_lost(run, truth)
    check_ledger(run, truth, accounts)
    check_last_records(run, truth)
    check_store_is_bounded(run, truth)


def check_nothing_lost(run: Run, truth: Truth) -> None:
    """Every fact of every packet is on the stamp log, once for each time its packet was sent, all of one object in
    one partition although they came from several; every poison packet is a dead letter with its reason."""
    internal = run.settings.internal
    digests: Counter[bytes] = Counter()
    inputs: set[tuple[int, int]] = set()
    places: dict[bytes, set[int]] = {}
    for message in read_topic(internal, internal.stamp_log_topic):
        headers: dict[str, bytes] = dict(message.headers() or ())  # type: ignore[arg-type]
        inputs.add((int(headers[HEADER_INPUT_PARTITION]), int(headers[HEADER_INPUT_OFFSET])))
        digests[content_digest(message.value() or b"")] += 1
        places.setdefault(message.key() or b"", set()).add(int(message.partition() or 0))  # type: ignore[arg-type]
    assert set(digests) == truth.digests
    assert all(len(of_object) == 1 for of_object in places.values())
    letters = [DeadLetter.from_bytes(m.value() or b"") for m in read_topic(internal, internal.dead_letter_topic)]
    assert Counter((letter.payload or b"", letter.reason) for letter in letters) == truth.faults
    lost = {(letter.partition, letter.offset) for letter in letters}
    assert len(inputs | lost) == digests.total() + len(letters) == len(truth.stream.packets)


def check_ledger(run: Run, truth: Truth, accounts: Accounts) -> None:
    """consumed = stamped + dead-lettered; read = duplicate + stored-only + triggered; a record for each trigger not
    superseded."""
    num_poison = truth.faults.total()
    stamps = len(truth.stream.packets) - num_poison
    assert all(account.balanced for account in accounts.values())
    ingest = {partition: account for (role, _, partition), account in accounts.items() if role == "ingest"}
    sent = Counter(packet.partition for packet in truth.stream.packets)
    assert {p: (a.first_offset, a.last_offset + 1) for p, a in ingest.items()} == {p: (0, n) for p, n in sent.items()}
    assert total(accounts, "ingest", "stamped") == stamps
    assert total(accounts, "ingest", "dead_letter") == num_poison
    assert total(accounts, "ingest") == stamps + num_poison
    counts = {
        outcome: total(accounts, "classify", outcome)
        for outcome in ("duplicate", "stored_only", "classified", "abstained", "too_short", "superseded")
    }
    assert sum(counts.values()) == total(accounts, "classify") == stamps
    assert counts["superseded"] > 0
    # a copy of a frame that the store has dropped since is new to it, and triggers
    copies = [packet.key for packet in truth.stream.packets if packet.is_duplicate]
    kept = [key for key in copies if truth.stream.num_frames[key] <= MAX_FRAMES + SPARE_FRAMES]
    assert len(kept) <= counts["duplicate"] <= len(copies)
    records = sum(len(values) for values in run.values_by_trigger().values())
    assert records == counts["classified"] + counts["abstained"] + counts["too_short"]


def check_last_records(run: Run, truth: Truth) -> None:
    """Byte for byte what was computed, withdrawn frames absent, N frames at most; at least 200 classified."""
    values = run.last_values()
    assert values == truth.values
    records = {key: Classification.from_bytes(value) for key, value in values.items()}
    for key, record in records.items():
        withdrawn = truth.stream.withdrawn.get(key, frozenset())
        assert not withdrawn & set(truth.frames[key])
        assert record.num_frames == min(MAX_FRAMES, truth.stream.num_frames[key] - len(withdrawn))
    assert sum(record.status is Status.CLASSIFIED for record in records.values()) >= 200


def stored_facts(folder: Path) -> Iterator[tuple[bytes, int]]:
    """Object key and number of facts, over all partitions' stores."""
    for path in folder.glob("*.sqlite"):
        with sqlite3.connect(path) as connection:
            yield from connection.execute(
                "SELECT objects.key, count(*) FROM facts JOIN objects ON objects.id = object GROUP BY object"
            )
        connection.close()


def check_store_is_bounded(run: Run, truth: Truth) -> None:
    """What no view can need is deleted (an object's facts are looked over at every step of their number), and
    nothing else."""
    held = dict(stored_facts(run.settings.classify.state_dir))
    sent = {key: n + len(truth.stream.withdrawn.get(key, ())) for key, n in truth.stream.num_frames.items()}
    assert set(held) == set(sent)
    settled = MAX_FRAMES + SPARE_FRAMES
    assert all(held[key] == sent[key] for key in sent if sent[key] <= settled)
    assert all(held[key] < sent[key] for key in sent if sent[key] > settled + 2 * PRUNE_STEP)
