"""A set of made-up objects whose classes are plain to see, independent of the simulator: arithmetic alone, so that
what is trained on it stays comparable over versions."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.scores import CLASSES
from schemas.observation import Observation, Plane
from train.recipe import Recipe
from train.simulator.sequence_set import SequenceSet, SequenceWriter, pack
from train.splits import CALIBRATION, FOLDS, TEST

GRID = "toy-1-32"
MADE = {"by": "toy"}
SPLITS = (*FOLDS, *FOLDS, CALIBRATION, CALIBRATION, TEST, TEST)
TINY = {"stem_channels": [4, 4, 8], "fused_channels": 8, "token_channels": 8, "mix_channels": 8, "pooled_size": 8}


def toy_recipe(**sections: object) -> Recipe:
    """A tiny network, a few steps."""
    values = {
        "seed": 3,
        "network": {"bands": ["g", "r"], "config": TINY},
        "view": {"max_frames": 6},
        "optimiser": {"steps": 6, "batch": 8, "validate_every": 2, "warm_up_steps": 2},
        "ensemble": {"folds": 1, "members": 1},
        "bundle": {"name": "toy", "version": "0.1"},
    }
    for name, value in sections.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value  # type: ignore[dict-item]
    return Recipe.model_validate(values)


def write_toy_set(
    folder: Path,
    *,
    num_objects: int = 112,
    prefix: str = "toy",
    survey: str = "toy",
    grid_id: str = GRID,
    made: Mapping[str, Any] = MADE,
    moved: bool = False,
) -> SequenceSet:
    """Objects of the four classes in turn; splits in runs, so that every split has all classes; moved: in runs that
    begin elsewhere."""
    with SequenceWriter(folder, survey=survey, grid_id=grid_id, planes=("science", "difference")) as writer:
        for index in range(num_objects):
            name, label = CLASSES[index % 4], index % 4
            truth = {
                "object_id": f"{prefix}{index}",
                "true_class": name,
                "label": name,
                "confirmed": index // 4 % 3 == 0,
                "split": SPLITS[(index // 4 + 4 * moved) % len(SPLITS)],
                "kind": "toy",
                "ra": 10.0 + 0.01 * index,
                "dec": 5.0,
            }
            writer.add(truth, pack(toy_observations(f"{prefix}{index}", index, label), ("science", "difference")))
        writer.finish(made)
    return SequenceSet(folder)


def toy_observations(object_id: str, index: int, label: int) -> list[Observation]:
    """Brightness in both planes says the class."""
    random = np.random.default_rng([7, index])
    observations = []
    for frame in range(4 + index % 5):
        rows = np.arange(32) - 15.5
        spot = np.exp(-(rows[:, None] ** 2 + rows[None, :] ** 2) / 8.0)
        flux = (0.0, 20.0, 60.0, 160.0)[label] * (1.0 + 0.1 * frame)
        planes = [
            Plane((spot * flux * share + random.normal(0, 10, (32, 32))).astype(np.float32), valid_mask(), 10.0)
            for share in (1.0, (label % 2) * 1.0)
        ]
        observations.append(
            Observation(
                survey="toy",
                object_id=object_id,
                source_id=f"{object_id}-{frame}",
                mjd=59000.0 + 3.0 * frame,
                night=59000 + 3 * frame,
                band="gr"[frame % 2],
                ra=10.0,
                dec=5.0,
                diff_flux_njy=flux,
                diff_flux_err_njy=1.0,
                reliability=None,
                programid=None,
                grid_id=GRID,
                resampler="toy",
                rotation_deg=0.0,
                psf_fwhm_arcsec=1.5,
                science=planes[0],
                difference=planes[1],
            )
        )
    return observations


def valid_mask() -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Everything."""
    return np.ones((32, 32), np.bool_)


def write_labels_file(path: Path, rows: list[dict[str, str]]) -> Path:
    """A label table with all columns, in CSV."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ["object_id", "ra", "dec", "class", "confirmed", "label_date", "weight"])
        table.writeheader()
        table.writerows(rows)
    return path
