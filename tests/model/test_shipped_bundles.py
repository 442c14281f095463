"""The bundles that come with the package load, are small, and say what they are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from broker_plugin.api import classify_sequences, sequences_of
from model.bundle_store import read_spec, shipped_bundles
from model.runtime import load_scorer
from schemas.observation import content_digest
from schemas.sequence import build_sequence
from tests.simulated import Simulated, simulated_objects
from train.recipe import load_recipe

SURVEYS = {"ztf-1.01-32": "ztf", "lsst-0.2-32": "lsst", "sdss-0.396-32": "sdss"}
SHIPPED = shipped_bundles()
MOST_BYTES = 20_000_000
NUM_OBJECTS = 32


@cache
def drawn(grid_id: str) -> list[Simulated]:
    """Objects of the bundle's survey."""
    return simulated_objects(SURVEYS[grid_id], NUM_OBJECTS)


def test_one_bundle_a_grid() -> None:
    """A worker with default settings has one for each grid, and they are 60 MB at most in all."""
    assert sorted(read_spec(path).grid_id for path in SHIPPED) == sorted(SURVEYS)
    assert sum(load_scorer(path).bundle.num_bytes for path in SHIPPED) <= 3 * MOST_BYTES


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_bundle_is_small_and_honest(path: Path) -> None:
    """At most 20 MB, from a shipped recipe as it stands, and the card says that it was trained on simulation."""
    bundle = load_scorer(path).bundle
    survey = SURVEYS[bundle.spec.grid_id]
    assert bundle.num_bytes <= MOST_BYTES
    assert bundle.spec.training["command"] == f"convention-broker train --recipe {survey} --output DIR"
    recipe = load_recipe(survey)
    assert bundle.spec.training["recipe"] == recipe.model_dump(mode="json", exclude={"bundle"})
    assert bundle.spec.num_members == recipe.ensemble.folds * recipe.ensemble.members
    assert "Trained on simulated objects alone" in bundle.card


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_bundle_loads_under_any_number_of_threads(threads: int) -> None:
    """The replay of the golden tensors allows for sums in another order."""
    before = torch.get_num_threads()
    try:
        for path in SHIPPED:
            load_scorer(path, threads=threads)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_fresh_objects_are_classified_better_than_chance(path: Path) -> None:
    """On objects of another seed than any it was trained, calibrated or measured on."""
    objects = drawn(read_spec(path).grid_id)
    said = [classify_sequences(sequences_of(one.packets, bundle=path), path)[0] for one in objects]
    asked = [
        (one.label, found.probabilities) for one, found in zip(objects, said, strict=True) if found.probabilities
    ]
    assert len(asked) > NUM_OBJECTS / 2
    assert np.mean([int(np.argmax(probabilities)) == label for label, probabilities in asked]) > 0.55


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_float16_planes_move_no_probability_by_a_thousandth(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planes as float16 multiples of the noise (the stamp log's form) against float32: below 1e-3 everywhere."""
    scorer = load_scorer(path)
    moved = []
    for index, one in enumerate(drawn(scorer.view_rule.grid_id)):
        (rounded,) = sequences_of(one.packets, bundle=path)
        raw = {observation.source_id: observation for observation in one.observations()}
        seen = [raw[source_id] for source_id in rounded.source_ids]
        digests = [content_digest(b"exact" + observation.to_bytes()) for observation in seen]
        exact = build_sequence(
            rounded.survey, rounded.object_id, rounded.grid_id, seen, digests, view_digest=str(index)
        )
        a, b = scorer.score([exact, rounded])
        moved.append(float(np.abs(a.probabilities_K - b.probabilities_K).max()))
    with capsys.disabled():
        print(f"\n{path.name}: float16 planes move a probability by at most {max(moved):.1e}")
    assert 0 < max(moved) < 1e-3
