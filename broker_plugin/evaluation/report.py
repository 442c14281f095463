"""The HTML report: one file, no network. ``page/`` holds its HTML, CSS and JavaScript, inlined here."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

SCRIPTS: Final = ("plots.js", "report.js", "gallery.js")


def render_report(
    evaluation: dict[str, Any], comparison: dict[str, Any] | None, gallery: list[dict[str, Any]]
) -> str:
    """The page as text. All arguments are JSON-ready; no NaN."""
    page = files("broker_plugin.evaluation") / "page"

    def text(name: str) -> str:
        return (page / name).read_text(encoding="utf-8")

    data = {"evaluation": evaluation, "comparison": comparison, "gallery": gallery}
    # "<" could end the script element from within a label
    encoded = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True).replace("<", "\\u003c")
    parts = {"style": text("report.css"), "script": "\n".join(text(name) for name in SCRIPTS), "data": encoded}
    html = text("report.html")
    head, _, rest = html.partition("/*STYLE*/")
    middle, _, rest = rest.partition("/*DATA*/")
    body, _, tail = rest.partition("/*SCRIPT*/")
    return head + parts["style"] + middle + parts["data"] + body + parts["script"] + tail


def write_outputs(
    folder: Path, evaluation: dict[str, Any], comparison: dict[str, Any] | None, gallery: list[dict[str, Any]]
) -> tuple[Path, Path]:
    """Write ``evaluation.json`` and ``report.html``; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data_path, page_path = folder / "evaluation.json", folder / "report.html"
    data = {**evaluation, "comparison": comparison}
    data_path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    page_path.write_text(render_report(evaluation, comparison, gallery), encoding="utf-8")
    return data_path, page_path
