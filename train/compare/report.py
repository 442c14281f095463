"""A comparison's table as Markdown, JSON and pictures."""

from __future__ import annotations

import json
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from train.compare.plan import ComparisonPlan
from train.compare.table import make_table

TABLE_FILES: Final = ("comparison.md", "comparison.json", "comparison.png", "early.png")
STROKES: Final = ((3.0, "o-"), (1.5, "o-"), (1.5, "o--"), (1.5, "o:"))
CURVES: Final = (("macro_f1", "macro F1"), ("log_loss_nat", "log loss, nat"), ("ece", "class-wise ECE"))


def write_report(plan: ComparisonPlan, folder: Path) -> dict[str, Any]:
    """Write TABLE_FILES into the folder; the table."""
    table = make_table(plan, folder)
    (folder / "comparison.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (folder / "comparison.md").write_text(markdown(table), encoding="utf-8")
    _draw_scores(table, folder / "comparison.png")
    _draw_early(plan, table, folder / "early.png")
    return table


def markdown(table: dict[str, Any]) -> str:
    """The table, the orderings against the reference row, and what is missing."""
    objects, against = table["objects"], table["against"]
    about = (
        f"{objects['test']} simulated test objects ({', '.join(map(str, objects['a_class']))} a class) that no row "
        "was trained on. Macro F1 at every object's last trigger (all frames) and at one random trigger, mean over "
        f"cells, with the 95% interval of {table['resamples']} resamples of test objects and cells; differences are "
        f"to `{against}` over the cells that both rows have. The fewer cells a row has, the less of the spread over "
        "members is in its interval, and none where a row has one.\n"
    )
    columns = (
        "row", "macro F1, all frames", "against", "macro F1, random trigger", "against", "accuracy", "log loss",
        "ECE", "F1 of the cells' mean", "cells", "parameters", "GMAC", "processor hours a cell",
        "published accuracy / F1, %",
    )  # fmt: skip
    parts = ["# Comparison\n", about, "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    parts += [_line(table, name) for name in table["rows"]]
    parts += ["", "Published figures are of the real SDSS set, which these objects are not.\n"]
    missing = {name: row["missing"] for name, row in table["rows"].items() if row["missing"]}
    if missing:
        parts.append("Missing cells:\n")
        parts += [f"* {name}: {', '.join(cells)}" for name, cells in missing.items()]
    parts += ["", "## By frames seen\n", *_by_frames(table)]
    parts += ["", "## Orderings, all frames\n", *_orderings(table), ""]
    return "\n".join(parts)


def _line(table: dict[str, Any], name: str) -> str:
    row = table["rows"][name]
    published = "{:.2f} / {:.2f}".format(*row["published"]) if row["published"] else ""
    cells = f"{row['cells_finished']} of {row['cells_planned']}"
    if not row["cells_finished"]:
        return f"| {row['title']} | missing | | missing | | | | | | {cells} | | | | {published} |"
    said = row["by_prefix"]["all"]
    gmac = "" if row["multiply_adds"] is None else f"{row['multiply_adds'] / 1e9:.2f}"
    parameters = "" if row["parameters"] is None else f"{row['parameters']:,}"
    values = [
        row["title"],
        _score(table["orderings_all"]["scores"][name]),
        _against(table, "all", name),
        _score(table["orderings_random"]["scores"][name]),
        _against(table, "random", name),
        f"{said['accuracy']:.3f}",
        f"{said['log_loss_nat']:.3f}",
        f"{said['ece']:.3f}",
        f"{said['mean_of_cells']['macro_f1']:.3f}",
        cells,
        parameters,
        gmac,
        f"{row['hours_a_cell']:.2f}",
        published,
    ]
    return "| " + " | ".join(values) + " |"


def _score(said: dict[str, Any]) -> str:
    low, high = said["interval"]
    return f"{said['macro_f1']:.3f} ({low:.3f} to {high:.3f})"


def _against(table: dict[str, Any], prefix: str, name: str) -> str:
    found = table[f"orderings_{prefix}"]["differences"].get(name, {}).get(table["against"])
    return "" if found is None else _difference(found)


def _difference(found: dict[str, Any]) -> str:
    if not found["cells"]:
        return "no cell in common"
    low, high = found["interval"]
    return f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f}) {found['verdict']}"


