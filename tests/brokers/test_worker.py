"""The worker on a real broker: from packets to records, with every alert accounted for."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from broker_plugin.demo.demo import read_accounts, send, total
from broker_plugin.kafka.topic_reader import read_topic
from model.bundle_store import promote
from schemas.classification import Classification
from schemas.dead_letter import DeadLetter
from schemas.synthetic import generate_packets
from tests.brokers.rivals import last_values, write_rival
from tests.brokers.support import Run, run_all

SN_2021RHU = "ztf/mwvgroup+Pitt-Google-Broker/SuperNNova/ZTF21abiuvdk"
pytestmark = pytest.mark.timeout(240)


@pytest.mark.data
def test_sn_2021rhu_end_to_end(broker: str, sample_data: Path, tmp_path: Path) -> None:
    """The 34 alerts of SN 2021rhu become one sequence of 34 frames, 18 g and 16 r, and the ledger balances."""
    packets = [path.read_bytes() for path in sorted((sample_data / SN_2021RHU).iterdir())]
    run, accounts = run_all(broker, tmp_path / "run", packets)
    (value,) = run.last_values().values()
    record = Classification.from_bytes(value)
    assert record.object_id == "ZTF21abiuvdk"
    assert record.num_frames == 34
    assert (record.frames_per_band["g"], record.frames_per_band["r"]) == (18, 16)
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "ingest", "stamped") == 34
    assert total(accounts, "classify") == 34


def test_order_and_duplicates_change_nothing(broker: str, tmp_path: Path) -> None:
    """The same packets shuffled and doubled give the same last record per object, byte for byte."""
    packets = [packet.payload for packet in generate_packets(seed=3, num_objects=8, num_frames=8)]
    first, _ = run_all(broker, tmp_path / "in-order", packets)
    disordered = [*packets, *packets[::3]]
    random.Random(5).shuffle(disordered)
    second, accounts = run_all(broker, tmp_path / "shuffled", disordered)
    assert len(first.last_values()) == 8
    assert first.last_values() == second.last_values()
    assert total(accounts, "classify", "duplicate") == len(disordered) - len(packets)


def test_a_poison_packet_is_dead_lettered_and_its_neighbours_pass(broker: str, tmp_path: Path) -> None:
    """One damaged packet among 40 goes to the dead-letter topic with its bytes; the others are classified."""
    packets = [packet.payload for packet in generate_packets(seed=4, num_objects=4, num_frames=10)]
    poison = packets[7][:-60]
    packets.insert(20, poison)
    run, accounts = run_all(broker, tmp_path / "run", packets)
    internal = run.settings.internal
    letters = [DeadLetter.from_bytes(m.value() or b"") for m in read_topic(internal, internal.dead_letter_topic)]
    assert [letter.payload for letter in letters] == [poison]
    assert letters[0].reason == "bad_container"
    assert total(accounts, "ingest", "dead_letter") == 1
    assert total(accounts, "classify") == len(packets) - 1


def test_a_killed_worker_loses_nothing(broker: str, tmp_path: Path) -> None:
    """SIGKILL of both roles mid-stream, then a restart: the ledger balances, and no trigger has two records."""
    packets = [packet.payload for packet in generate_packets(seed=6, num_objects=30, num_frames=10)]
    run = Run(broker, tmp_path, "ingest.batch_size=20", "classify.batch_size=20")
    with run.worker() as worker:
        send(run.settings, packets)
        deadline = time.monotonic() + 60
        while total(read_accounts(run.settings), "classify") < 60 and time.monotonic() < deadline:
            assert worker.poll() is None, run.log.read_text()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(30)
    with run.worker() as worker:
        accounts = run.follow(worker, len(packets))
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "ingest", "stamped") == len(packets)
    output = run.settings.output
    values: dict[tuple[bytes, bytes], set[bytes]] = {}
    for message in read_topic(output, output.topic):
        headers = dict(message.headers() or ())
        place = (headers["log-partition"], headers["log-offset"])
        values.setdefault(place, set()).add(message.value() or b"")
    assert all(len(of_trigger) == 1 for of_trigger in values.values())
    frames = Counter(Classification.from_bytes(value).num_frames for value in run.last_values().values())
    assert frames == {10: 30}


def test_a_promoted_bundle_is_taken_up_without_a_restart(broker: str, tmp_path: Path, slim_ztf: Path) -> None:
    """After a promotion the same worker's records are the new bundle's, of other weights, with nothing of the old
    one's answers in them; a broken promotion changes nothing."""
    store = tmp_path / "bundles"
    promote(slim_ztf, store)
    newer = write_rival(slim_ztf, tmp_path / "convention-ztf-2.0", version="2.0")
    run = Run(broker, tmp_path, f'classify.bundles=["{store}"]', "classify.reload_interval_s=0.2")
    packets = [packet.payload for packet in generate_packets(seed=8, num_objects=4, num_frames=8)]
    half = len(packets) // 2
    with run.worker() as worker:
        send(run.settings, packets[:half])
        run.follow(worker, half)
        before = run.last_values()
        promote(newer, store)
        run.await_log("bundle switched", timeout_s=30)
        (store / "promoted.json").write_text("{}")
        run.await_log("promoted bundle refused", timeout_s=30)
        send(run.settings, packets[half:])
        run.follow(worker, len(packets))
    assert worker.returncode == 0
    old, new = (last_values(packets, path, run.settings.classify) for path in (slim_ztf, newer))
    assert before == last_values(packets[:half], slim_ztf, run.settings.classify)
    assert run.last_values() == new
    assert probabilities(old).keys() == probabilities(new).keys()
    assert all(probabilities(old)[key] != answer for key, answer in probabilities(new).items())


def probabilities(values: dict[bytes, bytes]) -> dict[bytes, object]:
    """Of the records that have them, by key."""
    records = {key: Classification.from_bytes(value) for key, value in values.items()}
    return {key: record.probabilities for key, record in records.items() if record.probabilities is not None}
