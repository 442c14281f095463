"""Offline replays with a scorer that needs no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from broker_plugin.evaluation.record_files import read_records
from broker_plugin.evaluation.stamp_archive import read_stamps
from broker_plugin.replay.checkpoint import CHECKPOINT_NAME, WORK_FOLDER, Checkpoint, open_checkpoint
from broker_plugin.replay.classifying import LocalShard, Shards
from broker_plugin.replay.decoding import LocalDecoder
from broker_plugin.replay.offline import OfflineOptions, OfflineReplay
from broker_plugin.replay.stream import PacketStream, StreamOptions
from broker_plugin.settings.sections import ClassifySettings
from broker_plugin.testing.scorers import HashScorer, make_rule
from broker_plugin.worker.classify_engine import ClassifyEngine
from model.scores import Eligibility
from schemas.archive.packet import Damage
from schemas.decode import PacketDecoder

SMALL = OfflineOptions(part_packets=20, batch_packets=8)
COARSE = OfflineOptions(part_packets=24, batch_packets=24)


def make_engine() -> ClassifyEngine:
    """One ZTF bundle that wants three frames."""
    scorer = HashScorer(
        view_rule=make_rule(bands="gri"), eligibility=Eligibility(min_frames=3, min_nights=1, min_bands=1)
    )
    return ClassifyEngine([scorer], ClassifySettings(), log_topic="offline", plugin_version="0")


def replay(
    folder: Path,
    archive: Sequence[Path],
    *,
    stream_options: StreamOptions | None = None,
    options: OfflineOptions = SMALL,
    moved: Callable[[int], None] = lambda num_packets: None,
    num_shards: int = 2,
) -> Checkpoint:
    """Replay into ``folder`` from its checkpoint on; the checkpoint at the end."""
    work = folder / WORK_FOLDER
    work.mkdir(parents=True, exist_ok=True)
    damage: list[Damage] = []
    stream = PacketStream(archive, stream_options or StreamOptions(), folder=work, damage=damage.append)
    checkpoint = open_checkpoint(work / CHECKPOINT_NAME, stream.job)
    decoder = LocalDecoder(PacketDecoder())
    shards = Shards([LocalShard(make_engine()) for _ in range(num_shards)])
    OfflineReplay(folder, shards, decoder, checkpoint, options, damage=damage).run(stream, moved)
    return checkpoint


def record_rows(folder: Path) -> list[dict[str, Any]]:
    """The records without the times at which they were made."""
    records = read_records(folder)
    return [replace_times(record.to_row()) for record in records]


def replace_times(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its wall clock times blanked."""
    return row | {"ingest_time": None, "publish_time": None}


def values_by_object(folder: Path) -> dict[str, list[bytes]]:
    """Object id -> the bytes of its classifications, in order."""
    found: dict[str, list[bytes]] = {}
    for record in read_records(folder):
        found.setdefault(record.classification.object_id, []).append(record.classification.to_bytes())
    return found


def part_contents(folder: Path) -> dict[str, Any]:
    """What each file of the output holds, wall clock times aside."""
    contents: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("records"):
            contents[path.name] = [replace_times(record.to_row()) for record in read_records(path)]
        elif path.name.startswith("stamps"):
            contents[path.name] = list(read_stamps(path))
        elif path.is_file():
            contents[path.name] = path.read_bytes()
    return contents
