"""Slices and the early-classification curve on hand-made cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from broker_plugin.evaluation.early import early_report, early_table
from broker_plugin.evaluation.slices import band_slices, day_slices, frame_slices, magnitude_slices
from broker_plugin.evaluation.table import RecordTable, build_table
from broker_plugin.evaluation.truth import TruthTable
from schemas.classification import Status
from tests.evaluation.support import make_record

AGN, SNIA = (0.7, 0.1, 0.1, 0.1), (0.1, 0.7, 0.1, 0.1)


def hand_made() -> RecordTable:
    """Four SNIa and one AGN, records interleaved:

    a: right from 2 frames (day 1) on.             b: right at 2, wrong at 3, right at 4 (day 6) and to the end.
    c: never right.                                d: right at 2 and 3, wrong at the end.
    e (AGN): too short at 1, right at 2 (day 0.5) though abstained there.
    """
    truth = TruthTable(Path("t.csv"), {"a": "SNIa", "b": "SNIa", "c": "SNIa", "d": "SNIa", "e": "AGN"}, 0)
    said = {
        "a": [(AGN, 0.0), (SNIA, 1.0), (SNIA, 2.0)],
        "b": [(AGN, 0.0), (SNIA, 2.0), (AGN, 4.0), (SNIA, 6.0)],
        "c": [(AGN, 0.0), (AGN, 3.0)],
        "d": [(AGN, 0.0), (SNIA, 1.0), (SNIA, 2.0), (AGN, 9.0)],
        "e": [(None, 0.0), (AGN, 0.5)],
    }
    records = [
        make_record(
            name,
            said[name][epoch][0],
            num_frames=epoch + 1,
            last_mjd=60000.0 + said[name][epoch][1],
            status=Status.ABSTAINED if name == "e" and epoch == 1 else None,
            flux_njy=10.0 ** (epoch + 2),
            frames_per_band={"g": 1, "r": epoch},
        )
        for epoch in range(4)
        for name in said
        if epoch < len(said[name])
    ]
    return build_table(records, truth)


def test_first_right_and_staying_right_by_hand() -> None:
    """Frames and days at which each object is first right and from which it stays right; never is NaN."""
    early = early_table(hand_made())
    np.testing.assert_array_equal(early["right_frames"], [2, 2, np.nan, 2, 2])
    np.testing.assert_array_equal(early["stays_frames"], [2, 4, np.nan, np.nan, 2])
    np.testing.assert_allclose(early["right_days"], [1.0, 2.0, np.nan, 1.0, 0.5])
    np.testing.assert_allclose(early["stays_days"], [1.0, 6.0, np.nan, np.nan, 0.5])


def test_early_curve_by_hand() -> None:
    """Shares are of all objects, the never-right included; medians are None when fewer than half get there."""
    report = early_report(hand_made())
    assert report["frames"] == [1, 2, 3, 4]
    everyone, snia = report["groups"]["all"], report["groups"]["SNIa"]
    assert everyone["right_by_frames"] == [0.0, 0.8, 0.8, 0.8]
    assert everyone["stays_by_frames"] == [0.0, 0.4, 0.4, 0.6]
    assert snia["num_objects"] == 4
    assert snia["right_by_frames"] == [0.0, 0.75, 0.75, 0.75]
    assert snia["stays_by_frames"] == [0.0, 0.25, 0.25, 0.5]
    assert (snia["right_median_frames"], snia["stays_median_frames"]) == (2.0, 4.0)
    assert everyone["right_median_days"] == 1.0
    at_two_days = np.searchsorted(report["days"], 2.0)
    assert everyone["right_by_days"][at_two_days] == pytest.approx(0.8)
    assert report["groups"].keys() == {"all", "SNIa", "AGN"}


def test_slices_take_the_last_record_of_each_object() -> None:
    """Frame bins hold each object at its last record there; too short records are in no slice."""
    table = hand_made()
    mask = table.scored_R & table.known_R
    by_frames = {item.label: item for item in frame_slices(table, mask)}
    assert {label: len(item.places_N) for label, item in by_frames.items()} == {"1": 4, "2": 5, "3": 3, "4": 2}
    by_days = {item.label: item for item in day_slices(table, mask)}
    assert {label: len(item.places_N) for label, item in by_days.items()} == {
        "0–1": 5,
        "1–2": 2,
        "2–4": 4,
        "4–8": 1,
        "8–16": 1,
    }
    assert table.mjd_R[by_days["0–1"].places_N].tolist() == [60000.0, 60000.0, 60000.0, 60000.0, 60000.5]
    assert table.mjd_R[by_days["4–8"].places_N].tolist() == [60006.0]


def test_magnitudes_and_bands() -> None:
    """Magnitude is of the brightest flux so far (31.4 - 2.5 log10 nJy); band sets go by number of objects."""
    table = hand_made()
    mask = table.scored_R & table.known_R
    by_magnitude = {item.label: len(item.places_N) for item in magnitude_slices(table, mask)}
    assert by_magnitude == {"18–19": 2, "21–22": 3, "23–24": 5, "26–27": 4}
    assert [(item.label, len(item.places_N)) for item in band_slices(table, mask)] == [("gr", 5), ("g", 4)]


def test_brightness_never_falls() -> None:
    """A fainter frame after a brighter one leaves the magnitude; before any flux is known it is unknown."""
    fluxes = [None, 1e4, -1e6, 1e5]
    records = [
        make_record("a", SNIA, num_frames=n + 1, last_mjd=60000.0 + n, flux_njy=flux) for n, flux in enumerate(fluxes)
    ]
    table = build_table(records, None)
    np.testing.assert_allclose(table.magnitude_R, [np.nan, 21.4, 16.4, 16.4])
