"""The comparison: cells that resume, the table made of them, what its words mean, the controls."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import registry
from model.scores import CLASSES
from schemas.errors import SettingsError
from tests.train.toy_sets import TINY, write_toy_set
from train.compare.cells import Setup, settled_recipe
from train.compare.light_curves import Features, LightCurveControl, photometry
from train.compare.objects import load_objects, save_objects, shared_objects
from train.compare.plan import ComparisonPlan, load_plan, plan_names
from train.compare.report import TABLE_FILES, write_report
from train.compare.run import cells_in_order, run_cells
from train.dataset import simulated
from train.inputs import shown
from train.recipe import Recipe, parse_recipe
from train.samples import Sampler
from train.simulator.sequence_set import SequenceSet


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def ignore(*_: object) -> None:
    pass


def toy_plan(**changes: object) -> ComparisonPlan:
    network = {"bands": ["g", "r"], "config": TINY}
    values = {
        "minutes": 1.0,
        "lengths": [3, 5],
        "resamples": 100,
        "against": "whole",
        "curves": ["whole"],
        "base": {
            "seed": 3,
            "network": network,
            "view": {"max_frames": 6},
            "optimiser": {"steps": 3, "batch": 8, "warm_up_steps": 2},
            "transfer": {"steps": 1},
        },
        "test": {"split": "test"},
        "trials": [{"learning_rate": 1e-3, "weight_decay": 0.1}, {"learning_rate": 1e-4, "weight_decay": 0.1}],
        "rows": {
            "whole": {"title": "whole", "folds": 2, "steps": 8},
            "g_only": {
                "title": "g alone",
                "folds": 1,
                "steps": 8,
                "like": "whole",
                "values": {"network": {"bands": ["g"]}, "view": {"min_frames": 1}},
            },
            "light_curve": {"title": "light curve", "kind": "light_curve", "folds": 1},
        },
    }
    return ComparisonPlan.model_validate(values | changes)


def toy_setup(folder: Path, toy_set: Path, plan: ComparisonPlan | None = None) -> Setup:
    plan = plan or toy_plan()
    data = simulated(SequenceSet(toy_set))
    base = parse_recipe(dict(plan.base), where="base")
    objects = shared_objects(Sampler(data, base), plan.lengths)
    folder.mkdir(exist_ok=True)
    save_objects(objects, folder)
    return Setup(plan, data, objects, folder, folder.with_name(folder.name + ".work"))


def arrays(folder: Path, row: str, cell: str = "fold0-member0") -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    with np.load(folder / "cells" / row / f"{cell}.npz") as file:
        return {name: file[name] for name in file.files}


def test_a_comparison_over_several_sittings_equals_one_in_one(toy_set: Path, tmp_path: Path) -> None:
    """Sittings that end in the middle of a cell lose nothing: the next goes on, finished cells are not run again, the
    answers are those of one sitting. Until then the table says what is missing."""
    whole, parts = toy_setup(tmp_path / "whole", toy_set), toy_setup(tmp_path / "parts", toy_set)
    assert run_cells(whole, [], deadline=None, say=ignore, progress=ignore)
    assert not run_cells(parts, [], deadline=time.monotonic(), say=ignore, progress=ignore)
    table = write_report(parts.plan, parts.folder)
    assert {name: len(row["missing"]) for name, row in table["rows"].items()} == {
        "whole": 2,
        "g_only": 1,
        "light_curve": 1,
    }
    text = (parts.folder / "comparison.md").read_text()
    assert "| whole | missing |" in text
    assert "* whole: fold0-member0, fold1-member0" in text
    sittings = 0
    while not run_cells(parts, [], deadline=time.monotonic() + 0.05, say=ignore, progress=ignore):
        sittings += 1
        assert sittings < 200
    assert sittings > 0
    for row in whole.plan.rows:
        one, other = arrays(whole.folder, row), arrays(parts.folder, row)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
    log = [json.loads(line)["row"] for line in (parts.folder / "scorings.jsonl").read_text().splitlines()]
    assert sorted(log) == ["g_only", "light_curve", "whole", "whole"]
    table = write_report(parts.plan, parts.folder)
    assert not any(row["missing"] for row in table["rows"].values())
    assert all((parts.folder / name).stat().st_size > 500 for name in TABLE_FILES)


def test_rows_share_objects_triggers_and_tuning(toy_set: Path, tmp_path: Path) -> None:
    """A row of fewer bands answers at the triggers of all bands, and knows nothing where its band has no frame; rows
    ``like`` another take its tuned rate; cells come row by row; a plan that has changed refuses the cells made
    before."""
    setup = toy_setup(tmp_path / "c", toy_set)
    order = cells_in_order(setup.plan, [])
    assert [(row, place.fold) for row, place in order] == [
        ("whole", 0),
        ("g_only", 0),
        ("light_curve", 0),
        ("whole", 1),
    ]
    run_cells(setup, ["whole", "g_only"], deadline=None, say=ignore, progress=ignore)
    rows = {name: json.loads((setup.folder / "rows" / f"{name}.json").read_text()) for name in ("whole", "g_only")}
    assert len(rows["whole"]["trials"]) == 2
    assert rows["g_only"]["learning_rate"] == rows["whole"]["learning_rate"]
    whole, g_only = (arrays(setup.folder, row)["logits"] for row in ("whole", "g_only"))
    seen = setup.objects.frames_NP > 0
    assert np.array_equal(np.isfinite(whole[..., 0]), seen)
    assert np.array_equal(np.isfinite(g_only[..., 0]), seen)  # every toy object begins in g
    changed = toy_plan(lengths=[3, 6])
    with pytest.raises(SettingsError, match="made under another plan"):
        write_report(changed, setup.folder)
    (setup.folder / "cells" / "whole" / "fold1-member0.json").unlink()
    with pytest.raises(SettingsError, match=r"rows/whole.json was made under another plan"):
        run_cells(replace(setup, plan=changed), ["whole"], deadline=None, say=ignore, progress=ignore)
    with pytest.raises(SettingsError, match="holds other test objects"):
        toy_setup(tmp_path / "c", toy_set, changed)
    with pytest.raises(SettingsError, match="no row nobody"):
        cells_in_order(setup.plan, ["nobody"])


def test_temperatures_are_of_the_frames_that_a_row_sees(toy_set: Path, tmp_path: Path) -> None:
    """Validation and test prefixes count frames alike: those in the row's view, of its bands, at most as many as it
    holds, for networks and for the control; a cell that does not say them is refused."""
    setup = toy_setup(tmp_path / "c", toy_set)
    run_cells(setup, [], deadline=None, say=ignore, progress=ignore)
    longest = parse_recipe(dict(setup.plan.base), where="base").view.max_frames
    assert setup.objects.frames_NP.max() > longest
    for row in ("whole", "light_curve"):
        stored = arrays(setup.folder, row)
        assert np.array_equal(stored["frames"], np.minimum(setup.objects.frames_NP, longest))
        assert stored["validation_frames"].max() <= longest
    everything = setup.objects.place("all")
    g_only = arrays(setup.folder, "g_only")["frames"][:, everything]
    assert (g_only < setup.objects.frames_NP[:, everything]).all()
    path = setup.folder / "cells" / "whole" / "fold0-member0.npz"
    stored = arrays(setup.folder, "whole")
    del stored["frames"]
    np.savez(path, **stored)
    with pytest.raises(SettingsError, match="does not say how many frames"):
        write_report(setup.plan, setup.folder)


def test_frames_that_a_row_cannot_read_count_as_no_knowledge(tmp_path: Path, toy_set: Path) -> None:
    """Where a row's bands have no frame yet, its prefix is empty, is not asked, and is read as even probabilities."""
    from train.compare.cell_files import read_cells
    from train.compare.objects import asked

    plan = toy_plan()
    setup = toy_setup(tmp_path / "c", toy_set, plan)
    recipe = plan.recipe("g_only")
    r_first = recipe.model_copy(update={"network": recipe.network.model_copy(update={"bands": ("r",)})})
    frames = setup.objects.frames_NP.copy()
    frames[:, 0] = 1  # the first frame alone, which is of g
    pairs, view_NP = asked(setup.sampler(r_first), setup.data.test, frames)
    assert not view_NP[:, 0].any()
    assert view_NP[:, setup.objects.place("3")].all()
    assert len(pairs) == (view_NP > 0).sum()
    run_cells(setup, ["g_only"], deadline=None, say=ignore, progress=ignore)
    path = setup.folder / "cells" / "g_only" / "fold0-member0.npz"
    stored = arrays(setup.folder, "g_only")
    stored["logits"][:, 0] = np.nan
    np.savez(path, **stored)
    (cell,) = read_cells(plan, setup.folder, "g_only", load_objects(setup.folder)).values()
    assert cell is not None
    assert cell.probabilities_NPC[:, 0] == pytest.approx(0.25)


