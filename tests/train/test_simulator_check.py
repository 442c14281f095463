"""What the simulation is held to, measured back from rendered images; nuisances say nothing of the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.simulator.check.expectations import measure_set, rows_of
from train.simulator.check.nuisances import Nuisances, audit, features, of_sequence
from train.simulator.objects import SetSettings, draw_object
from train.simulator.production import Outputs, simulate
from train.simulator.sequence_set import SequenceSet
from train.simulator.survey_description import SDSS, SURVEYS

NUM_AUDITED = 2000


def missed(num_objects: int, seed: int) -> list[str]:
    rows = rows_of(*measure_set(SetSettings(SDSS, num_objects, seed), workers=1, progress=lambda count: None))
    return [
        f"{row.name}: {row.measured:.3g}, expected {row.expected:.3g}" for row in rows if row.held and not row.met
    ]


def test_a_small_set_is_faithful() -> None:
    """Pixel means and deviations within 35%, depths within 0.2 mag, and per class peak, separation, epochs and
    contrast agree with the survey's table, measured on 240 rendered objects."""
    assert missed(240, 11) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_large_set_is_faithful() -> None:
    """The same on 1,000 objects of another seed."""
    assert missed(1000, 12) == []


def nuisance_features(survey: str) -> tuple[np.ndarray, list[str]]:
    settings = SetSettings(SURVEYS[survey], NUM_AUDITED, 5, mix="equal", label_noise=0.0)
    values, names = [], []
    for index in range(NUM_AUDITED):
        item = draw_object(settings, index)
        schedule = item.schedule
        share = 1.0 - np.abs(schedule.edge).sum(axis=1) / 32.0
        bands = np.array([1 + "ugrizy".index(survey_band) for survey_band in settings.survey.bands])[schedule.band]
        values.append(features(Nuisances(schedule.mjd, bands, schedule.noise, schedule.fwhm, share)))
        names.append(item.source.true_class)
    return np.stack(values), names


@pytest.mark.parametrize("survey", ["sdss"])
def test_nuisances_say_nothing_of_the_class_and_a_leak_is_found(survey: str) -> None:
    """On 2,000 matched objects the audit's 95% interval holds chance; with the number of frames made to depend on the
    class it exceeds 0.4."""
    values, names = nuisance_features(survey)
    honest = audit(values, names)
    assert honest.num_objects == NUM_AUDITED
    assert honest.passed, honest
    leaking = values.copy()
    share = {"AGN": 1.0, "SNIa": 0.8, "SNOther": 0.65, "Variable": 0.5}
    leaking[:, 0] *= np.array([share[name] for name in names])
    assert audit(leaking, names).low > 0.4


def test_audit_takes_the_difference_planes_noise_where_there_is_one(tmp_path: Path) -> None:
    """A set with difference images is audited on their noise, one without on the science images'."""
    for survey, plane in (("sdss", 0), ("lsst", 1)):
        settings = SetSettings(SURVEYS[survey], 2, 1)
        outputs = Outputs(tmp_path / survey, True, False)
        simulate(settings, outputs, workers=1, made={}, progress=lambda count: None)
        sequence = SequenceSet(tmp_path / survey / "sequences").sequence(0)
        np.testing.assert_allclose(of_sequence(sequence).noise_L, sequence.noise_LP[:, plane])
