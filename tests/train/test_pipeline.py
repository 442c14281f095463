"""From a recipe to a bundle: all parts together, small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.runtime import load_scorer
from schemas.errors import SettingsError
from tests.train.toy_sets import toy_recipe, write_toy_set
from train.calibrate import fit_prior_share
from train.dataset import simulated
from train.measure import auroc
from train.pipeline import Provenance, train_bundle
from train.scores import classwise_ece, figures
from train.simulator.check import nuisances
from train.simulator.check.nuisances import NATURAL, audit_set, audits
from train.simulator.sequence_set import SequenceSet
from train.splits import CALIBRATION

PROVENANCE = Provenance({"sets": ["toy"]}, "train toy", "0.0")


def ignore(*_: object) -> None:
    pass


def test_a_run_gives_a_bundle_that_loads_and_says_what_it_is(toy_set: Path, tmp_path: Path) -> None:
    """Two folds of one member train, calibrate on the calibration part, score the test part and export; the bundle
    loads and replays, states prior, provenance and figures; a second call continues and refuses nothing but another
    recipe."""
    recipe = toy_recipe(ensemble={"folds": 2}, optimiser={"steps": 40, "learning_rate": 5e-3})
    data = simulated(SequenceSet(toy_set))
    trained = train_bundle(recipe, data, tmp_path / "run", PROVENANCE, say=ignore, progress=ignore)
    scorer = load_scorer(trained.bundle)
    assert scorer.bundle_id == trained.bundle_id
    spec = scorer.bundle.spec
    assert {sum(counts) for counts in spec.distributions.values()} == {sum(spec.distributions["band"])} != {0}
    assert (spec.num_members, spec.eligibility.min_frames, spec.view.max_frames) == (2, 3, 6)
    assert sum(spec.class_prior) == pytest.approx(1.0)
    assert spec.training["command"] == "train toy"
    assert spec.training["objects"] == data.counts()
    metrics = spec.metrics
    assert metrics["held_out_objects"] == len(data.test)
    assert metrics["all_frames"]["macro_f1"] > 0.5  # type: ignore[index, call-overload, operator]
    assert set(metrics["by_number_of_frames"]) <= {"3", "6"}  # type: ignore[arg-type]
    assert "## Training" in scorer.bundle.card
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["recipe"]["optimiser"]["steps"] == 40
    other = toy_recipe(ensemble={"folds": 2}, optimiser={"steps": 41})
    with pytest.raises(SettingsError, match="holds a run of another recipe"):
        train_bundle(other, data, tmp_path / "run", PROVENANCE, say=ignore, progress=ignore)


@pytest.mark.parametrize("form", ["natural", "matched"])
def test_the_card_of_a_bundle_trained_on_simulation_prints_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A simulated set's card has the audit's score with its interval; a natural set is called one, and not held; a
    matched one has passed or failed."""
    monkeypatch.setattr(nuisances, "LEAST_OBJECTS", 100)
    monkeypatch.setattr(nuisances, "LEAST_OF_A_CLASS", 25)
    made = {"by": "toy", "settings": {"survey": "toy", "form": form, "mix": "equal", "seed": 9}}
    sequences = write_toy_set(tmp_path / "set", made=made)
    trained = train_bundle(
        toy_recipe(), simulated(sequences), tmp_path / "run", PROVENANCE, say=ignore, progress=ignore
    )
    bundle = load_scorer(trained.bundle).bundle
    (said,) = bundle.spec.training["nuisance_audit"]  # type: ignore[misc, union-attr]
    result = audit_set(sequences, plane="difference")
    assert said["balanced_accuracy"] == pytest.approx(result.balanced_accuracy)  # type: ignore[index, call-overload]
    assert said["form"] == form  # type: ignore[index, call-overload]
    verdict = NATURAL if form == "natural" else "passed" if result.passed else "FAILED"
    assert said["verdict"] == verdict  # type: ignore[index, call-overload]
    assert "nuisance audit" in bundle.card
    assert f"balanced accuracy {result.balanced_accuracy:.4g}, low 95 {result.low:.4g}" in bundle.card
    assert verdict in bundle.card


def test_sets_that_cannot_be_audited_say_so_and_observed_ones_are_left_out(toy_set: Path, tmp_path: Path) -> None:
    """Too few objects to say: no score, and the reason; a set that no simulator made has no audit."""
    made = {"settings": {"survey": "toy", "form": "matched", "mix": "equal", "seed": 9}}
    small = write_toy_set(tmp_path / "set", num_objects=12, made=made)
    (said,) = audits([SequenceSet(toy_set), small])
    assert said["verdict"].startswith("too few objects to say: 12 (")
    assert "balanced_accuracy" not in said


def test_too_small_a_calibration_part_is_said_before_anything_is_trained(toy_set: Path, tmp_path: Path) -> None:
    """A class without a calibration object is an error that counts them, and no member has begun."""
    data = simulated(SequenceSet(toy_set))
    calibration = data.rows["split"] == CALIBRATION
    without = data.only(~calibration | (data.rows["label"] != 3))
    with pytest.raises(SettingsError, match=r"too few objects with enough frames \(.*Variable 0\)"):
        train_bundle(toy_recipe(), without, tmp_path / "run", PROVENANCE, say=ignore, progress=ignore)
    assert not (tmp_path / "run").exists()


def test_the_share_of_the_prior_is_found() -> None:
    """Logits of a balanced training on unbalanced data want all of the log prior; logits that have it want none."""
    random = np.random.default_rng(4)
    prior = np.array([0.7, 0.1, 0.1, 0.1])
    truth = random.choice(4, 3000, p=prior)
    evidence = random.normal(0, 1, (3000, 4)) + 1.5 * np.eye(4)[truth]
    log_likelihood = (1.5 * evidence)[None].astype(np.float32)
    shift = np.log(prior * 4)
    frames = np.full(3000, 10)
    assert fit_prior_share(log_likelihood, truth, frames, shift) > 0.8
    assert fit_prior_share((log_likelihood + shift).astype(np.float32), truth, frames, shift) < 0.2


def test_figures_agree_with_their_definitions() -> None:
    """Accuracy, macro F1, Brier and log loss of a small table by hand; a sure and right prediction has no calibration
    error; AUROC counts ties half."""
    truth = np.array([0, 0, 1, 3])
    said = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]])
    found = figures(truth, said)
    assert found["accuracy"] == 0.75
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1.0) / 3)
    assert found["log_loss_nat"] == pytest.approx(-(3 * np.log(0.7) + np.log(0.1)) / 4)
    assert found["brier"] == pytest.approx((3 * (0.09 + 0.03) + (0.81 + 0.49 + 0.02)) / 4)
    assert found["recall"]["SNOther"] is None
    assert classwise_ece(truth, np.eye(4)[truth]) == 0.0
    assert figures(truth[:0], said[:0]) == {"num_objects": 0}
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 0.875
