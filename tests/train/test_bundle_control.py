"""A bundle against the light-curve control on its own objects."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from tests.train.toy_sets import toy_recipe, write_toy_set
from train.compare import bundle_control
from train.pipeline import Provenance, train_bundle
from train.prepare import load_sets

pytest.importorskip("light_curve")


def ignore(*_: object) -> None:
    pass


def test_a_bundle_and_its_control_are_scored_on_the_same_triggers(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have figures for every prefix that enough objects reach, the bundle's are those of its card; other sets
    than it was trained on are refused."""
    data, said = load_sets([toy_set], None)
    recipe = toy_recipe(ensemble={"folds": 2}, optimiser={"steps": 2})
    provenance = Provenance({"sets": said}, "toy", "0")
    trained = train_bundle(recipe, data, tmp_path / "run", provenance, say=ignore, progress=ignore)
    arguments = ["control", str(trained.bundle), "--data", str(toy_set), "--output", str(tmp_path / "control")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--triggers", "2", "--threads", "1"])
    assert bundle_control.main() == 0
    printed = capsys.readouterr().out
    assert f"# {trained.bundle_id} against its light curves" in printed
    found = json.loads((tmp_path / "control.json").read_text())
    card = trained.spec.metrics
    for name, key in (("all", "all_frames"), ("random", "one_random_trigger_an_object")):
        assert found["prefixes"][name]["bundle"]["macro_f1"] == pytest.approx(card[key]["macro_f1"])  # type: ignore[index, call-overload]
        assert found["prefixes"][name]["control"]["num_objects"] == len(data.test)
    # toy classes differ in their light curves, and two steps teach a network nothing
    assert found["prefixes"]["all"]["control"]["macro_f1"] > 0.5
    assert found["prefixes"]["all"]["macro_f1_difference"]["verdict"] == "worse"
    write_toy_set(tmp_path / "other", num_objects=56, prefix="other")
    monkeypatch.setattr(
        sys, "argv", ["control", str(trained.bundle), "--data", str(tmp_path / "other"), *arguments[4:]]
    )
    with pytest.raises(SettingsError, match="was trained on other sets"):
        bundle_control.main()
