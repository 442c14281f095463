"""Backfill and rescoring as a verb runs them: stream, decoder, producer, checkpoint and progress wired together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from broker_plugin.kafka.client import ENVELOPE_BYTES, AckedProducer
from broker_plugin.kafka.topics import create_topics, require_brokers
from broker_plugin.replay.backfill import Backfill
from broker_plugin.replay.checkpoint import CHECKPOINT_NAME, WORK_FOLDER, open_checkpoint
from broker_plugin.replay.decoding import INGEST_KEYS, any_readable, open_decoder
from broker_plugin.replay.progress import ReplayProgress, open_stream
from broker_plugin.replay.stream import StreamOptions
from broker_plugin.settings.sections import Connection, Settings


def fill_stamp_log(
    paths: Sequence[Path],
    folder: Path,
    settings: Settings,
    *,
    stream_options: StreamOptions,
    progress: ReplayProgress,
) -> dict[str, Any]:
    """Send an archive's observations to the stamp log, stored only, going on where an earlier run of the same job
    stopped; its checkpoint is in ``folder``. BrokerError when Kafka fails."""
    require_brokers(settings, "internal", "output")
    work = folder / WORK_FOLDER
    stream, damage = open_stream(paths, stream_options, work, progress)
    work.mkdir(parents=True, exist_ok=True)
    create_topics(settings.internal, settings.output)
    topic, ingest = settings.internal.stamp_log_topic, settings.ingest
    job = stream.job | {
        "target": "stamp log",
        "brokers": settings.internal.bootstrap_servers,
        "topic": topic,
        "ingest": ingest.model_dump(mode="json", include=set(INGEST_KEYS)),
    }
    checkpoint = open_checkpoint(work / CHECKPOINT_NAME, job)
    with ExitStack() as stack:
        backfill = Backfill(
            _producer(settings.internal, settings),
            topic,
            open_decoder(settings, stack),
            checkpoint,
            work / CHECKPOINT_NAME,
            damage=damage,
        )
        backfill.run(stream, lambda num_packets: progress.show("backfilling", num_packets, stream.share))
    stream.clean()
    return {
        "topic": topic,
        "num_packets": checkpoint.num_packets,
        "num_left_out": checkpoint.num_left_out,
        "readable": any_readable(checkpoint.counts),
        "counts": dict(sorted(checkpoint.counts.items())),
        "damage": [asdict(found) for found in backfill.problems],
    }


def rescore_stored(settings: Settings, *, progress: ReplayProgress) -> dict[str, Any]:
    """Publish every stored object under the bundles in use; the errors of ``rescore``."""
    require_brokers(settings, "internal", "output")
    from broker_plugin.replay.rescore import rescore
    from broker_plugin.worker.bundle_loading import bundle_loader, bundle_paths

    load = bundle_loader(settings.classify)
    scorers = [load(path) for path in bundle_paths(settings.classify)]
    counts = rescore(
        settings,
        scorers,
        _producer(settings.output, settings),
        moved=lambda num_objects: progress.show("rescoring", num_objects, 0.0),
    )
    return {
        "topic": settings.output.topic,
        "num_objects": counts.total(),
        "counts": {f"classify.{status}": count for status, count in sorted(counts.items())},
        "bundles": sorted(scorer.bundle_id for scorer in scorers),
    }


def _producer(connection: Connection, settings: Settings) -> AckedProducer:
    largest = settings.internal.max_message_bytes + ENVELOPE_BYTES
    return AckedProducer(connection, settings.worker, max_message_bytes=largest)
