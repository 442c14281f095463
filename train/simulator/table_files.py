"""Reads the package's tables: CSV files that begin with comment lines."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files


@cache
def read_table(name: str) -> tuple[dict[str, str], ...]:
    """Rows of ``tables/NAME`` as text cells by column."""
    text = files("train.simulator").joinpath("tables", name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(csv.DictReader(lines))
