"""Replay into Kafka as a verb runs it: stream, target, checkpoint and progress wired together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from confluent_kafka.cimpl import NewTopic

from broker_plugin.kafka.client import ENVELOPE_BYTES
from broker_plugin.kafka.topics import create_topic
from broker_plugin.replay.checkpoint import CHECKPOINT_NAME, WORK_FOLDER, open_checkpoint
from broker_plugin.replay.kafka_target import KafkaReplay, Pace
from broker_plugin.replay.progress import ReplayProgress, open_stream
from broker_plugin.replay.stream import StreamOptions
from broker_plugin.settings.sections import Settings


def replay_into_kafka(
    paths: Sequence[Path],
    folder: Path,
    settings: Settings,
    *,
    topic: str,
    stream_options: StreamOptions,
    speed: float | None,
    progress: ReplayProgress,
) -> dict[str, Any]:
    """Replay into a topic of the input connection, going on where an earlier run of the same job stopped; its
    checkpoint is in ``folder``. BrokerError when Kafka fails."""
    work = folder / WORK_FOLDER
    stream, damage = open_stream(paths, stream_options, work, progress)
    work.mkdir(parents=True, exist_ok=True)
    job = stream.job | {"target": "kafka", "brokers": settings.input.bootstrap_servers, "topic": topic}
    checkpoint = open_checkpoint(work / CHECKPOINT_NAME, job)
    replay = KafkaReplay(
        settings.input,
        settings.worker,
        topic,
        checkpoint,
        work / CHECKPOINT_NAME,
        pace=Pace(speed),
        max_message_bytes=settings.internal.max_message_bytes + ENVELOPE_BYTES,
    )
    with closing(replay):
        replay.run(stream, lambda num_packets: progress.show("sending", num_packets, stream.share))
    stream.clean()
    return {
        "topic": topic,
        "num_packets": checkpoint.num_packets,
        "num_left_out": checkpoint.num_left_out,
        "readable": checkpoint.readable,
        "damage": [asdict(found) for found in damage],
    }


def create_input_topic(settings: Settings, topic: str, num_partitions: int) -> None:
    """Create ``topic`` on the input connection unless it is there; BrokerError when that is refused."""
    largest = settings.internal.max_message_bytes + ENVELOPE_BYTES
    create_topic(settings.input, NewTopic(topic, num_partitions, 1, config={"max.message.bytes": str(largest)}))
