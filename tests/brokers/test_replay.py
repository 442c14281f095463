"""Replay into Kafka, and replay against a live worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker_plugin.cli import main
from broker_plugin.demo import total
from broker_plugin.replay.kafka_job import create_input_topic, replay_into_kafka
from broker_plugin.replay.offline import OfflineOptions
from broker_plugin.replay.offline_job import replay_offline
from broker_plugin.replay.progress import ReplayProgress
from broker_plugin.replay.stream import StreamOptions
from broker_plugin.settings import InputSettings, Settings
from broker_plugin.topic_reader import read_topic
from broker_plugin.topics import create_topics
from schemas.archive.faults import Faults
from schemas.classification import Classification, Status
from schemas.synthetic import SMALL, generate_packets
from tests.archive.archives import packets, tar
from tests.brokers.support import Accounts, Run
from tests.replay.support import values_by_object

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(280)]

ROOT = Path(__file__).parents[2]
NUM_OBJECTS, NUM_FRAMES = 204, 4
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


def live_values(run: Run, num_packets: int, num_workers: int) -> dict[str, list[bytes]]:
    """Object id -> the values of its records, in order, of ``num_workers`` workers that read it all."""

    def done(accounts: Accounts) -> bool:
        read = total(accounts, "ingest") - total(accounts, "ingest", "absent")
        return read >= num_packets and total(accounts, "classify") >= total(accounts, "ingest", "stamped")

    with ExitStack() as stack:
        workers = [stack.enter_context(run.worker()) for _ in range(num_workers)]
        accounts = run.await_accounts(workers[0], done, timeout_s=200)
    assert all(account.balanced for account in accounts.values())
    found: dict[str, list[bytes]] = {}
    for message in read_topic(run.settings.output, run.settings.output.topic):
        object_id = (message.key() or b"").decode().partition(":")[2]
        found.setdefault(object_id, []).append(message.value() or b"")
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated night of more than 200 objects that each become eligible, as a tar."""
    simulated = generate_packets(seed=31, num_objects=NUM_OBJECTS, num_frames=NUM_FRAMES, form=SMALL)
    path = tmp_path_factory.mktemp("simulated") / "night.tar"
    path.write_bytes(tar({f"{number}.avro": packet.payload for number, packet in enumerate(simulated)}))
    return path


@pytest.mark.data
def test_one_partition_equals_offline_replay(kafka: str, tmp_path: Path, archive: Path, sample_data: Path) -> None:
    """Through one input partition and one ingest process every record of every object is byte-equal to offline
    replay, in order: the two-night stream, SN 2021rhu, LSST packets, and 204 simulated objects."""
    paths = [*(sample_data / name for name in REAL), archive]
    run = Run(kafka, tmp_path / "live", "worker.metrics_port=0")
    (tmp_path / "live").mkdir()
    create_topics(run.settings.internal, run.settings.output)
    create_input_topic(run.settings, run.settings.input.topics[0], 1)
    num_packets = replay_live(run.settings, paths, tmp_path / "sent")
    assert num_packets == 285 + 34 + 107 + 3 + NUM_OBJECTS * NUM_FRAMES
    live = live_values(run, num_packets, 1)
    offline = replay_to_files(run.settings, paths, tmp_path / "offline")
    ends = [Classification.from_bytes(values[-1]) for values in offline.values()]
    assert sum(end.status is not Status.TOO_SHORT for end in ends) >= 200
    assert live == offline


def test_several_partitions_end_as_offline_replay(kafka: str, tmp_path: Path, archive: Path) -> None:
    """Shuffled, doubled and late through three input partitions and two workers, the last record of every object is
    that of the undisturbed offline replay."""
    run = Run(kafka, tmp_path / "live", "worker.metrics_port=0")
    (tmp_path / "live").mkdir()
    create_topics(run.settings.internal, run.settings.output)
    create_input_topic(run.settings, run.settings.input.topics[0], 3)
    faults = Faults(window=100, duplicate=0.2, delay=0.2, reach=200, seed=3)
    num_packets = replay_live(run.settings, [archive], tmp_path / "sent", faults)
    assert num_packets > NUM_OBJECTS * NUM_FRAMES
    live = live_values(run, num_packets, 2)
    offline = replay_to_files(run.settings, [archive], tmp_path / "offline")
    assert len(offline) == NUM_OBJECTS
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
