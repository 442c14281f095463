"""A few simulated objects, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.simulator.objects import SetSettings
from train.simulator.production import Outputs, simulate
from train.simulator.survey_description import SURVEYS

NUM_OBJECTS = 12


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 12 SDSS objects and 3 novel ones: packets.kcat, sequences/, truth.csv. Read only."""
    folder = tmp_path_factory.mktemp("simulated") / "sdss"
    settings = SetSettings(SURVEYS["sdss"], NUM_OBJECTS, 5, mix="equal", num_novel=3)
    simulate(settings, Outputs(folder, True, True), workers=1, made={"seed": 5}, progress=lambda count: None)
    return folder
