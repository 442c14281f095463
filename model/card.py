"""The card of a bundle: what it is, how it was made, how well it does, and what it may not be used for."""

from __future__ import annotations

import json
from typing import Final

from pydantic import JsonValue

from model.bundle_spec import BundleSpec

LONGEST: Final = 2000  # characters of a value that a card shows


def write_card(spec: BundleSpec, *, num_parameters: int) -> str:
    """CARD.md, Markdown, a function of the spec alone. num_parameters: of one member."""
    eligibility, thresholds = spec.eligibility, spec.thresholds
    prior = ", ".join(f"{name} {share:.3f}" for name, share in zip(spec.classes, spec.class_prior, strict=True))
    novelty = "no limit" if thresholds.max_novelty is None else f"above {thresholds.max_novelty:.3g} is novel"
    rows = [
        ("network", f"`{spec.network.name}`, {num_parameters:,} parameters a member"),
        ("members", str(spec.num_members)),
        ("stamps", f"grid `{spec.grid_id}`, planes {', '.join(spec.planes)}, bands {' '.join(spec.bands)}"),
        ("view", f"the newest {spec.view.max_frames} frames of {spec.view.max_days:g} days"),
        (
            "eligible from",
            f"{eligibility.min_frames} frames, {eligibility.min_nights} nights, {eligibility.min_bands} bands",
        ),
        ("class prior assumed", prior),
        ("abstains", f"below probability {thresholds.min_probability:.3g}; novelty {novelty}"),
        (
            "log temperature",
            f"{', '.join(f'{c:.4g}' for c in spec.calibration.log_temperature)} in powers of ln(1+n)",
        ),
    ]
    parts = [f"# {spec.name} {spec.version}\n"]
    if spec.notes:
        parts.append("".join(f"* {note}\n" for note in spec.notes))
    parts.append("| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows))
    for title, table in (("Training", spec.training), ("Figures", spec.metrics)):
        if table:
            parts.append(f"## {title}\n\n" + "".join(_item(name, value) for name, value in table.items()))
    return "\n".join(parts)


def _item(name: str, value: JsonValue, depth: int = 0) -> str:
    """A line, and the lines below it. A table of plain values is one line; what is empty is left out."""
    label = f"{'  ' * depth}* {name.replace('_', ' ')}"
    if value in ({}, [], ""):
        return ""
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        value = {str(number): entry for number, entry in enumerate(value, start=1)}
    if isinstance(value, dict) and any(isinstance(entry, dict | list) and _nests(entry) for entry in value.values()):
        return f"{label}\n" + "".join(_item(key, entry, depth + 1) for key, entry in value.items())
    if isinstance(value, dict):
        shown = (f"{key.replace('_', ' ')} {_text(entry)}" for key, entry in value.items() if entry not in ([], ""))
        return f"{label}: {', '.join(shown)}\n"
    return f"{label}: {_text(value)}\n"


def _nests(value: dict[str, JsonValue] | list[JsonValue]) -> bool:
    """Whether it is a table, or a list of tables."""
    return isinstance(value, dict) or any(isinstance(entry, dict) for entry in value)


def _text(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    return text if len(text) <= LONGEST else f"{len(text)} characters, see bundle.json"
