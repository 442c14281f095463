"""``simulate``: a survey's image time series with their truth, as sequences for training and as alert packets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from broker_plugin.commands.common import require_empty_folder
from schemas.errors import SettingsError

HELP: Final = (
    "Simulate a survey: packets in its own wire format (packets.kcat, in time order) and sequences for training\n"
    "(sequences/), with a truth table (truth.csv). The same options give the same bytes, however many processes."
)
EXAMPLE: Final = (
    "convention-broker simulate --survey sdss --num-objects 2000 --output simulated/ --sequences --seed 7"
)
SURVEYS: Final = ("sdss", "ztf", "lsst")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to simulate and where to."""
    parser.add_argument("--survey", choices=SURVEYS, required=True)
    parser.add_argument("--num-objects", type=int, required=True, metavar="N", help="objects of the four classes")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a folder that is new or empty")
    seed = "default 0; object ids follow from it, so sets for one log or topic need a seed each"
    parser.add_argument("--seed", type=int, default=0, help=seed)
    form = "every frame (matched), or only detections of 5 sigma (natural, not for sdss); default matched"
    parser.add_argument("--form", choices=("matched", "natural"), default="matched", help=form)
    parser.add_argument("--sequences", action="store_true", help="write sequences (the default)")
    parser.add_argument(
        "--packets", action="store_true", help="write alert packets (then sequences only if asked for)"
    )
    mix = "class counts of the published sets, or equal ones; default published"
    parser.add_argument("--mix", choices=("published", "equal"), default="published", help=mix)
    population = "spectroscopic objects, photometric ones, or both (the default)"
    parser.add_argument("--population", choices=("both", "confirmed", "unconfirmed"), default="both", help=population)
    split = "put all objects into one split; default: by a hash of the object"
    parser.add_argument("--split", choices=("train", "calibration", "test"), default="", help=split)
    novel = "further objects of classes that are never trained; default 0"
    parser.add_argument("--num-novel", type=int, default=0, metavar="N", help=novel)
    noise = "share of the unconfirmed SN other that are nuclear Variables in truth; default 0.57"
    parser.add_argument("--label-noise", type=float, default=0.57, metavar="SHARE", help=noise)
    gallery = "write gallery.html too: plots and stamps of the sequences (needs matplotlib)"
    parser.add_argument("--gallery", action="store_true", help=gallery)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; default 1")


def run(args: argparse.Namespace) -> int:
    """Simulate, with a progress bar on standard error."""
    _refuse(args)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from broker_plugin.version import plugin_version
    from train.simulator.objects import SetSettings
    from train.simulator.production import Outputs, described, simulate
    from train.simulator.survey_description import SURVEYS as DESCRIPTIONS

    settings = SetSettings(
        survey=DESCRIPTIONS[args.survey],
        num_objects=args.num_objects,
        seed=args.seed,
        form=args.form,
        mix=args.mix,
        population=args.population,
        split=args.split,
        num_novel=args.num_novel,
        label_noise=args.label_noise,
    )
    outputs = Outputs(args.output, sequences=args.sequences or args.gallery or not args.packets, packets=args.packets)
    made = {"by": f"convention-broker {plugin_version()}", "settings": described(settings)}
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"simulating {args.survey}", total=args.num_objects + args.num_novel)
        num_packets = simulate(
            settings, outputs, workers=args.workers, made=made, progress=lambda count: bar.advance(task, count)
        )
    if args.gallery:
        from train.simulator.gallery import write_gallery

        write_gallery(args.output / "sequences", args.output / "gallery.html")
    print(f"{args.num_objects + args.num_novel} objects, {num_packets} frames in {args.output}")  # noqa: T201
    return 0


def _refuse(args: argparse.Namespace) -> None:
    if args.survey == "sdss" and args.form == "natural":
        raise SettingsError("--form natural is for ztf and lsst: SDSS Stripe 82 sent no alerts")
    if args.num_objects < 0 or args.num_novel < 0 or args.num_objects + args.num_novel < 1:
        raise SettingsError("--num-objects and --num-novel: at least one object is needed")
    if not 0.0 <= args.label_noise <= 1.0:
        raise SettingsError(f"--label-noise {args.label_noise}: a share is between 0 and 1")
    if args.seed < 0 or args.workers < 1:
        raise SettingsError("--seed is 0 or more, --workers 1 or more")
    require_empty_folder(args.output, "--output")
