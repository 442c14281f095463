"""Replay into Kafka, and replay against a live worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import KafkaException

from broker_plugin.cli import main
from broker_plugin.demo.demo import total
from broker_plugin.kafka.client import admin_client
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from broker_plugin.replay.kafka_job import create_input_topic, replay_into_kafka
from broker_plugin.replay.offline import OfflineOptions
from broker_plugin.replay.offline_job import replay_offline
from broker_plugin.replay.progress import ReplayProgress
from broker_plugin.replay.stream import StreamOptions
from broker_plugin.settings.sections import InputSettings, Settings
from broker_plugin.settings.sources import load_settings
from schemas.archive.faults import Faults
from schemas.classification import Classification, Status
from schemas.ledger import LedgerEntry
from schemas.synthetic import SMALL, generate_packets
from tests.archive.archives import packets, tar
from tests.brokers.support import Accounts, Run
from tests.replay.support import values_by_object

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(280)]

ROOT = Path(__file__).parents[2]
NUM_OBJECTS, NUM_FRAMES = 204, 4
# the samples are years apart, and an object that left the state would start anew when a packet of it comes late
LONG_STATE = "classify.late_days=10000"
NUM_REAL = 285 + 34 + 107 + 3  # packets of REAL
REAL = (
    "ztf/astrolabsoftware+fink-broker/converted/stream_20231017_18.v4_02.avro",
    "ztf/mwvgroup+Pitt-Google-Broker/SuperNNova/ZTF21abiuvdk",
    "lsst/astrolabsoftware+fink-tutorials/converted/ftransfer_lsst_2026-03-10.v10_0.avro",
    "lsst/boom-astro+boom/tests/data/alerts/lsst",  # in wire format
)


def replay_live(settings: Settings, archive: Sequence[Path], folder: Path, faults: Faults | None = None) -> int:
    """Replay into the input topic; the number of packets sent."""
    options = StreamOptions(faults=faults or Faults())
    with ReplayProgress() as progress:
        topic = settings.input.topics[0]
        summary = replay_into_kafka(
            archive, folder, settings, topic=topic, stream_options=options, speed=None, progress=progress
        )
    return int(summary["num_packets"])


def replay_to_files(settings: Settings, archive: Sequence[Path], folder: Path) -> dict[str, list[bytes]]:
    """Object id -> the values of its records, in order, of an offline replay."""
    with ReplayProgress() as progress:
        replay_offline(
            archive,
            folder,
            settings,
            stream_options=StreamOptions(),
            options=OfflineOptions(),
            progress=progress,
        )
    return values_by_object(folder)


def make_run(address: str, folder: Path, *, num_partitions: int) -> Run:
    """Settings on fresh topics, the input topic with so many partitions."""
    folder.mkdir()
    run = Run(address, folder, LONG_STATE)
    create_topics(run.settings.internal, run.settings.output)
    create_input_topic(run.settings, run.settings.input.topics[0], num_partitions)
    return run


def await_outcomes(run: Run, worker: subprocess.Popen[bytes], num_packets: int) -> None:
    """Until every packet and every stamp has its outcome."""

    def done(accounts: Accounts) -> bool:
        read = total(accounts, "ingest") - total(accounts, "ingest", "absent")
        return read >= num_packets and total(accounts, "classify") >= total(accounts, "ingest", "stamped")

    accounts = run.await_accounts(worker, done, timeout_s=200)
    assert all(account.balanced for account in accounts.values())


def await_shared(run: Run, num_members: int, *, timeout_s: float = 120.0) -> None:
    """Until each of the two groups has so many members and every one has a partition."""
    admin = admin_client(run.settings.internal)
    groups = [run.settings.input.group, run.settings.internal.group]
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            answers = admin.describe_consumer_groups(groups, request_timeout=5).values()
            described = [answer.result(6) for answer in answers]
            shares = [[len(m.assignment.topic_partitions) for m in group.members] for group in described]
        except (KafkaException, TimeoutError):  # a group that is not there yet
            shares = [[]]
        if all(len(share) == num_members and min(share) for share in shares):
            return
        assert time.monotonic() < deadline, f"{shares}: {run.log.read_text()[-4000:]}"
        time.sleep(0.2)


def published_values(run: Run) -> dict[str, list[bytes]]:
    """Object id -> the values of its records, in order, of the output topic."""
    found: dict[str, list[bytes]] = {}
    for message in read_topic(run.settings.output, run.settings.output.topic):
        object_id = (message.key() or b"").decode().partition(":")[2]
        found.setdefault(object_id, []).append(message.value() or b"")
    return found


def instances(run: Run) -> Counter[str]:
    """Role -> how many processes entered something in the ledger."""
    internal = run.settings.internal
    entries = [LedgerEntry.from_bytes(m.value() or b"") for m in read_topic(internal, internal.ledger_topic)]
    return Counter(role for role, _ in {(entry.role, entry.instance) for entry in entries})


class Night(NamedTuple):
    """A simulated archive and its objects."""

    path: Path
    objects: frozenset[str]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A simulated night of more than 200 objects that each become eligible, as a tar."""
    simulated = list(generate_packets(seed=31, num_objects=NUM_OBJECTS, num_frames=NUM_FRAMES, form=SMALL))
    path = tmp_path_factory.mktemp("simulated") / "night.tar"
    path.write_bytes(tar({f"{number}.avro": packet.payload for number, packet in enumerate(simulated)}))
    return Night(path, frozenset(packet.object_id for packet in simulated))


