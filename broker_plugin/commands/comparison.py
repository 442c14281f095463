"""``train compare``: the comparison of networks and controls, cell by cell, and its table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from broker_plugin.commands.common import require_folder
from broker_plugin.commands.training import Bars, add_computing_arguments, progress_bar, set_threads


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Which comparison, where, and for how long."""
    parser.add_argument("--plan", default="published", metavar="NAME", help="a shipped plan or a TOML file")
    keep = "where cells and tables are kept (small files)"
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=keep)
    work = "data and checkpoints, which need not be kept; default: the output's name with .work"
    parser.add_argument("--work", type=Path, default=None, metavar="DIR", help=work)
    parser.add_argument("--row", action="append", default=[], metavar="NAME", help="only this row; may be repeated")
    minutes = "stop after so many minutes, in the middle of a cell if need be; the next sitting goes on"
    parser.add_argument("--minutes", type=float, default=None, metavar="N", help=minutes)
    parser.add_argument("--table-only", action="store_true", help="make the table of the cells there are")
    add_computing_arguments(parser)


def run_comparison(args: argparse.Namespace) -> int:
    """Run the missing cells, then write the table of what is there."""
    from train.compare.plan import load_plan
    from train.compare.report import write_report
    from train.compare.run import cells_in_order

    plan = load_plan(args.plan)
    cells_in_order(plan, args.row)  # a row that is not there is refused before anything is simulated
    require_folder(args.output, "--output")
    args.work = args.work or args.output.with_name(args.output.name + ".work")
    require_folder(args.work, "--work")
    finished = True
    if not args.table_only:
        finished = _run_cells(args)
    table = write_report(plan, args.output)
    missing = sum(len(row["missing"]) for row in table["rows"].values())
    print((args.output / "comparison.md").read_text(encoding="utf-8"))  # noqa: T201
    if not finished:
        print("the sitting is over: run the same command again to go on", file=sys.stderr)  # noqa: T201
    print(f"{missing} cells are missing", file=sys.stderr)  # noqa: T201
    return 0


def _run_cells(args: argparse.Namespace) -> bool:
    from broker_plugin.version import plugin_version
    from train.compare.plan import load_plan
    from train.compare.run import prepare, run_cells

    deadline = None if args.minutes is None else time.monotonic() + 60.0 * args.minutes
    set_threads(args)
    plan = load_plan(args.plan)
    with progress_bar() as bar:
        task = bar.add_task("simulating", total=None)
        setup = prepare(
            plan,
            args.output,
            args.work,
            workers=args.workers,
            device=args.device,
            package=plugin_version(),
            progress=lambda count: bar.advance(task, count),
        )
        bar.remove_task(task)
        bars, cell = Bars(bar), [""]

        def say(text: str) -> None:
            cell[0] = text
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)  # noqa: T201

        return run_cells(
            setup,
            args.row,
            deadline=deadline,
            say=say,
            progress=lambda stage, step, loss: bars.update(f"{cell[0]} {stage}", step, None, loss),
        )
