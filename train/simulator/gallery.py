"""``python -m train.simulator.gallery FOLDER``: one page of plots and stamps of a simulated set, gallery.html."""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from schemas.classification import CLASS_NAMES
from train.module_command import run_module
from train.simulator import plots
from train.simulator.sequence_set import SequenceSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES: Final = 4
STAMP_EXAMPLES: Final = 3
SAMPLED: Final = 400
DPI: Final = 110
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1120px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #ddd }
img { max-width: 100% } code { background: #f3f3f3; padding: 0 .2em } p.note { color: #555 }
"""


def write_gallery(folder: Path, target: Path, *, seed: int = 0) -> None:
    """The page of the set of sequences in ``folder``; which objects are shown follows from ``seed``."""
    sequences = SequenceSet(folder)
    random = np.random.default_rng(seed)
    names = np.array(sequences.text("true_class"))
    seen = np.flatnonzero(sequences.objects["num_frames"] > 0)
    rows = []
    for name in plots.classes_in(sequences):
        mine = seen[names[seen] == name]
        rows.append((name, sorted(random.permutation(mine)[:EXAMPLES].tolist())))
    sampled = random.permutation(seen)[:SAMPLED].tolist()
    target.write_text(_page(sequences, rows, sampled), encoding="utf-8")


def _page(sequences: SequenceSet, rows: Sequence[tuple[str, list[int]]], sampled: Sequence[int]) -> str:
    about = sequences.about
    settings = about["made"].get("settings", {})
    shown = ", ".join(f"{key}={value}" for key, value in settings.items() if value not in ("", 0))
    trained = [row for row in rows if row[0] in CLASS_NAMES]
    others = [row for row in rows if row[0] not in CLASS_NAMES]
    parts = [
        f"<h1>Simulated {html.escape(str(settings.get('survey', about['survey'])))}: {len(sequences)} objects, "
        f"{about['num_frames']} frames</h1>",
        f"<p class=note><code>{html.escape(shown or json.dumps(about['made']))}</code>",
        _section("What was drawn", plots.population(sequences)),
        _section("Conditions", plots.conditions(sequences, sampled)),
        _section("Light curves: difference flux in &micro;Jy against days", plots.light_curves(sequences, trained)),
    ]
    if others:
        parts.append(_section("Classes that are never trained", plots.light_curves(sequences, others)))
    for plane in about["planes"]:
        lines = [(name, index) for name, chosen in rows for index in chosen[:STAMP_EXAMPLES]]
        title = f"Stamps in r, {plane} plane (arcsinh; one object a row, days since its first frame)"
        parts.append(_section(title, plots.stamps(sequences, lines, "r", plane)))
    style = f"<!doctype html><meta charset=utf-8><title>Simulated set</title><style>{_STYLE}</style>"
    return style + "\n".join(parts) + "\n"


def _section(title: str, drawn: Figure) -> str:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=DPI)
    image = base64.b64encode(buffer.getvalue()).decode()
    return f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{image}">'


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m train.simulator.gallery", description=__doc__)
    parser.add_argument("folder", type=Path, help="a simulated set, or its folder of sequences")
    parser.add_argument("--output", type=Path, default=None, help="default: gallery.html in the folder")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = args.folder / "sequences" if (args.folder / "sequences").is_dir() else args.folder
    write_gallery(folder, args.output or args.folder / "gallery.html", seed=args.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_module(main))
