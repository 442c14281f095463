"""The debug recipe as a user runs it: the real network, simulated objects, a bundle that works."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from broker_plugin.cli import main
from model.runtime import load_scorer
from train.dataset import simulated
from train.measure import ALL_FRAMES
from train.recipe import load_recipe
from train.samples import Sampler
from train.scores import confusion, macro_f1
from train.simulator.check.nuisances import features, of_sequence
from train.simulator.sequence_set import SequenceSet


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_debug_recipe_makes_a_bundle_that_sees_more_than_nuisances(tmp_path: Path) -> None:
    """One command simulates at least 400 objects, trains the network in its default size, calibrates and exports a
    bundle whose macro F1 on held-out objects is at least 0.15 above what gradient boosting makes of the nuisances
    alone (mask, bands, gaps, noise, PSF width) on the same objects. Three minutes on two free cores; the time is
    printed."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    began = time.monotonic()
    assert main(["train", "--recipe", "debug", "--output", str(tmp_path / "run")]) == 0
    print(f"train --recipe debug: {time.monotonic() - began:.0f} s")
    scorer = load_scorer(tmp_path / "run" / "debug-sdss-1.0")
    recipe = load_recipe("debug")
    assert scorer.bundle.spec.network.name == "convention"
    assert scorer.bundle.spec.network.config == {"bands": ["u", "g", "r", "i", "z"]}
    assert recipe.simulation.num_objects >= 400
    data = simulated(SequenceSet(tmp_path / "run" / "data" / "sequences"))
    sampler = Sampler(data, recipe)
    test, train = data.test, data.fold(0)[0]
    truth = data.truth(test)
    scores = scorer.score([sampler.held_out(int(row), ALL_FRAMES) for row in test])
    said = np.array([score.probabilities_K.argmax() for score in scores])
    table = [
        np.stack([features(of_sequence(sampler.held_out(int(r), ALL_FRAMES))) for r in rows])
        for rows in (train, test)
    ]
    model = HistGradientBoostingClassifier(max_iter=80, max_leaf_nodes=15, class_weight="balanced", random_state=0)
    blind = model.fit(table[0], data.truth(train)).predict(table[1])
    score, blind_score = (float(macro_f1(confusion(truth, one))) for one in (said, blind))
    print(f"macro F1 {score:.3f}, of nuisances alone {blind_score:.3f}, {len(test)} held-out objects")
    assert score >= blind_score + 0.15
