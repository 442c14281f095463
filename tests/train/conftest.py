"""A few simulated objects, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.toy_sets import write_toy_set
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


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 112 made-up objects. Read only."""
    folder = tmp_path_factory.mktemp("toy") / "set"
    write_toy_set(folder)
    return folder
