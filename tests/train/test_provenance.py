"""What a run's folder and a bundle's card say of where it came from."""

from __future__ import annotations

import shlex
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest

from broker_plugin.cli import main, parser_of
from broker_plugin.commands.training import command_line
from schemas.errors import SettingsError
from tests.train.toy_sets import toy_observations, toy_recipe
from train.dataset import simulated
from train.fact_set import write_snapshot
from train.label_table import read_labels
from train.pipeline import Provenance, train_bundle
from train.prepare import load_sets, sequence_folders
from train.simulator.sequence_set import SequenceSet


def ignore(*_: object) -> None:
    pass


def write_labels(path: Path, classes: list[str]) -> Path:
    rows = [f"seen{index},{name}" for index, name in enumerate(classes)]
    path.write_text("\n".join(["object_id,class", *rows]) + "\n", encoding="utf-8")
    return path


def snapshot(folder: Path, num_objects: int) -> list[Path]:
    values = [one.to_bytes() for index in range(num_objects) for one in toy_observations(f"seen{index}", index, 0)]
    return list(write_snapshot(folder, values, {"topic": "toy"}).sets)


def test_a_set_is_said_with_the_digests_of_table_and_mapping(tmp_path: Path) -> None:
    """The entry of a labelled set names both files by the SHA-256 of their bytes: the shipped mapping's too."""
    sets = snapshot(tmp_path / "log", 4)
    table = write_labels(tmp_path / "labels.csv", ["SN Ia", "QSO", "QSO", "SN Ia"])
    _, (said,) = load_sets(sets, read_labels(table))
    assert said["labels"] == str(table)
    assert said["labels_sha256"] == sha256(table.read_bytes()).hexdigest()
    shipped = files("train").joinpath("tables/class_names.csv").read_bytes()
    assert said["class_mapping_sha256"] == sha256(shipped).hexdigest()
    mapping = tmp_path / "mapping.csv"
    mapping.write_text("name,class\nQSO,AGN\nSN Ia,SNIa\n", encoding="utf-8")
    _, (said,) = load_sets(sets, read_labels(table, mapping))
    assert said["class_mapping_sha256"] == sha256(mapping.read_bytes()).hexdigest()


@pytest.mark.parametrize("changed", ["labels_sha256", "class_mapping_sha256"])
def test_a_run_is_not_continued_with_another_table_or_mapping(toy_set: Path, tmp_path: Path, changed: str) -> None:
    """A run whose table or mapping has other bytes is refused, though path and class counts are the same."""
    data, recipe = simulated(SequenceSet(toy_set)), toy_recipe()
    said = {"labels": "labels.csv", "labels_sha256": "a", "class_mapping_sha256": "b"}

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    def run(**differing: str) -> None:
        provenance = Provenance({"sets": [said | differing]}, "toy", "0")
        train_bundle(recipe, data, tmp_path / "run", provenance, say=ignore, progress=stopped)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run()
    with pytest.raises(SettingsError, match="holds a run of another data"):
        run(**{changed: "c"})


def test_the_command_is_what_a_shell_takes() -> None:
    """Every option that decides what is in a bundle is in the command; a shell's words of it are the arguments as
    given; a log that was read is named by its snapshot."""
    given = ["--recipe", "my recipe.toml", "--with", "network.config={ trees = 5 }", "--data", "my data"]
    given += ["--labels", "new labels.csv", "--class-mapping", "map.csv"]
    retraining = ["--from-log", "log", "--champion", "my bundles", "--label-cutoff", "2027-01-02 00:00"]
    retraining += ["--bundle-version", "1.0-r1"]
    for words in (given, [*given, *retraining]):
        said = command_line(parser_of("train").parse_args([*words, "--output", "out"]))
        assert shlex.split(said) == ["convention-broker", "train", *words, "--output", "DIR"]
    read = parser_of("train").parse_args([*given, "--champion", "store", "--output", "out", "--from-log"])
    assert "--from-log out/snapshot --champion store" in command_line(read)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ("", "labels.csv: 0 rows below the header"),
        ("seen0,Galaxy\n", "labels.csv: 1 rows, all of classes that the mapping ignores"),
        (
            "SEEN-0,QSO\nSEEN-1,QSO\n",
            "0 of its 2 objects are among the 3 of the sets.*has SEEN-0, the sets have seen0",
        ),
    ],
)
def test_a_table_that_names_nothing_is_refused_with_its_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, fault: str
) -> None:
    """A table of no rows, of ignored ones, or of ids that no set has: the numbers, and an id of either side."""
    snapshot(tmp_path / "log", 3)
    table = tmp_path / "labels.csv"
    table.write_text(f"object_id,class\n{rows}", encoding="utf-8")
    with pytest.raises(SettingsError, match=fault):
        load_sets(sequence_folders([tmp_path / "log"]), read_labels(table))
    asked = ["train", "--recipe", "debug", "--data", str(tmp_path / "log"), "--labels", str(table)]
    assert main([*asked, "--output", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "labels.csv" in line
