"""Arguments of the verbs that read an archive."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import ArchiveError, SettingsError

if TYPE_CHECKING:
    from broker_plugin.replay.stream import StreamOptions
    from schemas.archive.selection import Cone, Selection


def named_path(text: str) -> Path:
    """A path; argparse's error for an empty one, which would be the current folder: most likely an unset variable."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path: is a variable not set?")
    return Path(text)


def add_archive_arguments(parser: argparse.ArgumentParser, *, nargs: str = "+") -> None:
    """Paths, selection and order."""
    parser.add_argument(
        "paths", nargs=nargs, type=named_path, metavar="PATH", help="files, folders, tars, containers or Kafka dumps"
    )
    group = parser.add_argument_group("selection (all that are given must hold)")
    group.add_argument("--from", dest="first", metavar="DATE", help="first date: MJD (TAI) or ISO 8601 (UTC)")
    group.add_argument("--until", metavar="DATE", help="end date, not included")
    group.add_argument("--object", action="append", default=[], metavar="ID", help="object id; may be repeated")
    group.add_argument("--survey", action="append", default=[], metavar="NAME", help="survey; may be repeated")
    group.add_argument("--cone", metavar="RA,DEC,RADIUS", help="circle on the sky, degrees")
    parser.add_argument(
        "--order",
        choices=("archive", "time"),
        default="archive",
        help="archive: as the packets stand; time: by MJD, with an index on disk",
    )


def say_passed_over(paths: Sequence[Path]) -> None:
    """One line on standard error when files of folders are left out, since their names say that they are no packets.
    SettingsError when a path does not exist."""
    from schemas.archive.reader import passed_over

    files = passed_over(paths)
    if files:
        suffixes = ", ".join(sorted({file.suffix for file in files}))
        what = f"{len(files)} files that are no packets by their names ({suffixes}) are passed over"
        print(f"{what}; name a file itself to have it read", file=sys.stderr)  # noqa: T201


def stream_options(args: argparse.Namespace, *, timed: bool = False) -> StreamOptions:
    """The stream that the arguments ask for; SettingsError names the argument that is wrong."""
    from broker_plugin.replay.stream import StreamOptions
    from schemas.archive.faults import Faults

    try:
        faults = Faults(
            window=getattr(args, "shuffle", 0),
            duplicate=getattr(args, "duplicate", 0.0),
            delay=getattr(args, "delay", 0.0),
            reach=getattr(args, "reach", 1),
            seed=getattr(args, "seed", 0),
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return StreamOptions(selection_of(args), args.order, faults, timed)


def selection_of(args: argparse.Namespace) -> Selection:
    """What ``--from``, ``--until``, ``--object``, ``--survey`` and ``--cone`` ask for."""
    from schemas.archive.selection import Selection
    from schemas.surveys import SURVEYS

    known = {survey.name for survey in SURVEYS}
    if unknown := sorted(set(args.survey) - known):
        raise SettingsError(f"--survey {', '.join(unknown)}: expected one of {', '.join(sorted(known))}")
    return Selection(
        first_mjd=None if args.first is None else parse_date(args.first, "--from"),
        end_mjd=None if args.until is None else parse_date(args.until, "--until"),
        objects=frozenset(args.object),
        surveys=frozenset(args.survey),
        cone=None if args.cone is None else _cone(args.cone),
    )


def parse_date(text: str, name: str) -> float:
    """MJD (TAI) of an MJD in TAI or of an ISO 8601 date in UTC; SettingsError names the argument."""
    from schemas.timescales import read_mjd

    try:
        return read_mjd(text, tai=True)
    except ValueError as error:
        raise SettingsError(f"{name} {text!r}: expected an MJD or an ISO 8601 date: {error}") from error


def _cone(text: str) -> Cone:
    from schemas.archive.selection import Cone

    try:
        ra, dec, radius = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--cone {text!r}: expected RA,DEC,RADIUS in degrees") from None
    if not (0 <= ra <= 360 and -90 <= dec <= 90 and 0 < radius <= 180):
        raise SettingsError(f"--cone {text!r}: RA 0 to 360, DEC -90 to 90, RADIUS 0 to 180 degrees")
    return Cone(ra, dec, radius)


def require_replayed(summary: dict[str, Any], paths: Sequence[Path]) -> None:
    """ArchiveError when nothing of the archive was replayed: none of it selected, or none of it readable."""
    where, num_left_out = ", ".join(map(str, paths)), summary["num_left_out"]
    if not summary["num_packets"] and num_left_out:
        raise ArchiveError(f"the selection took none of the {num_left_out} packets of {where}")
    if not summary["readable"]:
        raise ArchiveError(f"no packet of {where} can be read: decode says why")


def print_summary(summary: dict[str, Any], *, as_json: bool) -> None:
    """What became of the packets or objects, for people or as JSON."""
    if as_json:
        print(json.dumps(summary))  # noqa: T201
        return
    done = f"{summary['num_packets']} packets" if "num_packets" in summary else f"{summary['num_objects']} objects"
    where = summary.get("topic") or f"{summary['folder']}, {summary['num_parts']} parts"
    print(f"{done} -> {where}")  # noqa: T201
    if summary.get("num_left_out"):
        print(f"{summary['num_left_out']} packets were not selected")  # noqa: T201
    for found in summary.get("damage", ()):
        print(f"damage: {found['path']}: {found['detail']}")  # noqa: T201
    for name, count in summary.get("counts", {}).items():
        print(f"  {name:<32}{count:>10}")  # noqa: T201
