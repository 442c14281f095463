"""Offline replay as a verb runs it: stream, engine, decoder, checkpoint and progress wired together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from broker_plugin.replay.checkpoint import CHECKPOINT_NAME, WORK_FOLDER, Checkpoint, open_checkpoint, recorded_shards
from broker_plugin.replay.classifying import open_shards
from broker_plugin.replay.decoding import INGEST_KEYS, any_readable, open_decoder
from broker_plugin.replay.offline import OfflineOptions, OfflineReplay
from broker_plugin.replay.parts import has_parts
from broker_plugin.replay.progress import ReplayProgress, open_stream
from broker_plugin.replay.stream import StreamOptions
from broker_plugin.settings.sections import Settings
from broker_plugin.version import plugin_version
from schemas.errors import SettingsError

# An archive below this is replayed sooner than helper processes have loaded.
SMALL_BYTES: Final = 50_000_000


def replay_offline(
    paths: Sequence[Path],
    folder: Path,
    settings: Settings,
    *,
    stream_options: StreamOptions,
    options: OfflineOptions,
    progress: ReplayProgress,
) -> dict[str, Any]:
    """Replay into ``folder``, going on where an earlier run of the same job stopped; what became of the packets.

    SettingsError when the folder holds another replay; the errors of OfflineReplay and of ArchiveReader.
    """
    work = folder / WORK_FOLDER
    if not (work / CHECKPOINT_NAME).exists() and has_parts(folder):
        raise SettingsError(f"{folder} holds record files of something else: name another --output")
    stream, damage = open_stream(paths, stream_options, work, progress)
    work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        small = stream.num_bytes < SMALL_BYTES
        num_shards = recorded_shards(work / CHECKPOINT_NAME) or (1 if small else 0)
        shards = open_shards(settings.classify, stack, num_shards)
        job = stream.job | _job(settings, shards.bundle_ids(), options)
        checkpoint = open_checkpoint(work / CHECKPOINT_NAME, job)
        decoder = open_decoder(settings, stack, local=small)
        replay = OfflineReplay(folder, shards, decoder, checkpoint, options, damage=damage)
        replay.run(stream, lambda num_packets: progress.show("replaying", num_packets, stream.share))
    stream.clean()
    return _summary(folder, checkpoint)


def _job(settings: Settings, bundle_ids: dict[str, str], options: OfflineOptions) -> dict[str, Any]:
    """What the output depends on besides the stream; the device and its speed are not part of it."""
    views = settings.classify.model_dump(
        mode="json",
        include={
            "min_frames", "min_nights", "min_bands", "max_frames", "max_days", "late_days", "publish_too_short",
            "class_prior",
        },
    )  # fmt: skip
    return {
        "target": "offline",
        "format": options.suffix,
        "part_packets": options.part_packets,
        "bundles": bundle_ids,
        "plugin_version": plugin_version(),
        "ingest": settings.ingest.model_dump(mode="json", include=set(INGEST_KEYS)),
        "classify": views,
    }


def _summary(folder: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    counts = dict(sorted(checkpoint.counts.items()))
    return {
        "folder": str(folder),
        "num_packets": checkpoint.num_packets,
        "num_left_out": checkpoint.num_left_out,
        "num_parts": checkpoint.num_parts,
        "readable": any_readable(counts),
        "counts": counts,
    }
