"""The bundles that come with the package load, are small, and say what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.bundle_store import shipped_bundles
from model.runtime import load_scorer
from schemas.observation import content_digest
from schemas.sequence import StampSequence, build_sequence
from train.reference import MIN_FRAMES
from train.reference_population import SURVEYS, draw_object, draw_observations

GRIDS = {"ztf-1.01-32", "lsst-0.2-32", "sdss-0.396-32"}
SHIPPED = shipped_bundles()


def test_one_bundle_a_grid() -> None:
    """A worker with default settings has one for each grid."""
    assert sorted(load_scorer(path).view_rule.grid_id for path in SHIPPED) == sorted(GRIDS)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_bundle_is_small_and_honest(path: Path) -> None:
    """At most 3 MB, three members of ``convention``, and the card disclaims."""
    bundle = load_scorer(path).bundle
    assert bundle.num_bytes <= 3_000_000
    assert (bundle.spec.network.name, bundle.spec.num_members) == ("convention", 3)
    assert "no scientific claim" in bundle.card


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_fresh_objects_are_classified_better_than_chance(path: Path) -> None:
    """On objects of another seed than any it was trained, calibrated or measured on."""
    scorer = load_scorer(path)
    survey = next(survey for survey in SURVEYS.values() if survey.grid_id == scorer.view_rule.grid_id)
    objects = [draw_object(survey, seed=99, index=index, max_frames=24, min_frames=12) for index in range(60)]
    scores = scorer.score([entry.cut(0, len(entry.observations)) for entry in objects])
    right = [int(np.argmax(s.probabilities_K)) == entry.label for s, entry in zip(scores, objects, strict=True)]
    assert np.mean(right) > 0.5


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_float16_planes_move_no_probability_by_a_thousandth(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planes as float16 multiples of the noise (the stamp log's form) against float32: below 1e-3 everywhere."""
    scorer = load_scorer(path)
    survey = next(survey for survey in SURVEYS.values() if survey.grid_id == scorer.view_rule.grid_id)
    exact: list[StampSequence] = []
    for index in range(48):
        _, raw = draw_observations(survey, seed=98, index=index, max_frames=20, min_frames=MIN_FRAMES)
        digests = [content_digest(b"exact" + observation.to_bytes()) for observation in raw]
        first = raw[0]
        exact.append(
            build_sequence(first.survey, first.object_id, first.grid_id, raw, digests, view_digest=str(index))
        )
    stored = [draw_object(survey, seed=98, index=index, max_frames=20, min_frames=MIN_FRAMES) for index in range(48)]
    rounded = [entry.cut(0, len(entry.observations)) for entry in stored]
    pairs = zip(scorer.score(exact), scorer.score(rounded), strict=True)
    moved = [float(np.abs(a.probabilities_K - b.probabilities_K).max()) for a, b in pairs]
    with capsys.disabled():
        print(f"\n{path.name}: float16 planes move a probability by at most {max(moved):.1e}")
    assert 0 < max(moved) < 1e-3
