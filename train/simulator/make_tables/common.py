"""What every table script shares: where tables lie and how they are written."""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

TABLES: Final = Path(__file__).parents[1] / "tables"


def source_folder(description: str | None) -> Path:
    """The folder of source files, from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="folder with population, templates, lightcurves and throughputs")
    folder: Path = parser.parse_args().folder
    return folder


def write_table(name: str, comments: Sequence[str], header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A CSV file that begins with comment lines (what it is, from where, made how)."""
    lines = [f"# {comment}" for comment in comments] + [",".join(header)] + [",".join(row) for row in rows]
    (TABLES / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_columns(path: Path) -> NDArray[np.float64]:
    """The first two numbers of each line of a gzipped text file, comments and headings left out. [N, 2]."""
    rows: list[list[float]] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            try:
                rows.append([float(word) for word in words[:2]])
            except ValueError:
                continue
    return np.array([row for row in rows if len(row) == 2])


def bin_means(x_N: NDArray[np.float64], y_N: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the piecewise linear curve (0 outside) between neighbouring edges."""
    fine = np.arange(edges[0], edges[-1], 1.0) + 0.5
    values = np.interp(fine, x_N, y_N, left=0.0, right=0.0)
    which = np.searchsorted(edges, fine) - 1
    means: NDArray[np.float64] = np.bincount(which, values) / np.bincount(which)
    return means
