"""Finished cells as the table reads them: probabilities on the shared test objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from model.calibration import FloatArray, softmax, temperatures
from schemas.errors import SettingsError
from train.compare.objects import Objects
from train.compare.plan import ComparisonPlan
from train.json_files import read_json
from train.members import Place
from train.scores import log_losses

_RIDGE: Final = 1e-3
_FEWEST: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """place: fold and member; about: its JSON; probabilities_NPC: calibrated on the fold's validation objects, NaN
    where an object has no such prefix; novelty_NP and novel_novelty_MP: None for rows without pooled features."""

    place: Place
    about: dict[str, Any]
    probabilities_NPC: FloatArray
    novelty_NP: FloatArray | None
    novel_novelty_MP: FloatArray | None


def read_cells(plan: ComparisonPlan, folder: Path, row: str, objects: Objects) -> dict[Place, Cell | None]:
    """The cells of a row, None for one that is missing. SettingsError for a cell that was made under another plan."""
    found: dict[Place, Cell | None] = {}
    for place in plan.rows[row].places:
        path = folder / "cells" / row / f"{place.name}.json"
        found[place] = _read(path, place, plan.digest(row), objects) if path.exists() else None
    return found


def _read(path: Path, place: Place, digest: str, objects: Objects) -> Cell:
    about = read_json(path)
    if about["digest"] != digest:
        raise SettingsError(f"{path} was made under another plan (digest {about['digest']}, now {digest}): remove it")
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if "frames" not in arrays:
        raise SettingsError(f"{path} does not say how many frames its row saw: it is of an older version, remove it")
    logits = arrays["logits"].astype(np.float64)
    seen = objects.frames_NP > 0
    if logits.shape[:2] != seen.shape:
        raise SettingsError(f"{path} has answers for {logits.shape[:2]}, the objects are {seen.shape}: remove it")
    # a prefix in which the row's bands have no frame: it knows nothing
    logits = np.where(seen[..., None] & np.isnan(logits), 0.0, logits)
    coefficients = balanced_temperature(
        arrays["validation_logits"], arrays["validation_labels"], arrays["validation_frames"]
    )
    temperature = temperatures(coefficients, np.maximum(arrays["frames"], 1))
    probabilities = softmax(logits / temperature[..., None])
    novelty, novel = (arrays.get(name) for name in ("novelty", "novel_novelty"))
    return Cell(
        place,
        about,
        probabilities,
        None if novelty is None else novelty.astype(np.float64),
        None if novel is None else novel.astype(np.float64),
    )


def balanced_temperature(
    logits_NC: NDArray[np.floating], labels_N: NDArray[np.integer], frames_N: NDArray[np.integer]
) -> tuple[float, ...]:
    """Coefficients of log T(n) that minimise the mean of the classes' mean log losses: test objects are evenly many
    a class, validation objects are not. (0,), no change, on fewer than 20 objects."""
    labels = labels_N.astype(np.int64)
    if len(labels) < _FEWEST:
        return (0.0,)
    logits = logits_NC.astype(np.float64)
    counts = np.bincount(labels)
    weights = 1.0 / counts[labels]
    weights /= weights.sum()

    def loss(coefficients: FloatArray) -> float:
        said = softmax(logits / temperatures(coefficients.tolist(), frames_N)[:, None])
        return float(weights @ log_losses(labels, said)) + _RIDGE * float(np.square(coefficients).sum())

    fitted = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7})
    return tuple(float(value) for value in fitted.x)
