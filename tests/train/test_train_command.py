"""The ``train`` verb's ways to make training sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_plugin.cli import main
from train.fact_set import open_snapshot
from train.simulator.sequence_set import SequenceSet


def test_an_archive_becomes_a_snapshot(small_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``train import-archive`` writes the objects of the packets and says what became of each packet; it refuses a
    folder that holds something."""
    arguments = ["train", "import-archive", str(small_set / "packets.kcat"), "--output", str(tmp_path / "snapshot")]
    assert main(arguments) == 0
    (folder,) = open_snapshot(tmp_path / "snapshot").sets
    made = SequenceSet(small_set / "sequences")
    assert sorted(SequenceSet(folder).text("object_id")) == sorted(made.text("object_id"))
    assert f"{made.about['num_frames']} stamped" in capsys.readouterr().out
    assert main(arguments) == 2
    assert "is not an empty folder" in capsys.readouterr().err
