"""``show``: one object, in the terminal and as PNG."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas.errors import BundleError, SettingsError

if TYPE_CHECKING:
    from broker_plugin.evaluation.object_view import ObjectView

HELP: Final = (
    "Show an object's sequence (bands as rows, nights as columns, missing = black, masked = dark red), its light "
    "curve, its class probabilities over time, and what the classifier's attention looked at; with --png also as a "
    "picture."
)
EXAMPLE: Final = "convention-broker show ZTF21abiuvdk --records replayed/ --png ZTF21abiuvdk.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Object, records, stamps, plane, picture."""
    parser.add_argument("object", metavar="OBJECT", help="object id, or survey:object id")
    parser.add_argument("--records", type=Path, required=True, metavar="DIR", help="folder written by replay")
    parser.add_argument("--stamps", type=Path, metavar="PATH", help="stamp files (default: in the records' folder)")
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        metavar="DIR",
        help="the bundle that made the records, for its attention; may be repeated (default: the shipped bundles)",
    )
    parser.add_argument("--no-attention", action="store_true", help="without the attention: no bundle is loaded")
    parser.add_argument("--plane", choices=("science", "difference"), default="science")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write a picture as well")


def run(args: argparse.Namespace) -> int:
    """Print the object; write the picture when asked."""
    from broker_plugin.evaluation.object_terminal import print_object
    from broker_plugin.evaluation.object_view import load_object, write_png

    view = load_object(args.object, args.records, args.stamps)
    if not args.no_attention:
        view = _looked_at(view, args)
    print_object(view, plane=args.plane)
    if args.png is not None:
        try:
            write_png(view, args.png, plane=args.plane)
        except ModuleNotFoundError as error:
            raise SettingsError(f"--png needs {error.name}: pip install 'convention-broker[plots]'") from error
        print(f"wrote {args.png}")  # noqa: T201
    return 0


def _looked_at(view: ObjectView, args: argparse.Namespace) -> ObjectView:
    """The view with the attention; as it is, with a word on standard error, where the bundle is not at hand."""
    from broker_plugin.evaluation.object_attention import with_attention
    from model.bundle_store import shipped_bundles

    try:
        return with_attention(view, args.records, args.stamps, args.bundle or shipped_bundles())
    except BundleError as error:
        if args.bundle:
            raise
        print(f"no attention: {error}", file=sys.stderr)  # noqa: T201
        return view