def _orderings(table: dict[str, Any]) -> list[str]:
    """Every row against the next one, from the best down."""
    said = table["orderings_all"]
    order = sorted(said["scores"], key=lambda name: -said["scores"][name]["macro_f1"])
    titles = {name: row["title"] for name, row in table["rows"].items()}
    return [
        f"* {titles[first]} minus {titles[second]}: {_difference(said['differences'][first][second])}"
        for first, second in pairwise(order)
    ]


def _by_frames(table: dict[str, Any]) -> list[str]:
    """Of the rows that are drawn: macro F1 at every number of frames, and the difference."""
    by_frames, against = table["orderings_by_frames"], table["against"]
    names = [name for name in table["rows"] if any(name in said["scores"] for said in by_frames.values())]
    lines = ["| macro F1 at | " + " | ".join(by_frames) + " frames |", "|---" * (len(by_frames) + 1) + "|"]
    for name in names:
        cells = []
        for said in by_frames.values():
            found = said["differences"].get(name, {}).get(against)
            score = f"{said['scores'][name]['macro_f1']:.3f}" if name in said["scores"] else ""
            cells.append(score if found is None else f"{score}, {_difference(found)}")
        lines.append(f"| {table['rows'][name]['title']} | " + " | ".join(cells) + " |")
    return lines


def _draw_scores(table: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scores = table["orderings_all"]["scores"]
    names = [name for name in table["rows"] if name in scores][::-1]
    figure = Figure(figsize=(8.0, 1.2 + 0.32 * max(len(names), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, name in enumerate(names):
        low, high = scores[name]["interval"]
        colour = "tab:red" if name == table["against"] else "tab:blue"
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(scores[name]["macro_f1"], place, "o", color=colour)
    axes.set_yticks(range(len(names)), [table["rows"][name]["title"] for name in names])
    reference = table["rows"][table["against"]]["title"]
    axes.set_xlabel(f"macro F1 at all frames, 95% interval\nred: {reference}; rows without a cell are left out")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)


def _draw_early(plan: ComparisonPlan, table: dict[str, Any], path: Path) -> None:
    """Macro F1, log loss, ECE and novelty against the number of frames seen, of the rows that a reader compares
    first: the mean over cells, and a band of their standard deviation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(CURVES) + 1)
    lengths = [str(length) for length in plan.lengths]
    shown = [table["rows"][name] for name in plan.curves if table["rows"][name]["cells_finished"]]
    for row, stroke in zip(shown, cycle(STROKES)):  # two rows may have one curve: both are seen
        for panel, (figure_name, _) in zip(panels, (*CURVES, ("novelty_auroc", "")), strict=True):
            _draw_curve(panel, row, lengths, figure_name, stroke)
    for panel, title in zip(panels, (*(text for _, text in CURVES), "novelty AUROC, networks"), strict=True):
        panel.set_title(title)
        panel.set_xscale("log")
        panel.set_xticks([int(length) for length in lengths], lengths)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    figure.supxlabel("frames seen; bands: one standard deviation over cells about their mean", fontsize="medium")
    if panels[0].lines:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=110)


def _draw_curve(panel: Any, row: dict[str, Any], lengths: list[str], name: str, stroke: tuple[float, str]) -> None:
    known = {
        int(length): row["by_prefix"][length] for length in lengths if row["by_prefix"][length].get(name) is not None
    }
    if not known:
        return
    width, style = stroke
    mean = np.array([said[name] for said in known.values()])
    spread = np.array([said[f"{name}_spread"] or 0.0 for said in known.values()])
    (line,) = panel.plot(list(known), mean, style, label=row["title"], markersize=4, linewidth=width)
    low, high = mean - spread, mean + spread
    panel.fill_between(list(known), low, high, color=line.get_color(), alpha=0.15, linewidth=0)
