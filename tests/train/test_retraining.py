"""Retraining: fine-tuning on new labels, fair comparison, the gate."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from broker_plugin.cli import main
from broker_plugin.commands import train as train_verb
from model.bundle import load_bundle
from model.bundle_store import promote, promoted_name, shipped_bundles
from model.bundle_writer import save_bundle
from model.scores import CLASSES
from schemas.errors import SettingsError
from tests.train.toy_sets import toy_observations, toy_recipe, write_labels_file, write_toy_set
from train.dataset import simulated
from train.fact_set import Snapshot, open_snapshot, write_snapshot
from train.gate import Gate, judge
from train.label_table import read_labels
from train.pipeline import Provenance, train_bundle
from train.prepare import load_sets
from train.retrain import apply_cutoff, compared_rows, refuse_known
from train.simulator.sequence_set import SequenceSet
from train.trained_objects import hashes_of, object_hash, record_of

NUM_NEW = 240


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def ignore(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle store whose promoted bundle has hardly been trained, on observed objects of its own."""
    folder = tmp_path_factory.mktemp("champion")
    data = simulated(write_toy_set(folder / "set", num_objects=56, prefix="old"))
    recipe = toy_recipe(optimiser={"steps": 2})
    trained = train_bundle(recipe, data, folder / "run", Provenance({}, "toy", "0"), say=ignore, progress=ignore)
    promote(trained.bundle, folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of objects spread over the sky, and a label table: labels.csv, log/."""
    folder = tmp_path_factory.mktemp("news")
    random = np.random.default_rng(3)
    values, rows = [], []
    for index in range(NUM_NEW):
        place = {"ra": float(random.uniform(0, 360)), "dec": float(random.uniform(-30, 30))}
        values += [
            replace(one, **place).to_bytes() for one in toy_observations(f"new{index}", 500 + index, index % 4)
        ]
        rows.append({"object_id": f"new{index}", "class": CLASSES[index % 4], "label_date": 60000 + index})
    write_snapshot(folder / "log", values, {"topic": "toy"})
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["object_id", "class", "label_date"])
        table.writeheader()
        table.writerows(rows)
    return folder


def arguments(news: Path, champion: Path, output: Path, *extra: str) -> list[str]:
    asked = ["train", "--from-log", str(news / "log"), "--labels", str(news / "labels.csv")]
    asked += ["--champion", str(champion), "--output", str(output), "--threads", "1"]
    quick = ("optimiser.steps=60", "optimiser.batch=8", "optimiser.validate_every=20", "transfer.rate=4.0")
    return [*asked, *[part for value in quick for part in ("--with", value)], "--min-objects", "20", *extra]


def test_a_better_challenger_is_promoted(
    news: Path, champion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """New labels fine-tune the champion's weights on new objects; the challenger, better on objects that neither
    knows, is promoted into the champion's store; it knows the objects of both, names the champion, and a later
    retraining on the same objects would not compare on any of them."""
    store = tmp_path / "store"
    promote(champion / str(promoted_name(champion)), store)
    before = promoted_name(store)
    assert main(arguments(news, store, tmp_path / "run")) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["passed"], line["reasons"]) == (True, [])
    after = promoted_name(store)
    assert after != before
    report = json.loads((tmp_path / "run" / "retraining.json").read_text())
    assert report["macro_f1_difference"]["verdict"] == "better"
    assert report["challenger"]["num_objects"] > 20
    bundle = load_bundle(store / str(after))
    assert bundle.bundle_id == line["challenger_id"]
    assert bundle.spec.training["fine_tuned_from"] == line["champion_id"]
    assert bundle.spec.notes == (
        f"Fine-tuned on labelled objects from {line['champion_id']}, whose card says what that was trained on.",
    )
    record = record_of(bundle.bundle_id, bundle.spec.training)
    known = hashes_of(record)
    assert object_hash("toy", "old0") in known
    assert sum(object_hash("toy", f"new{index}") in known for index in range(NUM_NEW)) == record["number"] - 48
    summary = json.loads((tmp_path / "run" / "members" / "fold0-member0" / "member.json").read_text())
    assert list(summary["stages"]) == ["fine_tune"]
    assert "| all |" in (tmp_path / "run" / "retraining.md").read_text()


def test_labels_after_the_cutoff_are_compared_on_and_reported_apart(
    news: Path, champion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a cut-off later labels train nothing: they are all compared on, also apart; nothing is promoted if asked
    so."""
    extra = ("--label-cutoff", "60199.5", "--no-promotion")
    before = promoted_name(champion)
    assert main(arguments(news, champion, tmp_path / "run", *extra)) == 0
    report = json.loads((tmp_path / "run" / "retraining.json").read_text())
    apart = report["labelled_after_both_cutoffs"]
    assert 38 <= apart["challenger"]["num_objects"] <= 40  # one or two lie on the edge of a split's cell
    assert report["challenger"]["num_objects"] > apart["challenger"]["num_objects"]
    assert report["promoted"] is None
    assert promoted_name(champion) == before
    assert capsys.readouterr().out


def test_what_is_within_two_arcsec_is_one_object_in_the_comparison(tmp_path: Path) -> None:
    """Two ids at one place: labelled after the cut-off, neither trains though one label is older; they count once,
    by the longer; a bundle that knows either is refused; and where their classes differ neither is compared on."""
    for classes in (("AGN", "AGN"), ("AGN", "SNIa")):
        folder, values, rows = tmp_path / "".join(classes), [], []
        for name, cut, label, date in zip("ab", (1, 0), classes, (59000, 60000), strict=True):
            own = toy_observations(name, 4, 0)
            values += [replace(one, ra=10.1, dec=5.1).to_bytes() for one in own[: len(own) - cut]]
            rows.append({"object_id": name, "class": label, "label_date": str(date)})
        snapshot = write_snapshot(folder / "log", values, {})
        data, _ = load_sets(list(snapshot.sets), read_labels(write_labels_file(folder / "labels.csv", rows)))
        data = apply_cutoff(data, 59500.0)
        chosen = compared_rows(data, toy_recipe())
        assert set(data.rows["split"].tolist()) == {"later"}
        assert [data.object_id(row) for row in chosen] == (["b"] if classes[0] == classes[1] else [])
        if len(chosen):
            with pytest.raises(SettingsError, match="trained on 1 of the 1 objects to compare on: a"):
                refuse_known(data, chosen, "it", {"hashes": object_hash("toy", "a")})


def test_a_challenger_that_the_gate_refuses_changes_no_store(
    news: Path, champion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report says why, and the store is what it was; its objects count once though the same snapshot is given
    twice."""
    store = tmp_path / "store"
    promote(champion / str(promoted_name(champion)), store)
    before = sorted(path.relative_to(store) for path in store.rglob("*"))
    pointed = promoted_name(store)
    extra = ("--min-gain", "0.99", "--with", "optimiser.steps=2", "--data", str(news / "log"))
    assert main(arguments(news, store, tmp_path / "run", *extra)) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["passed"], line["promoted"], len(line["reasons"])) == (False, None, 1)
    assert (sorted(path.relative_to(store) for path in store.rglob("*")), promoted_name(store)) == (before, pointed)
    report = json.loads((tmp_path / "run" / "retraining.json").read_text())
    data, _ = load_sets(list(open_snapshot(news / "log").sets), read_labels(news / "labels.csv"))
    assert report["challenger"]["num_objects"] == len(compared_rows(data, toy_recipe()))


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("--min-objects", "-3", "expected a whole number from 1"),
        ("--min-gain", "nan", "expected a number from -1 to 1, not 'nan'"),
        ("--recall-margin", "7", "expected a number from 0 to 1, not '7'"),
        ("--label-cutoff", "2460000.5", "--label-cutoff '2460000.5': MJD 2460000.5 is not between 1900 and 2200"),
    ],
)
def test_a_gate_that_cannot_be_is_refused(
    option: str, value: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what was expected, before anything is read."""
    try:
        status: object = main(arguments(tmp_path, tmp_path, tmp_path / "run", option, value))
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert fault in capsys.readouterr().err


def test_a_retraining_cut_off_while_the_log_was_read_goes_on(
    news: Path, champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command makes the snapshot anew, though the one that was cut off left its scratch database; once it is
    whole it is not made again."""
    values = [one.to_bytes() for index in range(4) for one in toy_observations(f"new{index}", 500 + index, index % 4)]
    readings: list[list[bytes]] = [values[:3], values]

    def read(settings: object, output: Path) -> Snapshot:
        given = readings.pop(0)

        def stream() -> Iterator[bytes]:
            yield from given
            if readings:
                raise KeyboardInterrupt

        return write_snapshot(output, stream(), {"topic": "toy"})

    monkeypatch.setattr(train_verb, "export_log", read)
    command = ["train", "--from-log", "--labels", str(news / "labels.csv"), "--champion", str(champion)]
    command += ["--output", str(tmp_path / "run"), "--threads", "1"]
    assert main(command) == 1  # interrupted
    assert (tmp_path / "run" / "snapshot" / "scratch.sqlite").exists()
    for _ in range(2):
        assert main(command) == 2  # four objects are too few to train on, which is told after the snapshot
    assert not readings
    assert len(open_snapshot(tmp_path / "run" / "snapshot").sets) == 1


def test_a_comparison_on_known_objects_is_refused(
    news: Path, champion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A champion trained under other splits on an object of the comparison is refused by name of the object; so is
    one that does not say what it was trained on, and one of another grid."""
    folder = tmp_path / "set"
    write_toy_set(folder, num_objects=112, prefix="new")  # the same names, the splits of the toy set
    recipe = toy_recipe(optimiser={"steps": 2})
    data = simulated(SequenceSet(folder))
    trained = train_bundle(recipe, data, tmp_path / "run", Provenance({}, "toy", "0"), say=ignore, progress=ignore)
    assert main(arguments(news, trained.bundle, tmp_path / "again")) == 2
    assert "objects to compare on: new" in capsys.readouterr().err
    known = load_bundle(champion / str(promoted_name(champion)))
    training = {key: value for key, value in known.spec.training.items() if key != "known_objects"}
    spec = known.spec.model_copy(update={"training": training})
    save_bundle(tmp_path / "silent", spec, known.states, known.novelty, [SequenceSet(folder).sequence(7)])
    no_log = tmp_path / "no-log"
    no_log.mkdir()
    (no_log / "labels.csv").touch()
    assert main(arguments(no_log, tmp_path / "silent", tmp_path / "quiet")) == 2  # before the log is missed
    assert "does not say which objects it was trained on" in capsys.readouterr().err
    assert main(arguments(news, shipped_bundles()[0], tmp_path / "other")) != 0
    assert main(["train", "--champion", str(champion), "--output", str(tmp_path / "x")]) == 2
    assert "retraining needs --from-log, --labels too" in capsys.readouterr().err


def sure(classes: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return 0.9 * np.eye(4)[classes] + 0.025


def test_the_gate_lets_through_what_is_better_and_no_class_the_worse() -> None:
    """Better by more than chance passes; as good does not; better on the whole but worse in one class by more than
    the margin does not; neither do too few objects or a class without any."""
    random = np.random.default_rng(0)
    truth = np.arange(400) % 4
    bad = sure(np.where(random.random(400) < 0.5, truth, random.integers(4, size=400)))
    good = sure(np.where(random.random(400) < 0.9, truth, random.integers(4, size=400)))
    assert judge(Gate(), truth, bad, good)["passed"]
    assert not judge(Gate(), truth, good, good)["passed"]
    assert not judge(Gate(), truth, good, bad)["passed"]
    assert not judge(Gate(min_gain=0.6), truth, bad, good)["passed"]
    lopsided = sure(np.where((truth == 2) & (random.random(400) < 0.8), 0, truth))
    found = judge(Gate(), truth, bad, lopsided)
    assert not found["passed"]
    assert any("recall of SNOther falls" in reason for reason in found["reasons"])
    few = judge(Gate(), truth[:20], bad[:20], good[:20])
    assert any("20 objects that neither was trained on" in reason for reason in few["reasons"])
    without = truth != 3
    assert any(
        "0 objects of Variable" in r for r in judge(Gate(), truth[without], bad[without], good[without])["reasons"]
    )
    assert not judge(Gate(), truth[:0], bad[:0], good[:0])["passed"]
