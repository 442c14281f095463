"""``show``: one object, in the terminal and as PNG."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from schemas.errors import SettingsError

HELP: Final = (
    "Show an object's sequence (bands as rows, nights as columns, missing = black, masked = dark red), its light "
    "curve and its class probabilities over time; with --png also as a picture."
)
EXAMPLE: Final = "convention-broker show ZTF21abiuvdk --records replayed/ --png ZTF21abiuvdk.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Object, records, stamps, plane, picture."""
    parser.add_argument("object", metavar="OBJECT", help="object id, or survey:object id")
    parser.add_argument("--records", type=Path, required=True, metavar="DIR", help="folder written by replay")
    parser.add_argument("--stamps", type=Path, metavar="PATH", help="stamp files (default: in the records' folder)")
    parser.add_argument("--plane", choices=("science", "difference"), default="science")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write a picture as well")


def run(args: argparse.Namespace) -> int:
    """Print the object; write the picture when asked."""
    from broker_plugin.evaluation.object_terminal import print_object
    from broker_plugin.evaluation.object_view import load_object, write_png

    view = load_object(args.object, args.records, args.stamps)
    print_object(view, plane=args.plane)
    if args.png is not None:
        try:
            write_png(view, args.png, plane=args.plane)
        except ModuleNotFoundError as error:
            raise SettingsError(f"--png needs {error.name}: pip install 'convention-broker[plots]'") from error
        print(f"wrote {args.png}")  # noqa: T201
    return 0
