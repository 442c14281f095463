"""The training loop: its loss curve, resuming, what stops it, the transfer stage, augmentation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from model import registry
from schemas.errors import SettingsError, TrainingError
from schemas.sequence import StampSequence
from tests.train.toy_sets import toy_recipe
from train import stage as stage_module
from train.augment import drop_frames, turn
from train.dataset import DataSet, simulated
from train.json_files import read_json, write_json
from train.losses import focal_loss
from train.members import Place, train_member
from train.recipe import Augmentation, Recipe, load_recipe, recipe_names
from train.samples import Sampler
from train.simulator.sequence_set import SequenceSet
from train.stage import Plan, train_stage

GOLDEN = Path(__file__).parents[1] / "golden" / "training_losses.json"
FIRST = Place(0, 0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def ignore(*_: object) -> None:
    pass


def toy_data(folder: Path) -> DataSet:
    return simulated(SequenceSet(folder))


def curves(folder: Path, stage: str = "first") -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / stage / "curves.json").read_text())
    del found["seconds"]
    return found


def test_loss_curve_is_the_golden_one(toy_set: Path, tmp_path: Path) -> None:
    """Sampling, augmentation, network, loss and optimiser together give the loss curve on file, to 1e-3."""
    train_member(toy_recipe(), toy_data(toy_set), FIRST, tmp_path, progress=ignore)
    golden = json.loads(GOLDEN.read_text())
    found = curves(tmp_path)
    assert found["losses"] == pytest.approx(golden["losses"], abs=1e-3)
    scores = [entry["log_loss"] for entry in found["validations"]]  # type: ignore[attr-defined]
    assert scores == pytest.approx(golden["log_losses"], abs=1e-3)


def test_bfloat16_trains_nearly_as_float32_does(toy_set: Path, tmp_path: Path) -> None:
    """Mixed precision changes the losses, but by no more than its seven bits explain; the weights stay float32."""
    recipe, data = toy_recipe(), toy_data(toy_set)
    half = recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"precision": "bfloat16"})})
    train_member(recipe, data, FIRST, tmp_path / "whole", progress=ignore)
    weights = train_member(half, data, FIRST, tmp_path / "half", progress=ignore)
    whole_losses, half_losses = (np.array(curves(tmp_path / name)["losses"]) for name in ("whole", "half"))
    assert 0.0 < np.abs(half_losses / whole_losses - 1.0).max() < 0.1
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float32}


class Cut(Exception):
    """The machine went away."""


@pytest.mark.parametrize("transfer", [0, 4])
def test_resumed_training_equals_an_uninterrupted_run_bit_for_bit(
    toy_set: Path, tmp_path: Path, transfer: int
) -> None:
    """A member cut off between and after checkpoints, in either stage, ends with the same weights and curves."""
    recipe, data = toy_recipe(transfer={"steps": transfer}), toy_data(toy_set)
    whole = train_member(recipe, data, FIRST, tmp_path / "whole", progress=ignore)
    for dies_at in (3, 5, 8):
        done = 0

        def progress(stage: str, step: int, loss: float, dies_at: int = dies_at) -> None:
            nonlocal done
            done = step + (6 if stage == "transfer" else 0)
            if done >= dies_at:
                raise Cut

        if dies_at < 6 + transfer:
            with pytest.raises(Cut):
                train_member(recipe, data, FIRST, tmp_path / "cut", progress=progress)
    resumed = train_member(recipe, data, FIRST, tmp_path / "cut", progress=ignore)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for name in ("first", "transfer") if transfer else ("first",):
        assert curves(tmp_path / "whole", name) == curves(tmp_path / "cut", name)


def test_non_finite_loss_stops_with_the_batch_named(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is not a number ends training with the step and the objects of its batch; nothing is exported."""
    monkeypatch.setattr(stage_module, "focal_loss", lambda *a, **k: focal_loss(*a, **k) * torch.nan)
    with pytest.raises(TrainingError, match=r"loss of step 0 is not finite; the batch: (toy\d+, ){7}toy\d+"):
        train_member(toy_recipe(), toy_data(toy_set), FIRST, tmp_path, progress=ignore)
    assert not (tmp_path / "member.json").exists()