def test_steps_follow_from_minutes_and_epochs(toy_set: Path, tmp_path: Path) -> None:
    """A cell trains for its minutes at the row's measured speed, or for its epochs where that is sooner."""
    row = {"whole": {"title": "whole", "folds": 1}}
    steps = {}
    for name, changes in {"minutes": {"minutes": 0.01}, "epochs": {"minutes": 1e3, "epochs": 0.5}}.items():
        setup = toy_setup(tmp_path / name, toy_set, toy_plan(rows=row, trials=[], **changes))
        settled = settled_recipe(setup, "whole", progress=ignore)
        said = json.loads((setup.folder / "rows" / "whole.json").read_text())
        steps[name] = said["steps"]
        assert settled.optimiser.steps + settled.transfer.steps == said["steps"]
        if name == "minutes":
            assert said["steps"] == pytest.approx(60.0 * 0.01 / said["seconds_a_step"], rel=0.05, abs=2)
    assert steps["epochs"] == np.ceil(0.5 * said["steps_an_epoch"])


def test_controls_are_shown_less(toy_set: Path) -> None:
    """The newest frame alone; one median frame a band, at one time, with less noise; the same frames in another
    order at the same times."""
    sequence = SequenceSet(toy_set).sequence(4)
    random = np.random.default_rng(5)
    assert shown(sequence, "all", random=random) is sequence
    newest = shown(sequence, "newest", random=random)
    assert (len(newest), newest.source_ids) == (1, sequence.source_ids[-1:])
    median = shown(sequence, "median", random=random)
    own = sequence.band_L == 2
    assert median.band_L.tolist() == [2, 3]
    assert median.planes_LPHW[0] == pytest.approx(np.median(sequence.planes_LPHW[own], axis=0), abs=1e-3)
    assert np.ptp(median.mjd_L) < 1e-3
    expected = sequence.noise_LP[0, 0] * np.sqrt(np.pi / 2 / own.sum())
    assert median.noise_LP[0, 0] == pytest.approx(expected, rel=1e-3)
    shuffled = shown(sequence, "shuffled", random=random)
    assert sorted(shuffled.digests) == sorted(sequence.digests)
    assert shuffled.digests != sequence.digests
    assert np.array_equal(shuffled.mjd_L, sequence.mjd_L)
    place = sequence.digests.index(shuffled.digests[0])
    assert np.array_equal(shuffled.planes_LPHW[0], sequence.planes_LPHW[place])


