"""``python -m train.simulator.check``: simulate Stripe 82, measure it back, print the table; audit sets of sequences.

Exit status 1 when a figure that is held is missed, or an audit of a matched set fails or has too few objects to say.
Where packets carry a difference image, its noise is held: a science image's border also shows how far the host
reaches. Natural sets are not held.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from train.module_command import run_module, whole_number
from train.simulator.check.expectations import Row, measure_set, rows_of
from train.simulator.check.nuisances import audit_set, is_natural, set_too_small
from train.simulator.objects import SetSettings
from train.simulator.sequence_set import SequenceSet
from train.simulator.survey_description import SDSS


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m train.simulator.check", description=__doc__)
    from_0 = partial(whole_number, least=0)
    parser.add_argument("--num-objects", type=from_0, default=1000, help="of Stripe 82 to measure; 0 to leave it out")
    parser.add_argument("--seed", type=from_0, default=11)
    parser.add_argument("--workers", type=whole_number, default=1)
    parser.add_argument("--audit", type=Path, nargs="*", default=[], metavar="FOLDER", help="sets of sequences")
    args = parser.parse_args()
    sets = {folder: SequenceSet(folder) for folder in args.audit}  # one that is not there is told at once
    console = Console()
    failed = False
    if args.num_objects:
        settings = SetSettings(SDSS, args.num_objects, args.seed)
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("measuring", total=args.num_objects)
            measured, sums = measure_set(
                settings, workers=args.workers, progress=lambda count: bar.advance(task, count)
            )
        rows = rows_of(measured, sums)
        console.print(_table(rows, f"{args.num_objects} objects of seed {args.seed}"))
        failed = any(row.held and not row.met for row in rows)
    for folder, sequences in sets.items():
        failed |= not _audit(folder, sequences, console)
    return int(failed)


def _audit(folder: Path, sequences: SequenceSet, console: Console) -> bool:
    natural = is_natural(sequences)
    planes = sequences.about["planes"]
    if fault := set_too_small(sequences):
        console.print(f"{folder}: too few objects to say: {fault}")
        return natural
    passed = False
    for plane in planes:
        result = audit_set(sequences, plane=plane)
        held = plane == planes[-1] and not natural
        passed = result.passed
        verdict = ("passed" if passed else "FAILED") if held else "not held"
        console.print(
            f"{folder}: mask, bands, gaps, PSF and noise of the {plane} plane give {result.balanced_accuracy:.3f} "
            f"balanced accuracy (95% {result.low:.3f} to {result.high:.3f}, {result.num_objects} objects; "
            f"chance 0.25): {verdict}"
        )
    return natural or passed


def _table(rows: list[Row], title: str) -> Table:
    table = Table(title=f"Measured back from rendered images: {title}")
    for heading in ("figure", "measured", "expected", "allowed", "verdict"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for row in rows:
        verdict = "not held" if not row.held else "met" if row.met else "MISSED"
        table.add_row(
            row.name, f"{row.measured:.3g}", f"{row.expected:.3g}", f"{row.low:.3g} to {row.high:.3g}", verdict
        )
    return table


if __name__ == "__main__":
    raise SystemExit(run_module(main))
