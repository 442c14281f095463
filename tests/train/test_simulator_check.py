"""What the simulation is held to, measured back from rendered images; nuisances say nothing of the class."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from train.module_command import run_module
from train.simulator import gallery
from train.simulator.check import __main__ as check
from train.simulator.check import domain
from train.simulator.check.expectations import measure_set, rows_of
from train.simulator.check.nuisances import Nuisances, audit, features, of_sequence, too_few
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


def test_a_set_too_small_to_say_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An audit of a few objects gives no verdict, says how many it needs and ends with status 1; neither does one
    that lacks a class."""
    settings = SetSettings(SDSS, 8, 1, mix="equal")
    simulate(settings, Outputs(tmp_path, True, False), workers=1, made={}, progress=lambda count: None)
    monkeypatch.setattr(sys, "argv", ["check", "--num-objects", "0", "--audit", str(tmp_path / "sequences")])
    assert run_module(check.main) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "too few objects to say: 8 (" in printed
    assert "passed" not in printed
    assert too_few(["AGN", "SNIa", "SNOther"] * 400)
    assert not too_few(["AGN", "SNIa", "SNOther", "Variable"] * 250)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (check, ["--num-objects", "0", "--audit", "nowhere"]),
        (domain, ["nowhere", "nowhere"]),
        (gallery, ["nowhere"]),
    ],
)
def test_a_folder_that_is_not_there_is_one_line(
    module: ModuleType,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The modules that are run with ``python -m`` name it, as the verbs do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["module", *arguments])
    assert run_module(module.main) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: nowhere holds no complete set of sequences")


def test_numbers_of_the_check_are_whole_and_in_range(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No process at all is refused, as ``simulate`` refuses it."""
    monkeypatch.setattr(sys, "argv", ["check", "--workers", "0"])
    with pytest.raises(SystemExit, match="2"):
        check.main()
    assert "expected a whole number from 1, not '0'" in capsys.readouterr().err