@pytest.fixture(scope="module")
def paths(night: Night, sample_data: Path) -> list[Path]:
    """The two-night stream, SN 2021rhu, LSST packets, and the simulated night."""
    return [*(sample_data / name for name in REAL), night.path]


@pytest.fixture(scope="module")
def offline(
    paths: list[Path], night: Night, slim_bundles: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[bytes]]:
    """Object id -> the values of its records in an undisturbed offline replay; at least 200 of the simulated objects
    became eligible."""
    bundles = "classify.bundles=" + json.dumps([str(path) for path in slim_bundles])  # as the workers' of these tests
    values = replay_to_files(load_settings(flags=[LONG_STATE, bundles]), paths, tmp_path_factory.mktemp("offline"))
    ends = [Classification.from_bytes(values[name][-1]) for name in night.objects]
    assert sum(end.status is not Status.TOO_SHORT for end in ends) >= 200
    assert len(values) > len(night.objects) + 100
    return values


@pytest.mark.data
def test_one_partition_equals_offline_replay(
    kafka: str, tmp_path: Path, paths: list[Path], offline: dict[str, list[bytes]]
) -> None:
    """Through one input partition and one ingest process every record of every object, real or simulated, is
    byte-equal to offline replay, in order."""
    run = make_run(kafka, tmp_path / "live", num_partitions=1)
    num_packets = replay_live(run.settings, paths, tmp_path / "sent")
    assert num_packets == NUM_REAL + NUM_OBJECTS * NUM_FRAMES
    with run.worker() as worker:
        await_outcomes(run, worker, num_packets)
    assert published_values(run) == offline


@pytest.mark.data
def test_several_partitions_end_as_offline_replay(
    kafka: str, tmp_path: Path, paths: list[Path], offline: dict[str, list[bytes]]
) -> None:
    """The same packets, shuffled, doubled and late, through three input partitions and two workers with a state of
    their own, both at work: the last record of every object is that of the undisturbed offline replay."""
    first = make_run(kafka, tmp_path / "live", num_partitions=3)
    second = first.changed(f'classify.state_dir="{tmp_path / "second"}"')
    faults = Faults(window=100, duplicate=0.2, delay=0.2, reach=200, seed=3)
    with first.worker() as worker, second.worker():
        await_shared(first, 2)
        num_packets = replay_live(first.settings, paths, tmp_path / "sent", faults)
        await_outcomes(first, worker, num_packets)
    assert num_packets > NUM_REAL + NUM_OBJECTS * NUM_FRAMES
    assert instances(first) == {"ingest": 2, "classify": 2}
    live = published_values(first)
    assert {name: values[-1] for name, values in live.items()} == {name: v[-1] for name, v in offline.items()}


def test_a_replay_of_dead_letters_fails(kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What no worker can read is sent as it is, for it shall be dead-lettered, and summed up; the status is 1, also
    when it is asked for again; one good packet more makes it 0."""
    good = packets(1, 1)[0]
    path, topic = tmp_path / "night.tar", f"dead-letters-{tmp_path.name}"
    command = ["replay", str(path), "--target", "kafka", "--topic", topic, "--partitions", "1", "--json"]
    command += [f"--set=input.bootstrap_servers={kafka}", "--output"]
    for folder, payloads, status in (("dead", [good[:-50], b"hello"], 1), ("alive", [b"hello", good, b"ho"], 0)):
        path.write_bytes(tar({f"{number}.avro": payload for number, payload in enumerate(payloads)}))
        for _ in range(2):
            assert main([*command, str(tmp_path / folder)]) == status
            printed = capsys.readouterr()
            assert json.loads(printed.out)["num_packets"] == len(payloads)
            assert len(printed.err.splitlines()) == status
    sent = [message.value() for message in read_topic(InputSettings(bootstrap_servers=kafka), topic)]
    assert sent == [good[:-50], b"hello", b"hello", good, b"ho"]


def test_a_killed_replay_sends_every_packet_once(kafka: str, tmp_path: Path) -> None:
    """Killed at one step after another of its transactions and checkpoints, and started again each time: a
    read_committed reader finds each packet once, in order."""
    sent = packets(6, 8)
    path = tmp_path / "night.tar"
    path.write_bytes(tar({f"{number:03d}.avro": payload for number, payload in enumerate(sent)}))
    run = Run(kafka, tmp_path)
    topic = run.settings.input.topics[0]
    create_input_topic(run.settings, topic, 1)
    status, last = -signal.SIGKILL, 1
    while status == -signal.SIGKILL:
        command = [sys.executable, "-m", "tests.brokers.dying_sender", kafka, topic, str(path), str(tmp_path / "out")]
        status = subprocess.run([*command, str(last)], cwd=ROOT, timeout=60, check=False).returncode
        last += 4
        assert last < 60
    assert status == 0
    assert last > 15
    assert [message.value() for message in read_topic(run.settings.input, topic)] == sent
