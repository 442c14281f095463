"""Telling real stamps from simulated ones: the measurement itself, and what it says of the sample packets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.simulator.check.domain import Stamps, real_sequences, report, stamps_of
from train.simulator.objects import SetSettings
from train.simulator.production import Outputs, simulate
from train.simulator.sequence_set import SequenceSet
from train.simulator.survey_description import SURVEYS


def made_up(random: np.random.Generator, num_stamps: int, name: str, *, brightness: float = 1.0) -> Stamps:
    rows, columns = np.mgrid[:32, :32] - 15.5
    spot = np.exp(-(rows**2 + columns**2) / 8.0)
    planes = random.standard_normal((num_stamps, 2, 32, 32)) + 4.0 * brightness * spot
    inputs = np.concatenate([planes, np.ones_like(planes)], axis=1).astype(np.float32)
    objects = np.array([f"{name}{index // 2}" for index in range(num_stamps)])
    return Stamps(inputs, random.uniform(17.0, 21.0, num_stamps), objects)


def test_equal_stamps_cannot_be_told_apart_and_unequal_ones_can() -> None:
    """Two samples of one law give an area near one half, overall; of two laws, near one."""
    random = np.random.default_rng(1)
    real = made_up(random, 120, "real")
    same = report(real, made_up(random, 120, "simulated"), seed=0)
    other = report(real, made_up(random, 120, "simulated", brightness=2.5), seed=0)
    assert same[0][0] == "all"
    assert same[0][3] == pytest.approx(0.5, abs=0.15)
    assert other[0][3] > 0.9
    assert sum(row[1] for row in same[1:]) >= len(real)


@pytest.mark.data
def test_real_packets_against_a_simulated_set(sample_data: Path, tmp_path: Path) -> None:
    """The area is printed for the sample LSST packets; it is a figure between chance and certainty, and not held."""
    settings = SetSettings(SURVEYS["lsst"], 30, 3, form="natural")
    simulate(settings, Outputs(tmp_path, True, False), workers=1, made={}, progress=lambda count: None)
    sequences, random = SequenceSet(tmp_path / "sequences"), np.random.default_rng(0)
    simulated = stamps_of([sequences.sequence(index) for index in range(len(sequences))], random)
    real = stamps_of(real_sequences(sample_data / "lsst", "lsst"), random)
    rows = report(real, simulated, seed=0)
    print(rows)
    assert rows[0][1] > 100
    assert 0.4 < rows[0][3] <= 1.0
