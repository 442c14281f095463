"""``evaluate``: classifications against a truth table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from broker_plugin.evaluation.table import RecordTable

HELP: Final = (
    "Compare the records of a replay with a truth table: metrics against frames, days, magnitude and bands, how "
    "early the answer is right, novelty, latency. Writes evaluation.json and report.html."
)
EXAMPLE: Final = "convention-broker evaluate replayed/ --truth labels.csv --output evaluation/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Records, truth, challenger, output."""
    parser.add_argument("records", type=Path, metavar="RECORDS", help="record file, or a folder written by replay")
    parser.add_argument("--truth", type=Path, required=True, metavar="FILE", help="CSV or Parquet: object id, class")
    parser.add_argument(
        "--challenger", type=Path, metavar="RECORDS", help="records of another bundle to compare with"
    )
    parser.add_argument("--output", type=Path, default=Path("evaluation"), metavar="DIR", help="default: evaluation")
    parser.add_argument("--stamps", type=Path, metavar="PATH", help="stamp files (default: in RECORDS, if there)")
    parser.add_argument(
        "--map", action="append", default=[], metavar="LABEL=CLASS", help="rename a label of the truth"
    )
    parser.add_argument("--object-column", metavar="NAME", help="column of the object id (default: found by name)")
    parser.add_argument("--class-column", metavar="NAME", help="column of the class (default: found by name)")
    parser.add_argument(
        "--gallery", type=int, default=24, metavar="N", help="objects a ranking in the report's gallery"
    )
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="bootstrap resamples, 0 for none")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print the evaluation as JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Evaluate, write both files, print a summary."""
    if args.gallery < 0 or args.resamples < 0:
        raise SettingsError("--gallery and --resamples must not be negative")
    try:
        from broker_plugin.evaluation import summary
    except ModuleNotFoundError as error:
        raise SettingsError(f"evaluate needs {error.name}: pip install 'convention-broker[evaluation]'") from error
    from broker_plugin.evaluation.record_files import read_records
    from broker_plugin.evaluation.report import write_outputs
    from broker_plugin.evaluation.table import build_table
    from broker_plugin.evaluation.truth import parse_renames, read_truth

    truth = read_truth(
        args.truth,
        object_column=args.object_column,
        class_column=args.class_column,
        renames=parse_renames(args.map),
    )
    options = summary.Options(num_resamples=args.resamples, seed=args.seed)
    table = build_table(read_records(args.records), truth)
    evaluation = summary.evaluate(table, truth, options)
    comparison = None
    if args.challenger is not None:
        comparison = summary.compare(table, build_table(read_records(args.challenger), truth), options)
    paths = write_outputs(args.output, evaluation, comparison, _gallery(args, table))
    if args.json:
        print(json.dumps({**evaluation, "comparison": comparison}, allow_nan=False))  # noqa: T201
    else:
        _print_summary(evaluation, comparison, paths)
    return 0


def _gallery(args: argparse.Namespace, table: RecordTable) -> list[dict[str, Any]]:
    from broker_plugin.evaluation.gallery import build_gallery, choose_objects
    from broker_plugin.evaluation.stamp_archive import has_stamps, load_sequences

    chosen = choose_objects(table, args.gallery)
    stamps = args.stamps or (args.records if has_stamps(args.records) else None)
    if stamps is None:
        return build_gallery(table, chosen, lambda survey, object_id: None)
    return build_gallery(table, chosen, load_sequences(stamps, [(entry["survey"], entry["id"]) for entry in chosen]))


def _print_summary(evaluation: dict[str, Any], comparison: dict[str, Any] | None, paths: tuple[Path, Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    overall, counts = evaluation["overall"], evaluation["counts"]
    console.print(f"{overall['num_objects']} scored objects with a truth, last record of each")
    table = Table()
    for column in ("metric", "value", "95% by object", *(["challenger", "difference, 95%"] if comparison else [])):
        table.add_column(column)
    for name in ("accuracy", "macro_f1", "log_loss", "brier", "ece"):
        interval = overall.get("intervals", {}).get(name)
        row = [name, f"{overall[name]:.4f}", _interval(interval)]
        if comparison:
            entry = comparison["overall"]["metrics"][name]
            row += [f"{entry['challenger']:.4f}", f"{entry['difference']:+.4f} {_interval(entry['interval'])}"]
        table.add_row(*row)
    console.print(table)
    everyone = evaluation["early"]["groups"]["all"]
    console.print(
        f"{counts['num_records']} records of {counts['num_objects']} objects; half are right from "
        f"{_number(everyone['right_median_frames'])} frames, "
        f"stay right from {_number(everyone['stays_median_frames'])}"
    )
    for path in paths:
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)


def _interval(bounds: list[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"