def test_focal_loss_weighs_each_sample_by_its_own_probability() -> None:
    """With gamma 0 it is the weighted cross-entropy; with gamma 2 every sample's factor is its own (1 - p)^2, so
    neighbours do not matter."""
    logits, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 3, 0, 1])
    weights = torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0, 1.0])
    cross = functional.cross_entropy(logits, labels, reduction="none")
    expected = (weights * cross).sum() / weights.sum()
    assert focal_loss(logits, labels, weights, gamma=0.0) == pytest.approx(float(expected), abs=1e-6)
    alone = [float(focal_loss(logits[[k]], labels[[k]], weights[[k]], gamma=2.0)) for k in range(6)]
    assert alone == pytest.approx((cross * (1 - torch.exp(-cross)) ** 2).tolist(), abs=1e-6)
    together = float(focal_loss(logits, labels, weights, gamma=2.0))
    assert together == pytest.approx(float(np.average(alone, weights=weights.numpy())), abs=1e-6)


def test_transfer_trains_on_confirmed_objects_with_frozen_statistics(toy_set: Path, tmp_path: Path) -> None:
    """The first stage sees unconfirmed objects, the second confirmed ones and a share of old ones; normalisation
    statistics do not move in it; with a frozen backbone only the head's weights do."""
    recipe, data = toy_recipe(transfer={"steps": 4, "frozen_backbone": True}), toy_data(toy_set)
    after = train_member(recipe, data, FIRST, tmp_path, progress=ignore)
    before = torch.load(tmp_path / "first" / "checkpoint.pt", weights_only=True)["best"]
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved
    assert all(name.startswith(("hidden.", "output.")) for name in moved)
    summary = json.loads((tmp_path / "member.json").read_text())["stages"]
    train_rows, _ = data.fold(0)
    confirmed = int(data.rows["confirmed"][train_rows].sum())
    assert summary["transfer"]["objects"] == confirmed
    assert summary["first"]["objects"] == len(train_rows) - confirmed


def test_old_objects_are_mixed_into_the_transfer(toy_set: Path, tmp_path: Path) -> None:
    """Half of an epoch's samples are old ones at a share of one half; held-out objects are never drawn."""
    recipe, data = toy_recipe(), toy_data(toy_set)
    rows, validation = data.fold(0)
    new, old = rows[data.rows["confirmed"][rows]], rows[~data.rows["confirmed"][rows]]
    network = registry.create("convention", **recipe.network.full_config)
    plan = Plan(new, validation, 2, 1e-3, 5, network.state_dict(), old_rows=old, old_share=0.5)
    run = stage_module._StageRun(network, Sampler(data, recipe), plan, recipe.optimiser, tmp_path)
    epoch = run._epoch(0)
    assert set(epoch.tolist()) <= set(rows.tolist())
    assert np.isin(epoch, old).mean() == pytest.approx(0.5, abs=0.02)
    assert not np.array_equal(epoch, run._epoch(1))


def test_validation_stops_early_and_the_best_weights_are_kept(toy_set: Path, tmp_path: Path) -> None:
    """At a rate that ruins the network, training ends after ``patience`` validations without an improvement and
    returns the weights of the best one."""
    recipe = toy_recipe(optimiser={"steps": 40, "learning_rate": 30.0, "patience": 2, "validate_every": 1})
    network = registry.create("convention", **recipe.network.full_config)
    data = toy_data(toy_set)
    rows, validation = data.fold(0)
    plan = Plan(rows, validation, 40, 30.0, 5, network.state_dict())
    best, found = train_stage(network, Sampler(data, recipe), plan, recipe.optimiser, tmp_path, progress=ignore)
    assert found.best is not None
    assert len(found.validations) == found.best + 3 < 40
    assert any(not torch.equal(best[name], value) for name, value in network.state_dict().items())


def test_too_few_objects_are_an_error(toy_set: Path, tmp_path: Path) -> None:
    """A batch larger than the epoch, and a class without an object, are said in one line."""
    data = toy_data(toy_set)
    with pytest.raises(SettingsError, match="make no batch of 512"):
        train_member(toy_recipe(optimiser={"batch": 512}), data, FIRST, tmp_path, progress=ignore)
    with pytest.raises(TrainingError, match=r"no object to train on of class numbers \[2\]"):
        train_member(toy_recipe(), data.only(data.rows["label"] != 2), FIRST, tmp_path, progress=ignore)


def sample_of(folder: Path) -> StampSequence:
    return SequenceSet(folder).sequence(7)


