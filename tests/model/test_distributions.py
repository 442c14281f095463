"""Distributions of scored sequences: every value is counted once, and the stability index behaves as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.distributions import (
    EDGES,
    NUM_BINS,
    Quantity,
    count,
    from_json,
    measure,
    stability_index,
    to_json,
)
from model.scores import Scores
from schemas.errors import BundleError
from tests.model.bundle_samples import make_sequence

COUNTS = st.lists(st.integers(0, 1000), min_size=4, max_size=4)


def score(*probabilities: float, novelty: float = 1.0) -> Scores:
    """A result with these probabilities."""
    return Scores(np.array(probabilities, np.float32), np.zeros(4, np.float32), 0.0, novelty, None)


@given(values=st.lists(st.floats(allow_nan=True, allow_infinity=True)), quantity=st.sampled_from(list(EDGES)))
def test_every_value_falls_into_one_bin(values: list[float], quantity: Quantity) -> None:
    """Numbers of any size, NaN and infinity are each counted exactly once, what is not finite in the last bin."""
    counts = count({quantity: np.array(values, np.float64)})[quantity]
    assert len(counts) == NUM_BINS[quantity]
    assert counts.sum() == len(values)
    assert counts[-1] == np.count_nonzero(~np.isfinite(np.array(values, np.float64)))


def test_edges_belong_below() -> None:
    """A value equal to an edge is counted as Prometheus counts it: in the bucket that the edge closes."""
    counts = count({Quantity.SNR: np.array([3.0, 3.0001, 100.0, 100.1])})[Quantity.SNR]
    assert counts[0] == counts[1] == counts[8] == counts[9] == 1


def test_quantities_are_of_the_newest_frame() -> None:
    """Band, signal to noise and mask are the last frame's; probability and class the ensemble's; no flux is NaN."""
    sequence = make_sequence(3, 5)
    no_flux = replace(sequence, diff_flux_err_njy_L=np.full(5, np.nan, np.float32))
    no_error = replace(sequence, diff_flux_err_njy_L=np.zeros(5, np.float32))
    found = measure([sequence, no_flux, no_error], [score(0.1, 0.7, 0.1, 0.1, novelty=2.5)] * 3)
    assert found[Quantity.PREDICTED].tolist() == [1, 1, 1]
    assert found[Quantity.PROBABILITY] == pytest.approx([0.7] * 3)
    assert found[Quantity.NOVELTY].tolist() == [2.5] * 3
    assert found[Quantity.BAND][0] == sequence.band_L[-1] - 1
    assert found[Quantity.SNR][0] == pytest.approx(1000 / 30)
    assert np.isnan(found[Quantity.SNR][1:]).all()
    assert found[Quantity.MASKED][0] == pytest.approx(1 - sequence.valid_LPHW[-1].mean())


@given(one=COUNTS, other=COUNTS)
def test_the_index_is_a_distance(one: list[int], other: list[int]) -> None:
    """0 or more, the same both ways, 0 against itself, and NaN when one side is empty."""
    if not sum(one) or not sum(other):
        assert np.isnan(stability_index(one, other))
        return
    index = stability_index(one, other)
    assert index >= -1e-12
    assert index == pytest.approx(stability_index(other, one))
    assert stability_index(one, one) == 0


def test_the_index_by_hand() -> None:
    """(0.2 - 0.5) ln(0.2 / 0.5) twice over, to the half count that is added."""
    by_hand = 0.3 * np.log(0.5 / 0.2) + 0.3 * np.log(0.8 / 0.5)
    assert stability_index([50_000, 50_000], [20_000, 80_000]) == pytest.approx(by_hand, rel=1e-3)
    assert stability_index([500, 500], [1000, 0]) > 1


def test_json_round_trip() -> None:
    """What is written is what is read."""
    counts = count(measure([make_sequence(1, 4)], [score(0.25, 0.25, 0.25, 0.25)]))
    read = from_json(to_json(counts), where="here")
    assert all(np.array_equal(read[quantity], counts[quantity]) for quantity in Quantity)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"band": [1, 2]}, "band has 2 bins, expected 6"),
        ({"band": [1, 2, 3, 4, 5, -6]}, "band is not a list of counts"),
        ({"band": "123456"}, "band is not a list of counts"),
        ({"colour": [1]}, "expected the quantities"),
    ],
)
def test_a_reference_of_another_kind_is_refused(change: dict[str, object], complaint: str) -> None:
    """Other bins, other quantities and what is no count are errors that name the place and the quantity."""
    counts = to_json(count(measure([make_sequence(1, 4)], [score(0.25, 0.25, 0.25, 0.25)])))
    with pytest.raises(BundleError, match=f"here: distributions check: {complaint}"):
        from_json(counts | change, where="here")
