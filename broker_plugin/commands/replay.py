"""``replay``: an archive of alerts through the worker's path into files, or into a Kafka topic."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from broker_plugin.commands.archive_arguments import add_archive_arguments, stream_options
from broker_plugin.commands.common import add_settings_arguments, settings_from
from schemas.errors import SettingsError

HELP: Final = (
    "Replay archived alerts: offline, through the worker's path without a broker into record files, or into a Kafka "
    "topic. An interrupted replay goes on when the same command is given again."
)
EXAMPLE: Final = "convention-broker replay ztf_public_20231017.tar.gz --output replayed"
FORMATS: Final = {"avro": ".avro", "parquet": ".parquet", "jsonl": ".jsonl"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The archive, the target and the faults."""
    add_archive_arguments(parser)
    add_settings_arguments(parser)
    offline = parser.add_argument_group("offline")
    offline.add_argument("--output", type=Path, default=Path("replayed"), metavar="DIR", help="default: replayed")
    offline.add_argument("--format", choices=sorted(FORMATS), default="avro", help="of the records (default: avro)")
    offline.add_argument("--part", type=int, default=5000, metavar="N", help="packets a part (default: 5000)")
    faults = parser.add_argument_group("faults")
    faults.add_argument("--shuffle", type=int, default=0, metavar="N", help="random order among N packets")
    faults.add_argument("--duplicate", type=float, default=0.0, metavar="P", help="chance that a packet comes twice")
    faults.add_argument("--delay", type=float, default=0.0, metavar="P", help="chance that a packet comes late")
    faults.add_argument("--reach", type=int, default=1000, metavar="N", help="packets by which it is late, at most")
    faults.add_argument("--seed", type=int, default=0, help="of the faults (default: 0)")
    parser.add_argument("--json", action="store_true", help="print what became of the packets as JSON")


def run(args: argparse.Namespace) -> int:
    """Replay to the end and print what became of the packets."""
    if args.part < 1:
        raise SettingsError("--part must be at least 1")
    asked, settings = stream_options(args), settings_from(args)
    from broker_plugin.replay.job import replay_offline
    from broker_plugin.replay.offline import OfflineOptions
    from broker_plugin.replay.progress import ReplayProgress

    with ReplayProgress() as progress:
        summary = replay_offline(
            args.paths,
            args.output,
            settings,
            stream_options=asked,
            options=OfflineOptions(FORMATS[args.format], args.part, settings.classify.batch_size),
            progress=progress,
        )
    _print(summary, as_json=args.json)
    return 0


def _print(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary))  # noqa: T201
        return
    print(f"{summary['num_packets']} packets -> {summary['folder']}, {summary['num_parts']} parts")  # noqa: T201
    if summary["num_left_out"]:
        print(f"{summary['num_left_out']} packets were not selected")  # noqa: T201
    for name, count in summary["counts"].items():
        print(f"  {name:<32}{count:>10}")  # noqa: T201
