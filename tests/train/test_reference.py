"""The toy population is a function of its seed, and the reference recipe writes a bundle that loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.runtime import load_scorer
from model.scores import CLASSES
from train.reference import MIN_FRAMES, Recipe, make_bundle, random_trigger
from train.reference_population import SURVEYS, draw_object


@pytest.mark.parametrize("name", SURVEYS)
def test_an_object_is_a_function_of_seed_and_index(name: str) -> None:
    """The same bytes whenever it is drawn, other bytes for another seed; bands and grid are the survey's."""
    survey = SURVEYS[name]
    first, again, other = (
        draw_object(survey, seed=seed, index=5, max_frames=20, min_frames=MIN_FRAMES) for seed in (1, 1, 2)
    )
    assert first.digests == again.digests
    assert first.digests[0] != other.digests[0]
    assert CLASSES[first.label] == "SNIa"
    assert {observation.band for observation in first.observations} <= set(survey.bands)
    assert {observation.grid_id for observation in first.observations} == {survey.grid_id}


def test_aperture_flux_of_the_difference_is_the_flux_drawn() -> None:
    """Summed over the stamp, bright difference stamps hold the flux that the packet states, to 20%."""
    entry = draw_object(SURVEYS["ztf"], seed=3, index=1, max_frames=36, min_frames=10)
    stated = np.array([observation.diff_flux_njy for observation in entry.observations])
    summed = np.array([observation.difference.pixels[6:26, 6:26].sum() for observation in entry.observations])
    sigma = np.array([observation.diff_flux_err_njy for observation in entry.observations])
    bright = stated > 60 * sigma
    assert bright.any()
    assert summed[bright] / stated[bright] == pytest.approx(np.ones(int(bright.sum())), abs=0.2)


def test_triggers_are_early_prefixes() -> None:
    """Every length from the minimum to all frames occurs, short ones most."""
    entry = draw_object(SURVEYS["sdss"], seed=3, index=0, max_frames=30, min_frames=30)
    random = np.random.default_rng(0)
    lengths = [len(random_trigger(entry, random)) for _ in range(600)]
    assert set(lengths) == set(range(MIN_FRAMES, 31))
    assert np.median(lengths) < 13


def test_a_small_recipe_gives_a_bundle_that_loads(tmp_path: Path) -> None:
    """Train, calibrate, measure, write, load, replay: with next to no training, all parts fit together."""
    config = {"stem_channels": [4, 4, 8], "fused_channels": 8, "token_channels": 8, "pooled_size": 8}
    recipe = Recipe(
        config=config, num_members=2, num_train=12, num_calibration=24, num_test=12, max_frames=6, steps=3, batch=4
    )
    identity = make_bundle("lsst", tmp_path / "b", recipe, say=lambda _: None)
    scorer = load_scorer(tmp_path / "b")
    assert scorer.bundle_id == identity
    assert scorer.bundle.spec.metrics["held_out_objects"] == 12
    assert "no scientific claim" in scorer.bundle.card
