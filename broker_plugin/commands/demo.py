"""``demo``: the whole path on an embedded broker."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from broker_plugin.commands.common import positive_int

HELP: Final = (
    "Start an embedded broker, feed it ZTF and LSST alerts (real ones where CONVENTION_SAMPLE_DATA or ../shared/data "
    "has them, and simulated ones), run the worker, and show the objects, the ledger and the picture of one sequence."
)
EXAMPLE: Final = "convention-broker demo --output demo-output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the broker is, where output goes, how many objects are simulated."""
    parser.add_argument("--broker", metavar="HOST:PORT", help="use this Kafka broker instead of an embedded one")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder (default: demo-output)")
    parser.add_argument("--objects", type=positive_int, default=24, help="simulated objects (default: 24)")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 1 when an alert is unaccounted for."""
    from broker_plugin.demo import run_demo

    return run_demo(broker=args.broker, output=args.output, num_objects=args.objects)
