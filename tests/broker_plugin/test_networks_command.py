"""``convention-broker networks``."""

from __future__ import annotations

import json

import pytest

from broker_plugin.cli import main


def test_json_lists_every_network(capsys: pytest.CaptureFixture[str]) -> None:
    """One row a network and band set, with the published parameter counts and the cost of 99 frames."""
    assert main(["networks", "--json"]) == 0
    rows = {(row["name"], row["bands"]): row for row in json.loads(capsys.readouterr().out)}
    assert rows["convention_2023", "ugriz"]["parameters"] == 1_253_108
    assert rows["cnn_lstm", "g"]["parameters"] == 2_188_804
    assert rows["convention", "ugrizy"]["multiply_adds_99_frames"] * 8 < 20.6e9
    assert all(row["source"] for row in rows.values())


def test_table_has_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """The table names every network."""
    assert main(["networks"]) == 0
    text = capsys.readouterr().out
    assert "convention_2023" in text
    assert "1,253,108" in text
