"""A bundle against the light-curve control on its own objects."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from tests.train.toy_sets import TINY, toy_recipe, write_toy_set
from train.compare import bundle_control
from train.pipeline import Provenance, train_bundle
from train.prepare import load_sets

pytest.importorskip("light_curve")


def ignore(*_: object) -> None:
    pass


def test_a_bundle_and_its_control_are_scored_on_the_same_triggers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have figures for every prefix that enough objects reach, the bundle's are those of its card; other sets
    than it was trained on are refused, and so are simulated test objects of the names that it was trained on."""
    simulated = {"by": "toy", "settings": "simulated"}
    trained_on = tmp_path / "trained_on"
    write_toy_set(trained_on, made=simulated)
    data, said = load_sets([trained_on], None)
    recipe = toy_recipe(ensemble={"folds": 2}, optimiser={"steps": 2})
    provenance = Provenance({"sets": said}, "toy", "0")
    trained = train_bundle(recipe, data, tmp_path / "run", provenance, say=ignore, progress=ignore)
    assert trained.spec.training["known_objects"]["number"] == 0  # type: ignore[index, call-overload]
    arguments = ["control", str(trained.bundle), "--data", str(trained_on), "--output", str(tmp_path / "control")]
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
    assert found["prefixes"]["all"]["macro_f1_difference"]["control"]["verdict"] == "worse"
    write_toy_set(tmp_path / "same_seed", made=simulated, moved=True)
    monkeypatch.setattr(sys, "argv", [*arguments, "--test", str(tmp_path / "same_seed")])
    with pytest.raises(SettingsError, match="was trained on"):
        bundle_control.main()
    write_toy_set(tmp_path / "other", num_objects=56, prefix="other")
    monkeypatch.setattr(
        sys, "argv", ["control", str(trained.bundle), "--data", str(tmp_path / "other"), *arguments[4:]]
    )
    with pytest.raises(SettingsError, match="was trained on other sets"):
        bundle_control.main()


def test_the_parts_of_members_with_trees_are_scored_on_new_objects(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks alone and trees alone have figures beside the whole; a network of two steps knows nothing, its trees
    do; the test objects are the new ones, and objects of the training are refused."""
    data, said = load_sets([toy_set], None)
    recipe = toy_recipe(
        ensemble={"folds": 2},
        optimiser={"steps": 2},
        network={"config": {**TINY, "trees": 12}},
        trees={"min_samples": 5},
    )
    trained = train_bundle(
        recipe, data, tmp_path / "run", Provenance({"sets": said}, "toy", "0"), say=ignore, progress=ignore
    )
    write_toy_set(tmp_path / "new", num_objects=112, prefix="new", made={"by": "new"})
    arguments = ["control", str(trained.bundle), "--data", str(toy_set), "--output", str(tmp_path / "control")]
    arguments += ["--triggers", "2", "--threads", "1", "--test"]
    monkeypatch.setattr(sys, "argv", [*arguments, str(tmp_path / "new")])
    assert bundle_control.main() == 0
    assert "bundle minus trees" in capsys.readouterr().out
    found = json.loads((tmp_path / "control.json").read_text())
    assert found["tested_on"] == [{"by": "new"}]
    whole = found["prefixes"]["all"]
    assert whole["trees"]["macro_f1"] > 0.5 > whole["network"]["macro_f1"]
    assert set(whole["macro_f1_difference"]) == {"control", "trees", "network"}
    monkeypatch.setattr(sys, "argv", [*arguments, str(toy_set)])
    assert bundle_control.main() == 0  # its own test part
    write_toy_set(tmp_path / "known", made={"by": "other"}, moved=True)
    monkeypatch.setattr(sys, "argv", [*arguments, str(tmp_path / "known")])
    with pytest.raises(SettingsError, match="was trained on"):
        bundle_control.main()