def test_the_light_curve_control_measures_and_learns(toy_set: Path, tmp_path: Path) -> None:
    """Aperture fluxes are the fluxes drawn, features do not depend on absolute time, and boosting on them tells plain
    classes apart."""
    write_toy_set(tmp_path / "more", num_objects=112, prefix="more")
    sequences = SequenceSet(toy_set)
    sequence = sequences.sequence(3)
    change, error, total = photometry(sequence)
    rows = np.arange(32) - 15.5
    profile = np.exp(-0.5 * (rows[:, None] ** 2 + rows[None, :] ** 2) / 1.5**2)
    profile /= profile.sum()
    direct = (sequence.planes_LPHW[:, 1] * profile).sum(axis=(1, 2)) / (profile**2).sum()
    assert change == pytest.approx(direct, rel=1e-3)
    assert error == pytest.approx(10.0 / np.sqrt((profile**2).sum()) * np.ones(len(error)), rel=1e-3)
    assert len(total) == len(sequence)
    features = Features(("g", "r"))
    moved = replace(sequence, mjd_L=sequence.mjd_L + 1000.0)
    assert features.of(moved) == pytest.approx(features.of(sequence), nan_ok=True)
    assert features.of(sequence).shape == (features.size,)
    data = simulated(sequences)
    recipe = Recipe.model_validate({"network": {"bands": ["g", "r"]}, "view": {"max_frames": 6}})
    control = LightCurveControl(("g", "r"), seed=1)
    sampler = Sampler(data, recipe)
    control.fit(sampler, data.fold(0)[0], triggers=2)
    logits = control.logits(sampler, [(int(row), 9) for row in data.test])
    assert np.mean(logits.argmax(axis=1) == data.truth(data.test)) > 0.8


@pytest.mark.parametrize("name", plan_names())
def test_shipped_plans_make_every_network(name: str) -> None:
    """Every row of every shipped plan has a valid recipe and its network can be built; the published plan has the
    rows of the published table, the ablations, the baselines with more inputs and the four controls."""
    plan = load_plan(name)
    for row in plan.rows:
        recipe = plan.recipe(row)
        if plan.rows[row].kind == "network":
            assert registry.create(recipe.network.name, **recipe.network.full_config).pooled_size > 0
    if name == "published":
        assert sum(row.published is not None for row in plan.rows.values()) == 6
        assert {"cnn_gru_plus", "cnn_lstm_plus", "light_curve", "newest", "median", "shuffled"} <= set(plan.rows)
        assert plan.test.num_objects >= 500 * len(CLASSES)
