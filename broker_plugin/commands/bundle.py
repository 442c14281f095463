"""``bundle``: list, inspect, verify and promote model bundles."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

HELP: Final = "List, inspect, verify or promote model bundles, or write what one says of its training data."
EXAMPLE: Final = "convention-broker bundle promote ./my-bundle-1.1.0 --store ./bundles"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-verb each."""
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = verbs.add_parser("list", help="the bundles of a store, or those shipped with the package")
    listing.add_argument("--store", type=Path, default=None, metavar="DIR", help="a directory of bundles")
    for name, text in (
        ("inspect", "what a bundle says of itself, its files checked"),
        ("verify", "check files and hashes, build the networks, replay the golden tensors"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("bundle", metavar="BUNDLE", help="a bundle, a store, or the name of a shipped bundle")
    promotion = verbs.add_parser("promote", help="verify a bundle and make it the one that workers of a store use")
    promotion.add_argument("bundle", metavar="BUNDLE", help="a bundle, or the name of one in the store or shipped")
    promotion.add_argument("--store", type=Path, required=True, metavar="DIR", help="the directory workers watch")
    reference = verbs.add_parser(
        "reference", help="what a bundle says of a set of sequences, for classify.drift_references"
    )
    reference.add_argument("bundle", metavar="BUNDLE", help="a bundle, a store, or the name of a shipped bundle")
    reference.add_argument("--sequences", type=Path, required=True, metavar="DIR", help="held-out ones, of its grid")
    reference.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder of references")
    reference.add_argument("--num-triggers", type=int, default=2000, metavar="N", help="drawn from all; default 2000")
    reference.add_argument("--seed", type=int, default=0)
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run the sub-verb."""
    actions = {"list": _list, "inspect": _inspect, "verify": _verify, "promote": _promote, "reference": _reference}
    return actions[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from model.bundle_store import SHIPPED, list_bundles, promoted_name, read_spec

    store = args.store or SHIPPED
    promoted = promoted_name(store)
    rows = []
    for folder in list_bundles(store):
        spec = read_spec(folder)
        rows.append(
            {
                "bundle": folder.name,
                "network": spec.network.name,
                "num_members": spec.num_members,
                "grid_id": spec.grid_id,
                "bands": "".join(spec.bands),
                "promoted": folder.name == promoted,
                "path": str(folder),
            }
        )
    if args.json:
        _print_json(rows)
        return 0
    for row in rows:
        mark = "*" if row["promoted"] else " "
        network = f"{row['num_members']} x {row['network']}"
        _say(f"{mark} {row['bundle']:<32} {network:<24} {row['grid_id']:<16} {row['bands']}")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from model.bundle import load_bundle
    from model.bundle_store import resolve_bundle

    bundle = load_bundle(resolve_bundle(args.bundle))
    if args.json:
        spec = bundle.spec.model_dump(mode="json")
        _print_json({"bundle_id": bundle.bundle_id, "num_bytes": bundle.num_bytes, "spec": spec})
        return 0
    _say(f"{bundle.bundle_id}  {bundle.num_bytes / 1e6:.2f} MB\n\n{bundle.card}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from model.runtime import load_scorer

    scorer = load_scorer(args.bundle)
    count = len(scorer.bundle.golden.sequences)
    if args.json:
        _print_json({"bundle_id": scorer.bundle_id, "verified": True, "num_golden": count})
        return 0
    _say(f"{scorer.bundle_id}: files, hashes, weights and {count} golden sequences are as they were written")
    return 0


def _promote(args: argparse.Namespace) -> int:
    from model.bundle_store import is_bundle, promote, resolve_bundle
    from model.runtime import load_scorer

    inside = args.store / args.bundle
    folder = inside if is_bundle(inside) else resolve_bundle(args.bundle)
    scorer = load_scorer(folder)
    place = promote(folder, args.store)
    if args.json:
        _print_json({"bundle_id": scorer.bundle_id, "promoted": str(place)})
        return 0
    _say(f"promoted {scorer.bundle_id} in {args.store}")
    return 0


def _reference(args: argparse.Namespace) -> int:
    from broker_plugin.commands.bundle_reference import write_reference

    path, counts = write_reference(
        args.bundle, args.sequences, args.output, num_triggers=args.num_triggers, seed=args.seed
    )
    if args.json:
        _print_json({"path": str(path), "distributions": counts})
        return 0
    _say(f"{path}: {sum(counts['band'])} triggers")
    return 0


def _print_json(value: Any) -> None:
    _say(json.dumps(value, indent=2))


def _say(text: str) -> None:
    print(text)  # noqa: T201