def test_turning_moves_pixels_and_changes_nothing_else(toy_set: Path) -> None:
    """Every value of a turned stamp is a value of the stamp (none is averaged), masks move along, times and noise
    stay; the source stays in the middle; the same generator turns alike."""
    sequence = sample_of(toy_set)
    settings = Augmentation()
    seen = set()
    for seed in range(24):
        turned = turn(sequence, settings, random=np.random.default_rng(seed))
        seen.add(turned.planes_LPHW.tobytes())
        again = turn(sequence, settings, random=np.random.default_rng(seed))
        assert np.array_equal(turned.planes_LPHW, again.planes_LPHW)
        assert set(np.unique(turned.planes_LPHW)) <= {*np.unique(sequence.planes_LPHW), np.float32(0)}
        assert not turned.planes_LPHW[~turned.valid_LPHW].any()
        assert turned.valid_LPHW[..., 4:28, 4:28].all()
        middle, before = turned.planes_LPHW[:, 0, 12:20, 12:20], sequence.planes_LPHW[:, 0, 12:20, 12:20]
        assert middle.sum() == pytest.approx(before.sum(), rel=0.1)
        assert np.array_equal(turned.mjd_L, sequence.mjd_L)
        assert np.array_equal(turned.noise_LP, sequence.noise_LP)
    assert len(seen) > 8
    plain = turn(sequence, Augmentation(turns=False, angle_deg=0.0), random=np.random.default_rng(0))
    assert np.array_equal(plain.planes_LPHW, sequence.planes_LPHW)


def test_dropping_keeps_the_minimum_and_the_order() -> None:
    """Frames left are a subset in order, never fewer than the minimum (or all, of a shorter object); a band is lost
    whole now and then."""
    frames, bands = np.arange(10, 30), np.tile([2, 3, 4, 5], 5)
    settings = Augmentation(frame_drop=0.9, band_drop=0.5)
    lost_bands = 0
    for seed in range(200):
        kept = drop_frames(frames, bands, settings, min_frames=3, random=np.random.default_rng(seed))
        assert len(kept) >= 3
        assert np.all(np.diff(kept) > 0)
        assert set(kept.tolist()) <= set(frames.tolist())
        lost_bands += len(kept) > 12 and len(set(bands[kept - 10].tolist())) == 3
    assert lost_bands > 5
    short = drop_frames(frames[:2], bands[:2], settings, min_frames=3, random=np.random.default_rng(0))
    assert short.tolist() == [10, 11]


def test_shipped_recipes_are_valid_and_overrides_name_their_faults(tmp_path: Path) -> None:
    """Every shipped recipe loads; an override changes one value; unknown keys, files and malformed overrides are
    errors that name them."""
    for name in recipe_names():
        assert isinstance(load_recipe(name), Recipe)
    recipe = load_recipe("debug", ["optimiser.steps=7", 'network.bands=["g"]', "network.name=cnn_gru"])
    assert (recipe.optimiser.steps, recipe.network.bands, recipe.network.name) == (7, ("g",), "cnn_gru")
    assert recipe.optimiser == replace_steps(load_recipe("debug"), 7)
    for name, overrides, fault in (
        ("nobody", [], "neither a file nor one of"),
        ("debug", ["optimiser.stepps=7"], "optimiser.stepps: no such key: expected one of steps, batch,"),
        ("debug", ["optimiser.steps"], "expected section.key=value"),
    ):
        with pytest.raises(SettingsError, match=fault):
            load_recipe(name, overrides)


def replace_steps(recipe: Recipe, steps: int) -> object:
    return recipe.optimiser.model_copy(update={"steps": steps})


def test_samples_are_functions_of_seed_and_step(toy_set: Path) -> None:
    """The same seed and step draw the same samples, another step others; held-out triggers never change."""
    data, recipe = toy_data(toy_set), toy_recipe()
    sampler, rows = Sampler(data, recipe), np.arange(8)
    first, again, other = (sampler.training(rows, seed=1, step=step) for step in (4, 4, 5))
    assert all(
        np.array_equal(a.planes_LPHW, b.planes_LPHW) for a, b in zip(first.sequences, again.sequences, strict=True)
    )
    assert any(
        a.planes_LPHW.tobytes() != b.planes_LPHW.tobytes()
        for a, b in zip(first.sequences, other.sequences, strict=True)
    )
    fresh = Sampler(replace(data), recipe)
    assert [sampler.lengths(row, 3) for row in range(5)] == [fresh.lengths(row, 3) for row in range(5)]


def test_small_files_are_whole_or_absent_and_damage_is_named(tmp_path: Path) -> None:
    """What says that a step is done is replaced in one piece and leaves nothing beside it; one that is cut off, no
    JSON object or no text is refused by name."""
    path = tmp_path / "run.json"
    write_json(path, {"steps": 1})
    write_json(path, {"steps": 2})
    assert read_json(path) == {"steps": 2}
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]
    for damaged in (b'{"steps": ', b"[]", b"\xff\xfe"):
        path.write_bytes(damaged)
        with pytest.raises(SettingsError, match=r"run\.json .*remove it"):
            read_json(path)
