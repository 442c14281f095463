"""The ``train`` verb's ways to make training sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker_plugin.cli import main
from schemas.errors import SettingsError
from train.compare.plan import load_plan
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


def test_a_folder_of_simulate_is_an_archive(
    small_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Truth table and sequences beside the packets are no packets: they are passed over, with their number, by
    ``import-archive`` and ``decode``."""
    assert main(["train", "import-archive", str(small_set), "--output", str(tmp_path / "snapshot")]) == 0
    printed = capsys.readouterr()
    num_frames = SequenceSet(small_set / "sequences").about["num_frames"]
    assert printed.out.splitlines()[-1] == f"{num_frames} stamped"
    others = [path for path in small_set.rglob("*") if path.is_file() and path.name != "packets.kcat"]
    (line,) = printed.err.splitlines()
    assert line.startswith(f"{len(others)} files that are no packets by their names (.csv, .f2, .json, .npy, .rec")
    assert main(["decode", str(small_set), "--json"]) == 0
    printed = capsys.readouterr()
    packets = [json.loads(line) for line in printed.out.splitlines()]
    assert len(packets) == num_frames
    # such a packet has no difference image: nothing, not 0, is its sum
    assert {(packet["outcome"], packet["flux_sum_njy"], packet["num_valid"] > 0) for packet in packets} == {
        ("stamp", None, True)
    }
    assert "dead_letter" not in printed.out
    assert printed.err.splitlines() == [line]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--recipe", "BINARY"], "not a TOML file: it is no text in UTF-8"),
        (["--recipe", "debug", "--output", "BINARY"], "--output BINARY: is a file, expected a folder"),
        (["compare", "--plan", "BINARY"], "not a TOML file: it is no text in UTF-8"),
        (["compare", "--row", "TYPO"], "the plan has no row TYPO: expected "),
        (["--recipe", "debug", "--with", "bundle.name=../evil"], "bundle.name: '../evil' is not made of"),
        (["--recipe", "debug", "--with", "bundle.version=1/2"], "bundle.version: '1/2' is not made of"),
        (["--recipe", "debug", "--with", 'network.bands=["q"]'], "network.bands: unknown band 'q'"),
        (["--recipe", "debug", "--with", "view.min_frames=37"], "view: min_frames 37 is more than max_frames 36"),
        (["--recipe", "debug", "--output", "BINARY/run"], "--output BINARY/run: BINARY is a file, expected a folder"),
        (["compare", "--output", "BINARY"], "--output BINARY: is a file, expected a folder"),
        (["compare", "--output", "new", "--work", "BINARY"], "--work BINARY: is a file, expected a folder"),
        (["compare", "--output", "BESIDE"], "--work BINARY: is a file, expected a folder"),
        (["import-published", ".", "--output", "BINARY"], "--output BINARY: is a file, expected a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], fault: str
) -> None:
    """A file that is no text, a row that the plan has not, a bundle's name or a view that no bundle may have, an
    output or work folder that is a file or under one: one line, and nothing is written."""
    binary = tmp_path / "run.work"
    binary.write_bytes(b"\x89PNG\xff\xfe")
    words = [word.replace("BINARY", str(binary)).replace("BESIDE", str(tmp_path / "run")) for word in arguments]
    output = [] if "--output" in words else ["--output", str(tmp_path / "out")]
    assert main(["train", *words, *output]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert fault.replace("BINARY", str(binary)) in line
    assert list(tmp_path.iterdir()) == [binary]


@pytest.mark.parametrize("option", ["--threads", "--workers"])
@pytest.mark.parametrize("action", [[], ["compare"]])
def test_numbers_of_threads_and_processes_are_from_one(
    action: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 is refused with what is expected."""
    with pytest.raises(SystemExit, match="2"):
        main(["train", *action, "--output", "x", option, "0"])
    assert "expected a whole number from 1, such as 24, not '0'" in capsys.readouterr().err


def test_an_unknown_key_of_a_plan_is_told_with_the_keys_there_are(tmp_path: Path) -> None:
    """In a section, in a table of sections, in a list of them, in a row's recipe."""
    plan = '[base]\n[test]\nsplitt="test"\n[rows.one]\ntitel="x"\ntitle="x"\n[[trials]]\nrate=1\n'
    (tmp_path / "plan.toml").write_text(plan)
    with pytest.raises(SettingsError) as raised:
        load_plan(str(tmp_path / "plan.toml"))
    for words in (
        "test.splitt: no such key: expected one of survey, num_objects,",
        "rows.one.titel: no such key: expected one of title, kind,",
        "trials.0.rate: no such key: expected one of learning_rate, weight_decay",
    ):
        assert words in str(raised.value)
