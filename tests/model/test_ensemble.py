"""Combination, calibration and novelty: formulas against plain ones, fits that recover what was planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.calibration import (
    fit_min_probability,
    fit_temperature,
    log_loss,
    log_reweight,
    member_probabilities,
    softmax,
    temperatures,
)
from model.ensemble import combine, entropy
from model.novelty import NoveltyModel, fit_max_novelty, fit_novelty
from model.scores import CLASSES
from schemas.errors import BundleError, SettingsError

logits = st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=1, max_size=15)


@given(logits, st.floats(0.3, 5))
def test_combination_is_a_distribution_with_bounded_information(rows: list[list[float]], temperature: float) -> None:
    """Probabilities sum to 1; mutual information lies between 0 and the entropy of the mean."""
    opinion = combine(np.array(rows, np.float32), temperature, np.zeros(4))
    assert opinion.probabilities_C.sum() == pytest.approx(1, abs=1e-12)
    assert -1e-12 <= opinion.mutual_information <= entropy(opinion.probabilities_C) + 1e-9
    assert np.all(opinion.spread_C <= 0.5 + 1e-9)


def test_members_that_agree_have_no_mutual_information_and_rivals_ln2() -> None:
    """One opinion K times: 0. Two sure members of different opinion: ln 2, spread one half."""
    same = combine(np.tile(np.array([[2.0, 0, -1, 0]], np.float32), (3, 1)), 1.0, np.zeros(4))
    assert same.mutual_information == pytest.approx(0, abs=1e-12)
    rivals = combine(np.array([[60, 0, 0, 0], [0, 60, 0, 0]], np.float32), 1.0, np.zeros(4))
    assert rivals.mutual_information == pytest.approx(np.log(2), abs=1e-6)
    assert rivals.spread_C[:2] == pytest.approx([0.5, 0.5])


def test_reweighting_is_bayes_rule() -> None:
    """For one member, the new prior multiplies the odds by the ratio of priors."""
    stated, wanted = (0.1, 0.2, 0.3, 0.4), dict(zip(CLASSES, (4.0, 3.0, 2.0, 1.0), strict=True))
    row = np.array([[0.3, -1.0, 0.7, 0.1]], np.float32)
    before = combine(row, 1.0, log_reweight(stated, None)).probabilities_C
    after = combine(row, 1.0, log_reweight(stated, wanted)).probabilities_C
    expected = before * np.array([4, 3, 2, 1]) / 10 / np.array(stated)
    assert after == pytest.approx(expected / expected.sum(), abs=1e-12)


@pytest.mark.parametrize(
    "prior", [{"AGN": 1.0}, dict.fromkeys(CLASSES, 0.0), dict.fromkeys((*CLASSES, "Kilonova"), 1.0)]
)
def test_a_prior_needs_every_class(prior: dict[str, float]) -> None:
    """A setting that misses a class or gives it nothing is the operator's error."""
    with pytest.raises(SettingsError, match="class prior"):
        log_reweight((0.25,) * 4, prior)


def test_temperature_fit_recovers_a_planted_one() -> None:
    """Logits made over-confident by T(n) are cooled back by about T(n), and the log loss falls."""
    random = np.random.default_rng(0)
    frames = random.integers(1, 100, 6000)
    honest = random.normal(0, 1.5, (6000, 4))
    labels = np.array([random.choice(4, p=row) for row in softmax(honest)])
    planted = temperatures((1.2, -0.2), frames)
    stated = (honest * planted[:, None])[None]
    fitted = fit_temperature(stated, labels, frames)
    at = np.array([2, 10, 90])
    assert temperatures(fitted, at) == pytest.approx(temperatures((1.2, -0.2), at), rel=0.15)
    cold = log_loss(member_probabilities(stated, np.ones(6000))[0], labels)
    assert log_loss(member_probabilities(stated, temperatures(fitted, frames))[0], labels) < cold


def test_threshold_is_the_smallest_that_reaches_the_accuracy() -> None:
    """Right above .8, wrong below: accuracy 1 needs .8, accuracy .5 needs no threshold."""
    probabilities = np.array([[p, 1 - p, 0, 0] for p in (0.95, 0.9, 0.8, 0.7, 0.6)])
    labels = np.array([0, 0, 0, 1, 1])
    assert fit_min_probability(probabilities, labels, accuracy=1.0) == pytest.approx(0.8)
    assert fit_min_probability(probabilities, labels, accuracy=0.5) == 0.0
    assert fit_min_probability(probabilities, np.full(5, 3), accuracy=0.5) == pytest.approx(0.95)


def test_novelty_tells_strangers_from_the_population() -> None:
    """About 1 on held-out members of the population; a shifted population is above the 99% threshold."""
    random = np.random.default_rng(1)
    mixing = random.normal(0, 1, (2, 24, 24)) * 0.3 + np.eye(24)
    centres = random.normal(0, 3, (4, 24))

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        labels = random.integers(0, 4, count)
        points = centres[labels] + random.normal(0, 1, (count, 24))
        return np.stack([points @ matrix for matrix in mixing]), labels

    pooled, labels = draw(3000)
    model = fit_novelty(pooled, labels, num_classes=4)
    held_out, _ = draw(1000)
    scores = [model.score(held_out[:, row].astype(np.float32)) for row in range(1000)]
    assert np.mean(scores) == pytest.approx(1.0, abs=0.25)
    threshold = fit_max_novelty(scores)
    assert np.mean(np.array(scores) > threshold) == pytest.approx(0.01, abs=0.002)
    strangers = [model.score((held_out[:, row] + 6.0).astype(np.float32)) for row in range(200)]
    assert np.mean(np.array(strangers) > threshold) > 0.95
    again = NoveltyModel.from_tensors(model.to_tensors())
    assert again.score(held_out[:, 0].astype(np.float32)) == scores[0]


def test_a_novelty_model_that_does_not_fit_together_is_refused() -> None:
    """Wrong shapes and missing tensors are the bundle's fault."""
    model = fit_novelty(np.random.default_rng(2).normal(size=(1, 40, 8)), np.arange(40) % 4, num_classes=4)
    tensors = model.to_tensors()
    with pytest.raises(BundleError, match="novelty check"):
        NoveltyModel.from_tensors({**tensors, "rest": tensors["rest"].repeat(2)})
    with pytest.raises(BundleError, match="novelty check"):
        NoveltyModel.from_tensors({name: tensors[name] for name in ("means", "rest")})
