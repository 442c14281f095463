"""``replay``: an archive of alerts through the worker's path into files, or into a Kafka topic."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker_plugin.commands.archive_arguments import (
    add_archive_arguments,
    print_summary,
    require_replayed,
    say_passed_over,
    stream_options,
)
from broker_plugin.commands.common import add_settings_arguments, settings_from
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from broker_plugin.replay.progress import ReplayProgress
    from broker_plugin.replay.stream import StreamOptions
    from broker_plugin.settings.sections import Settings

HELP: Final = (
    "Replay archived alerts: offline, through the worker's path without a broker into record files, or into a Kafka "
    "topic. An interrupted replay goes on when the same command is given again. "
    "Status 1 when no packet of the archive can be read or is selected."
)
EXAMPLE: Final = "convention-broker replay ztf_public_20231017.tar.gz --output replayed"
FORMATS: Final = {"avro": ".avro", "parquet": ".parquet", "jsonl": ".jsonl"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The archive, the target and the faults."""
    add_archive_arguments(parser)
    add_settings_arguments(parser)
    parser.add_argument("--target", choices=("offline", "kafka"), default="offline", help="default: offline")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("replayed"),
        metavar="DIR",
        help="files and checkpoint (default: replayed)",
    )
    offline = parser.add_argument_group("offline")
    offline.add_argument("--format", choices=sorted(FORMATS), default="avro", help="of the records (default: avro)")
    offline.add_argument("--part", type=int, default=5000, metavar="N", help="packets a part (default: 5000)")
    kafka = parser.add_argument_group("kafka (the settings' input connection)")
    kafka.add_argument("--topic", metavar="NAME", help="default: input.topics, where that is one name")
    kafka.add_argument(
        "--partitions", type=int, metavar="N", help="create the topic with so many, if it is not there"
    )
    kafka.add_argument(
        "--speed",
        default="max",
        metavar="FACTOR",
        help="1: the time between the exposures as it was; 60: an hour in a minute; max (default): no waiting",
    )
    faults = parser.add_argument_group("faults")
    faults.add_argument("--shuffle", type=int, default=0, metavar="N", help="random order among N packets")
    faults.add_argument("--duplicate", type=float, default=0.0, metavar="P", help="chance that a packet comes twice")
    faults.add_argument("--delay", type=float, default=0.0, metavar="P", help="chance that a packet comes late")
    faults.add_argument("--reach", type=int, default=1000, metavar="N", help="packets by which it is late, at most")
    faults.add_argument("--seed", type=int, default=0, help="of the faults (default: 0)")
    parser.add_argument("--json", action="store_true", help="print what became of the packets as JSON")


def run(args: argparse.Namespace) -> int:
    """Replay to the end and print what became of the packets. ArchiveError when none was replayed."""
    if args.part < 1 or (args.partitions is not None and args.partitions < 1):
        raise SettingsError("--part and --partitions must be at least 1")
    speed = _speed(args.speed)
    asked, settings = stream_options(args, timed=speed is not None), settings_from(args)
    topic = _topic(args, settings)
    from broker_plugin.replay.progress import ReplayProgress

    say_passed_over(args.paths)
    with ReplayProgress() as progress:
        if args.target == "offline":
            summary = _offline(args, settings, asked, progress)
        else:
            summary = _into_kafka(args, settings, asked, progress, topic=topic, speed=speed)
    print_summary(summary, as_json=args.json)
    require_replayed(summary, args.paths)
    return 0


def _offline(
    args: argparse.Namespace, settings: Settings, asked: StreamOptions, progress: ReplayProgress
) -> dict[str, Any]:
    from broker_plugin.replay.offline import OfflineOptions
    from broker_plugin.replay.offline_job import replay_offline

    options = OfflineOptions(FORMATS[args.format], args.part)
    return replay_offline(args.paths, args.output, settings, stream_options=asked, options=options, progress=progress)


def _into_kafka(
    args: argparse.Namespace,
    settings: Settings,
    asked: StreamOptions,
    progress: ReplayProgress,
    *,
    topic: str,
    speed: float | None,
) -> dict[str, Any]:
    from broker_plugin.kafka.topics import require_brokers
    from broker_plugin.replay.kafka_job import create_input_topic, replay_into_kafka

    require_brokers(settings, "input")
    if args.partitions is not None:
        create_input_topic(settings, topic, args.partitions)
    return replay_into_kafka(
        args.paths, args.output, settings, topic=topic, stream_options=asked, speed=speed, progress=progress
    )


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise SettingsError(f"--speed {text!r}: expected max or a number above 0")
    return speed


def _topic(args: argparse.Namespace, settings: Settings) -> str:
    if args.topic:
        return str(args.topic)
    topics = settings.input.topics
    if args.target == "kafka" and (len(topics) != 1 or topics[0].startswith("^")):
        raise SettingsError(f"--topic is needed: input.topics is {', '.join(topics)}")
    return topics[0]
