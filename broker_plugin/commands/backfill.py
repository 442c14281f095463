"""``backfill``: an archive into the stamp log, stored only; or every stored object once more under a new bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from broker_plugin.commands.archive_arguments import (
    add_archive_arguments,
    print_summary,
    require_replayed,
    say_passed_over,
    stream_options,
)
from broker_plugin.commands.common import add_settings_arguments, settings_from
from schemas.errors import SettingsError

HELP: Final = (
    "Fill the stamp log from an archive before a worker starts: the observations are stored and trigger nothing. "
    "With --rescore: publish the current view of every stored object under the bundles of the settings (stop the "
    "worker first, it holds the stores). An interrupted backfill goes on when the same command is given again."
)
EXAMPLE: Final = "convention-broker backfill nights/ --config settings.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The archive, where the checkpoint is, ``--rescore``."""
    add_archive_arguments(parser, nargs="*")
    add_settings_arguments(parser)
    parser.add_argument(
        "--output", type=Path, default=Path("backfill"), metavar="DIR", help="its checkpoint (default: backfill)"
    )
    parser.add_argument("--rescore", action="store_true", help="publish what is stored instead")
    parser.add_argument("--json", action="store_true", help="print what became of the packets as JSON")


def run(args: argparse.Namespace) -> int:
    """Fill or rescore to the end, and print what was done. ArchiveError when nothing of the archive was sent."""
    if args.rescore == bool(args.paths):
        raise SettingsError("backfill takes either an archive or --rescore")
    asked, settings = stream_options(args), settings_from(args)
    from broker_plugin.replay.backfill_job import fill_stamp_log, rescore_stored
    from broker_plugin.replay.progress import ReplayProgress

    say_passed_over(args.paths)
    with ReplayProgress() as progress:
        if args.rescore:
            summary = rescore_stored(settings, progress=progress)
        else:
            summary = fill_stamp_log(args.paths, args.output, settings, stream_options=asked, progress=progress)
    print_summary(summary, as_json=args.json)
    if not args.rescore:
        require_replayed(summary, args.paths)
    return 0
