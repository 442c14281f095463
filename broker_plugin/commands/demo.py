"""``demo``: the whole path on an embedded broker."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker_plugin.commands.common import positive_int

if TYPE_CHECKING:
    from broker_plugin.demo.packets import DrawnObject

HELP: Final = (
    "Start an embedded broker, feed it ZTF and LSST alerts (real ones where CONVENTION_SAMPLE_DATA or ../shared/data "
    "has them, and simulated ones), run the worker, and show the objects, the ledger and the picture of one sequence."
)
EXAMPLE: Final = "convention-broker demo --output demo-output"
SEED: Final = 4242
# of five objects, three are ZTF's
SURVEYS: Final = ("ztf", "lsst", "ztf", "lsst", "ztf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the broker is, where output goes, how many objects are simulated."""
    parser.add_argument("--broker", metavar="HOST:PORT", help="use this Kafka broker instead of an embedded one")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder (default: demo-output)")
    parser.add_argument("--objects", type=positive_int, default=24, help="simulated objects (default: 24)")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 1 when an alert is unaccounted for."""
    from broker_plugin.demo.demo import run_demo

    return run_demo(draw_objects(args.objects), broker=args.broker, output=args.output)


def draw_objects(count: int) -> list[DrawnObject]:
    """Simulated objects of the four classes, of the test split's templates, with the alerts that their surveys would
    send."""
    from broker_plugin.demo.packets import DrawnObject
    from train.simulator.objects import unseen
    from train.simulator.production import observe
    from train.simulator.survey_description import SURVEYS as DESCRIPTIONS

    drawn = []
    for index in range(count):
        survey = SURVEYS[index % len(SURVEYS)]
        item, alerts = observe(unseen(DESCRIPTIONS[survey], count, seed=SEED), index)
        drawn.append(DrawnObject(survey, item.object_id, item.source.true_class, tuple(alerts)))
    return drawn
