"""``train --from-log --labels FILE --champion BUNDLE``: a challenger from new labels, the gate, promotion."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker_plugin.commands.common import (
    add_settings_arguments,
    number_within,
    positive_int,
    require_folder,
    settings_from,
)
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from train.fact_set import Snapshot
    from train.gate import Gate

FROM_SETTINGS: Final = "the stamp log of the settings"
RECIPE: Final = "retrain"
SNAPSHOT: Final = "snapshot"


def add_retraining_arguments(parser: argparse.ArgumentParser) -> None:
    """What is new, against whom, and how strict the gate is."""
    group = parser.add_argument_group("retraining (with --labels and --champion)")
    log = "a snapshot of the stamp log; without DIR one is made now (--config names the brokers)"
    group.add_argument("--from-log", nargs="?", const=FROM_SETTINGS, default=None, metavar="DIR", help=log)
    champion = "the bundle in use, or a store with a promoted one"
    group.add_argument("--champion", default=None, metavar="BUNDLE", help=champion)
    store = "promote into this store if the gate lets the challenger through; default: a --champion that is a store"
    group.add_argument("--store", type=Path, default=None, metavar="DIR", help=store)
    group.add_argument("--no-promotion", action="store_true", help="compare, and leave the store as it is")
    cutoff = "labels later than this (MJD or ISO 8601) are kept out of training and compared on"
    group.add_argument("--label-cutoff", default=None, metavar="DATE", help=cutoff)
    version = "of the challenger; default: the champion's, with the digest of what is new"
    group.add_argument("--bundle-version", default=None, metavar="TEXT", help=version)
    gain = "what the lower end of the 95%% interval of the macro F1 difference must exceed; default 0"
    group.add_argument("--min-gain", type=number_within(-1.0, 1.0), default=0.0, metavar="X", help=gain)
    margin = "how much the recall of any class may fall; default 0.05"
    group.add_argument("--recall-margin", type=number_within(0.0, 1.0), default=0.05, metavar="X", help=margin)
    group.add_argument("--min-objects", type=positive_int, default=50, metavar="N", help="to compare on; default 50")
    least = "of each class to compare on; default 5"
    group.add_argument("--min-class-objects", type=positive_int, default=5, metavar="N", help=least)
    add_settings_arguments(parser)


def is_retraining(args: argparse.Namespace) -> bool:
    """Whether a log or a champion was named."""
    return args.from_log is not None or args.champion is not None


def run_retraining(args: argparse.Namespace) -> int:
    """Snapshot, fine-tune, compare, promote; prints the report and, last, one line of JSON."""
    missing = [
        name
        for name, value in (
            ("--from-log", args.from_log),
            ("--labels", args.labels),
            ("--champion", args.champion),
            ("--output", args.output),
        )
        if value is None
    ]
    if missing:
        raise SettingsError(f"retraining needs {', '.join(missing)} too")
    require_folder(args.output, "--output")
    from broker_plugin.commands.training import Bars, command_line, progress_bar, read_label_table, set_threads
    from broker_plugin.version import plugin_version
    from model.bundle import load_bundle
    from model.bundle_store import resolve_bundle
    from train.pipeline import Provenance
    from train.prepare import load_sets, sequence_folders
    from train.recipe import load_recipe
    from train.retrain import retrain
    from train.trained_objects import record_of

    set_threads(args)
    cutoff_mjd = None if args.label_cutoff is None else _date(args.label_cutoff)
    champion = load_bundle(resolve_bundle(args.champion))
    spec = champion.spec
    record_of(champion.bundle_id, spec.training)  # one that cannot be a champion is refused before the log is read
    snapshot = _snapshot(args)
    folders = [*snapshot.sets, *sequence_folders(args.data)]
    data, said = load_sets(folders, read_label_table(args), grid_id=spec.grid_id)
    version = args.bundle_version or _version(spec.version, said)
    with progress_bar() as bar:
        found = retrain(
            champion,
            load_recipe(args.recipe or RECIPE, args.values),
            data,
            args.output,
            Provenance({"sets": said}, command_line(args), plugin_version()),
            gate=_gate(args),
            version=version,
            cutoff_mjd=cutoff_mjd,
            store=None if args.no_promotion else _store(args),
            device=args.device,
            say=lambda text: print(text, file=sys.stderr),  # noqa: T201
            progress=Bars(bar).update,
        )
    print((args.output / "retraining.md").read_text(encoding="utf-8"))  # noqa: T201
    report = found.report
    line = {name: report[name] for name in ("champion_id", "challenger_id", "passed", "reasons", "promoted")}
    print(json.dumps(line))  # noqa: T201
    return 0


def _snapshot(args: argparse.Namespace) -> Snapshot:
    from broker_plugin.commands.train import export_log
    from train.fact_set import INDEX_FILE, open_snapshot

    if args.from_log != FROM_SETTINGS:
        return open_snapshot(Path(args.from_log))
    folder = args.output / SNAPSHOT
    if (folder / INDEX_FILE).is_file():  # this run was cut off after its export
        return open_snapshot(folder)
    return export_log(settings_from(args), folder)


def _gate(args: argparse.Namespace) -> Gate:
    from train.gate import Gate

    return Gate(
        min_gain=args.min_gain,
        recall_margin=args.recall_margin,
        min_objects=args.min_objects,
        min_class_objects=args.min_class_objects,
    )


def _store(args: argparse.Namespace) -> Path | None:
    from model.bundle_store import POINTER_FILE

    if args.store is not None:
        return Path(args.store)
    folder = Path(args.champion)
    return folder if (folder / POINTER_FILE).is_file() else None


def _version(champion: str, said: list[dict[str, Any]]) -> str:
    """A function of the champion's version and of what is trained on."""
    from hashlib import sha256

    base = champion.partition("-r")[0]
    return f"{base}-r{sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]}"


def _date(text: str) -> float:
    """MJD (UTC), as those of labels are."""
    from schemas.timescales import read_mjd

    try:
        return read_mjd(text)
    except ValueError as error:
        raise SettingsError(f"--label-cutoff {text!r}: {error}") from error
