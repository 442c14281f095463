"""Splits: constant, by place on the sky, one object in one split; balancing stays inside the training fold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.sampling import batches, epoch_rows
from train.splits import FOLDS, NO_SPLIT, SPLITS, object_groups, sky_split, spanning, split_rows

ARCSEC = 1.0 / 3600.0


@given(ra=st.floats(0, 360), dec=st.floats(-89.9, 89.9), angle=st.floats(0, 2 * np.pi), separation=st.floats(0, 1.99))
def test_positions_within_two_arcseconds_are_never_in_two_splits(
    ra: float, dec: float, angle: float, separation: float
) -> None:
    """Two positions less than 2" apart have the same split, or at least one of them has none."""
    other_dec = dec + separation * ARCSEC * np.sin(angle)
    other_ra = ra + separation * ARCSEC * np.cos(angle) / np.cos(np.radians(other_dec))
    found = {sky_split(ra, dec), sky_split(other_ra % 360.0, other_dec)} - {NO_SPLIT}
    assert len(found) <= 1


def test_splits_are_constant_and_of_the_stated_shares() -> None:
    """A position's split is fixed for ever (table), and over the sky the shares are 20% test, 10% calibration, the
    rest even over five folds, with less than 1% of positions in none."""
    assert [sky_split(*place) for place in ((10.1, 0.6), (150.1, 2.2), (200.3, -30.7), (355.5, 60.1))] == [
        "fold3",
        "fold4",
        "fold2",
        "fold0",
    ]
    random = np.random.default_rng(1)
    ra, dec = random.uniform(0, 360, 6000), np.degrees(np.arcsin(random.uniform(-1, 1, 6000)))
    found = split_rows([""] * 6000, ra, dec)
    shares = {split: found.count(split) / 6000 for split in (*SPLITS, NO_SPLIT)}
    assert shares["test"] == pytest.approx(0.20, abs=0.02)
    assert shares["calibration"] == pytest.approx(0.10, abs=0.02)
    assert all(shares[fold] == pytest.approx(0.14, abs=0.02) for fold in FOLDS)
    assert shares[NO_SPLIT] < 0.01


def test_neighbours_are_one_object_and_leave_every_split_when_they_span_two() -> None:
    """Positions linked within 2" share a group, also across 0 h and near a pole; rows without a position stand alone;
    a group in two splits is marked."""
    ra = np.array([10.0, 10.0 + ARCSEC, 10.0 + 2.5 * ARCSEC, 0.0, 360.0 - ARCSEC, 50.0, 230.0, np.nan, np.nan])
    dec = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 89.9999, 89.9999, np.nan, np.nan])
    groups = object_groups(ra, dec)
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4]
    assert groups[5] == groups[6]
    assert len(set(groups.tolist())) == 5
    splits = ["fold0", "fold0", "test", "fold1", "fold1", "test", "test", "fold0", "test"]
    assert spanning(groups, splits).tolist() == [True] * 3 + [False] * 6


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_balancing_repeats_rows_of_the_training_fold_only(counts: list[int], seed: int) -> None:
    """Balanced epochs hold every row given, no other row, as many of each class, and repeat no row more than once
    more than another of its class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = 1000 + np.arange(len(labels))
    order = epoch_rows(rows, labels, balance=True, random=np.random.default_rng(seed))
    assert set(order.tolist()) == set(rows.tolist())
    used = np.bincount(order - 1000, minlength=len(rows))
    for label in range(len(counts)):
        assert used[labels == label].sum() == max(counts)
        assert np.ptp(used[labels == label]) <= 1


def test_unbalanced_epochs_show_every_row_once() -> None:
    """Without balancing an epoch is a permutation; batches are whole."""
    rows = np.arange(50, 61)
    order = epoch_rows(rows, np.zeros(11, np.int64), balance=False, random=np.random.default_rng(0))
    assert sorted(order.tolist()) == rows.tolist()
    assert [len(batch) for batch in batches(order, 4)] == [4, 4]
