"""Draws from tabulated percentiles with tabulated rank correlations (a Gaussian copula)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.table_files import read_table

Array = NDArray[np.float64]

PERCENTILES: Final = (5, 16, 50, 84, 95)
# Normal scores of the percentiles; tails go on straight to the outermost scores and end there.
SCORES: Final = np.array([-1.6449, -0.9945, 0.0, 0.9945, 1.6449])
OUTERMOST: Final = 2.0


def value_at(score: float, percentiles: tuple[float, ...]) -> float:
    """The value whose normal score is ``score``, linear between the five percentiles and beyond them."""
    score = min(max(score, -OUTERMOST), OUTERMOST)
    low = int(np.clip(np.searchsorted(SCORES, score) - 1, 0, len(SCORES) - 2))
    share = (score - SCORES[low]) / (SCORES[low + 1] - SCORES[low])
    return float(percentiles[low] + share * (percentiles[low + 1] - percentiles[low]))


@dataclass(frozen=True, slots=True, eq=False)
class Copula:
    """names of the quantities, their five percentiles, and the correlation of their normal scores."""

    names: tuple[str, ...]
    percentiles: Mapping[str, tuple[float, ...]]
    correlation: Array

    def scores(self, random: np.random.Generator, given: Mapping[str, float]) -> dict[str, float]:
        """Normal scores of all quantities; ``given`` holds those already known."""
        known = [self.names.index(name) for name in given]
        free = [index for index in range(len(self.names)) if index not in known]
        mean, cross = np.zeros(len(free)), self.correlation[np.ix_(free, free)]
        if known:
            solved = np.linalg.solve(self.correlation[np.ix_(known, known)], self.correlation[np.ix_(known, free)])
            mean = np.array(list(given.values())) @ solved
            cross = cross - self.correlation[np.ix_(free, known)] @ solved
        drawn = mean + np.linalg.cholesky(cross + 1e-9 * np.eye(len(free))) @ random.standard_normal(len(free))
        return dict(given) | {self.names[index]: float(score) for index, score in zip(free, drawn, strict=True)}

    def draw(
        self,
        random: np.random.Generator,
        *,
        given: Mapping[str, float] | None = None,
        instead: Mapping[str, tuple[float, ...]] | None = None,
    ) -> dict[str, float]:
        """One value of each quantity. given: normal scores already known; instead: percentiles that replace the
        table's."""
        percentiles = dict(self.percentiles) | dict(instead or {})
        scores = self.scores(random, given or {})
        return {name: value_at(score, percentiles[name]) for name, score in scores.items()}


@cache
def copula(class_name: str) -> Copula:
    """Of a class of tables/population.csv."""
    rows = [row for row in read_table("population.csv") if row["class"] == class_name and row["with_peak_r"]]
    names = tuple(row["quantity"] for row in rows)
    percentiles = {row["quantity"]: tuple(float(row[f"p{percent}"]) for percent in PERCENTILES) for row in rows}
    ranks = np.array([[float(row[f"with_{name}"]) for name in names] for row in rows])
    # of normal scores, from Spearman's; then the nearest positive definite one
    correlation = 2.0 * np.sin(np.pi * ranks / 6.0)
    values, vectors = np.linalg.eigh(correlation)
    correlation = (vectors * np.maximum(values, 0.02)) @ vectors.T
    scale = np.sqrt(np.diag(correlation))
    return Copula(names, percentiles, correlation / np.outer(scale, scale))


def tabulated(class_name: str, quantity: str) -> tuple[float, ...]:
    """The five percentiles of one row of tables/population.csv."""
    for row in read_table("population.csv"):
        if row["class"] == class_name and row["quantity"] == quantity:
            return tuple(float(row[f"p{percent}"]) for percent in PERCENTILES)
    raise KeyError(f"no {quantity} of {class_name} in the population table")
