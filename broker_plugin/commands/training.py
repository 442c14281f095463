"""``train`` without an action: a recipe to a bundle."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from broker_plugin.commands.common import positive_int, require_folder
from broker_plugin.commands.retraining import (
    FROM_SETTINGS,
    SNAPSHOT,
    add_retraining_arguments,
    is_retraining,
    run_retraining,
)
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from rich.progress import Progress

    from train.label_table import LabelTable


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """What to train on what, and where to put it."""
    parser.add_argument("--recipe", metavar="NAME", help="a shipped recipe (debug, ...) or a TOML file")
    override = "override one value of the recipe; may be repeated"
    parser.add_argument("--with", dest="values", action="append", default=[], metavar="KEY=VALUE", help=override)
    data = "sets of sequences, folders of simulate, or snapshots; default: what the recipe simulates"
    parser.add_argument("--data", type=Path, action="append", default=[], metavar="DIR", help=data)
    parser.add_argument("--labels", type=Path, default=None, metavar="FILE", help="label table, CSV or Parquet")
    mapping = "class mapping, CSV name,class; default: the names of TNS and SIMBAD"
    parser.add_argument("--class-mapping", type=Path, default=None, metavar="FILE", help=mapping)
    # not required here: argparse would ask the sub-verbs' users for it too
    parser.add_argument("--output", type=Path, default=None, metavar="DIR", help="the run's folder")
    add_computing_arguments(parser)
    add_retraining_arguments(parser)


def add_computing_arguments(parser: argparse.ArgumentParser) -> None:
    """What it runs on: the device, its threads, and the processes that simulate."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--threads", type=positive_int, default=None, metavar="N", help="of torch; default: its own choice"
    )
    workers = "processes that simulate; default 2"
    parser.add_argument("--workers", type=positive_int, default=2, metavar="N", help=workers)


def run_training(args: argparse.Namespace) -> int:
    """Simulate or read, train, calibrate, export; with a champion, retrain."""
    if is_retraining(args):
        return run_retraining(args)
    if args.output is None or args.recipe is None:
        raise SettingsError("train needs --recipe and --output, or an ACTION; see train --help")
    require_folder(args.output, "--output")
    from broker_plugin.version import plugin_version
    from train.members import require_network
    from train.pipeline import Provenance, train_bundle
    from train.prepare import load_sets, sequence_folders, simulated_sets
    from train.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.values)
    require_network(recipe)
    set_threads(args)
    with progress_bar() as bar:
        folders = sequence_folders(args.data)
        if not folders:
            task = bar.add_task("simulating", total=recipe.simulation.num_objects + recipe.simulation.num_novel)
            by = f"convention-broker {plugin_version()}"
            folders = simulated_sets(
                recipe.simulation,
                args.output / "data",
                workers=args.workers,
                by=by,
                progress=lambda count: bar.advance(task, count),
            )
        data, said = load_sets(folders, read_label_table(args))
        provenance = Provenance({"sets": said}, command_line(args), plugin_version())
        trained = train_bundle(
            recipe,
            data,
            args.output,
            provenance,
            device=args.device,
            say=lambda text: print(text, file=sys.stderr),  # noqa: T201
            progress=Bars(bar).update,
        )
    print(trained.bundle_id)  # noqa: T201
    print(trained.bundle)  # noqa: T201
    return 0


def set_threads(args: argparse.Namespace) -> None:
    """``--threads``; SettingsError where ``--device`` is not there."""
    import torch

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: torch sees no CUDA device")


def read_label_table(args: argparse.Namespace) -> LabelTable | None:
    """The table of ``--labels`` under the mapping of ``--class-mapping``, None when there is none."""
    from train.label_table import read_labels

    return None if args.labels is None else read_labels(args.labels, args.class_mapping)


def command_line(args: argparse.Namespace) -> str:
    """That makes the same bundle again, as a shell takes it: with every option that decides what is in it. A log that
    was read is named by the snapshot that was made of it, since it goes on growing."""
    given = [("--recipe", args.recipe)]
    given += [("--with", override) for override in args.values]
    given += [("--data", path) for path in args.data]
    given += [("--labels", args.labels), ("--class-mapping", args.class_mapping)]
    if is_retraining(args):
        log = args.output / SNAPSHOT if args.from_log == FROM_SETTINGS else args.from_log
        given += [("--from-log", log), ("--champion", args.champion), ("--label-cutoff", args.label_cutoff)]
        given += [("--bundle-version", args.bundle_version)]
    given += [("--device", None if args.device == "cpu" else args.device), ("--threads", args.threads)]
    parts = [str(part) for option, value in given if value is not None for part in (option, value)]
    return shlex.join(["convention-broker", "train", *parts, "--output", "DIR"])


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """On standard error, silent where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        yield bar


class Bars:
    """One bar a stage of a member, with a running loss."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, tuple[int, float]] = {}

    def update(self, name: str, step: int, total: int | None, loss: float) -> None:
        """Step ``step`` of ``total`` (None unknown) of ``name`` is done."""
        if name not in self._tasks:
            self._tasks[name] = (self._bar.add_task(name, total=total), loss)
        task, running = self._tasks[name]
        running += 0.02 * (loss - running)
        self._tasks[name] = (task, running)
        self._bar.update(task, completed=step, description=f"{name} loss {running:.3f}")  # type: ignore[arg-type]
