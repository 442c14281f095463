"""Offline replay: what it writes, and that an interrupted one loses and doubles nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker_plugin.cli import main
from broker_plugin.evaluation.stamp_archive import StampLogValue
from broker_plugin.replay.offline import OfflineOptions
from broker_plugin.replay.parts import Part
from broker_plugin.replay.stream import StreamOptions
from schemas.archive.faults import Faults
from schemas.archive.selection import Selection
from schemas.errors import SettingsError, StoreError
from tests.archive.archives import container, packets, tar
from tests.replay.support import COARSE, part_contents, record_rows, replay, values_by_object

ROOT = Path(__file__).parents[2]
PACKETS = packets(9, 7)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A tar of 63 packets of nine objects, one packet damaged, one member's header damaged."""
    members = {f"{number:03d}.avro": payload for number, payload in enumerate(PACKETS)}
    members["030.avro"] = PACKETS[30][:-50]
    data = bytearray(tar(members))
    data[data.index(b"050.avro")] = 0xFF
    path = tmp_path / "night.tar"
    path.write_bytes(data)
    return path


def test_parts_hold_every_packet_once(tmp_path: Path, archive: Path) -> None:
    """Each readable packet is a stamp with its place in the archive, each stamp a record, the rest is a problem."""
    checkpoint = replay(tmp_path / "out", [archive])
    assert checkpoint.done
    assert checkpoint.num_packets == 62
    assert checkpoint.counts["ingest.stamped"] == 61
    assert checkpoint.counts["ingest.dead_letter:bad_container"] == 1
    assert checkpoint.counts["archive.damaged"] == 1
    assert sum(count for name, count in checkpoint.counts.items() if name.startswith("classify.")) == 61
    rows = record_rows(tmp_path / "out")
    assert [row["log_offset"] for row in rows] == [place for place in range(62) if place != 30]
    assert {row["num_frames"] for row in rows} == set(range(1, 8))
    files = sorted((tmp_path / "out").glob("problems-*"))
    problems = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert [(problem["problem"], problem["path"].rpartition("!")[2]) for problem in problems] == [
        ("dead_letter", "030.avro"),
        ("damage", str(archive)),
    ]


@pytest.mark.parametrize("suffix", [".avro", ".parquet", ".jsonl"])
def test_formats_say_the_same(tmp_path: Path, archive: Path, suffix: str) -> None:
    """A record read back from any format has the same bytes as a classification."""
    replay(tmp_path / "avro", [archive])
    options = OfflineOptions(suffix, part_packets=20, batch_packets=8)
    replay(tmp_path / "other", [archive], options=options)
    assert values_by_object(tmp_path / "other") == values_by_object(tmp_path / "avro")


def test_parts_batches_and_shards_change_nothing(tmp_path: Path, archive: Path) -> None:
    """However the stream is cut into parts, batches and shards, the records are the same."""
    replay(tmp_path / "small", [archive])
    replay(tmp_path / "large", [archive], options=OfflineOptions(part_packets=1000, batch_packets=500), num_shards=1)
    assert record_rows(tmp_path / "small") == record_rows(tmp_path / "large")


@pytest.mark.timeout(180)
def test_killed_anywhere_it_goes_on(tmp_path: Path, archive: Path) -> None:
    """Killed by SIGKILL at its first, second, third ... event, each time started again: the files are in the end
    those of a replay that nothing interrupted."""
    replay(tmp_path / "whole", [archive], options=COARSE)
    folder = tmp_path / "killed"
    last, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        last += 1
        command = [sys.executable, "-m", "tests.replay.dying_replay", str(folder), str(archive), str(last)]
        status = subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode
        assert last < 40
    assert status == 0
    assert last > 6
    assert part_contents(folder) == part_contents(tmp_path / "whole")


@pytest.mark.parametrize("order", ["archive", "time"])
def test_faults_change_no_last_record(tmp_path: Path, archive: Path, order: str) -> None:
    """Shuffled, repeated and late packets, interrupted twice: the last record of every object stays the same."""
    replay(tmp_path / "plain", [archive])
    faults = Faults(window=10, duplicate=0.3, delay=0.3, reach=25, seed=4)
    options = StreamOptions(order="time" if order == "time" else "archive", faults=faults)

    class Interrupted(Exception):
        pass

    def interrupt(after: int) -> None:
        def moved(num_packets: int) -> None:
            if num_packets > after:
                raise Interrupted

        with pytest.raises(Interrupted):
            replay(tmp_path / "faulty", [archive], stream_options=options, moved=moved)

    interrupt(30)
    interrupt(60)
    checkpoint = replay(tmp_path / "faulty", [archive], stream_options=options)
    assert checkpoint.counts["classify.duplicate"] > 5
    plain, faulty = values_by_object(tmp_path / "plain"), values_by_object(tmp_path / "faulty")
    assert {name: values[-1] for name, values in faulty.items()} == {
        name: values[-1] for name, values in plain.items()
    }
    assert faulty != plain


def test_only_what_is_selected_is_replayed(tmp_path: Path, archive: Path) -> None:
    """A selection of two objects gives their records alone, the same as without it."""
    replay(tmp_path / "all", [archive])
    everything = values_by_object(tmp_path / "all")
    chosen = sorted(everything)[:2]
    options = StreamOptions(selection=Selection(objects=frozenset(chosen)))
    replay(tmp_path / "two", [archive], stream_options=options)
    assert values_by_object(tmp_path / "two") == {name: everything[name] for name in chosen}


def test_a_finished_replay_is_left_alone(tmp_path: Path, archive: Path) -> None:
    """The same job again changes no file."""
    replay(tmp_path / "out", [archive])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    replay(tmp_path / "out", [archive])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_another_job_is_refused(tmp_path: Path, archive: Path) -> None:
    """A folder that holds the replay of another selection or archive is not touched, and the message says why."""
    replay(tmp_path / "out", [archive])
    with pytest.raises(SettingsError, match="selection"):
        replay(tmp_path / "out", [archive], stream_options=StreamOptions(selection=Selection(first_mjd=1.0)))
    archive.write_bytes(archive.read_bytes()[:-1024])
    with pytest.raises(SettingsError, match="files"):
        replay(tmp_path / "out", [archive])


def test_a_lost_state_is_said(tmp_path: Path, archive: Path) -> None:
    """Going on without the stored frames would give shorter sequences: it is refused."""

    def moved(num_packets: int) -> None:
        if num_packets > 45:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(tmp_path / "out", [archive], moved=moved)
    (tmp_path / "out/.replay/store-1.sqlite").unlink()
    with pytest.raises(StoreError, match="replay anew"):
        replay(tmp_path / "out", [archive])


def test_the_verb_replays_a_container(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``replay`` with the shipped bundle, and ``evaluate``'s files in the end."""
    path = tmp_path / "many.avro"
    path.write_bytes(container(packets(4, 4)))
    command = ["replay", str(path), "--output", str(tmp_path / "out"), "--format", "jsonl", "--json"]
    assert main(command) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["num_packets"] == 16
    assert summary["counts"]["classify.too_short:frames"] == 8
    assert len(record_rows(tmp_path / "out")) == 16
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == summary


@pytest.mark.parametrize(
    ("members", "selection", "counts", "complaint"),
    [
        ([PACKETS[0][:-50], b"hello"], [], {"ingest.dead_letter:bad_container": 1}, "can be read"),
        ([], [], {"archive.damaged": 1}, "can be read"),
        (PACKETS[:3], ["--object", "nobody"], {}, "the selection took none of the 3 packets"),
    ],
    ids=["dead letters", "damage", "not selected"],
)
def test_a_replay_of_nothing_fails(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    members: list[bytes],
    selection: list[str],
    counts: dict[str, int],
    complaint: str,
) -> None:
    """An archive of nothing but dead letters or damage, or of nothing that is selected, is summed up and ends with
    status 1 and one line that says why, at each call."""
    path = tmp_path / "night.tar"
    path.write_bytes(tar({f"{n}.avro": payload for n, payload in enumerate(members)}) if members else b"x" * 1500)
    for _ in range(2):
        assert main(["replay", str(path), "--output", str(tmp_path / "out"), "--json", *selection]) == 1
        printed = capsys.readouterr()
        assert counts.items() <= json.loads(printed.out)["counts"].items()
        (line,) = printed.err.splitlines()
        assert complaint in line
        assert str(path) in line


@pytest.mark.parametrize(
    "arguments", [["replay", "", "--output", "x"], ["decode", ""], ["train", "import-archive", "", "--output", "x"]]
)
def test_an_empty_path_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A variable that is not set names no folder, and above all not the current one."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "an empty path: is a variable not set?" in capsys.readouterr().err


def test_a_replay_of_an_empty_folder_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one line with status 1, and no output is begun."""
    (tmp_path / "empty").mkdir()
    assert main(["replay", str(tmp_path / "empty"), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"convention-broker: error: {tmp_path / 'empty'}: holds no file\n"
    assert not (tmp_path / "out").exists()


def test_an_interrupted_first_part_goes_on(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C before a part is whole leaves a folder in which the same command goes on, and no other."""
    command = ["replay", str(archive), "--output", str(tmp_path / "out")]

    def interrupted(self: Part, stamp: StampLogValue) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Part, "stamp", interrupted)
        assert main(command) == 1
    assert capsys.readouterr().err == "convention-broker: error: interrupted\n"
    assert list((tmp_path / "out").glob("*.partial"))
    assert main([*command, "--survey", "ztf"]) == 2
    assert "of another replay (it differs in selection)" in capsys.readouterr().err
    assert main(command) == 0
    assert main([*command[:-1], str(tmp_path / "whole")]) == 0
    assert part_contents(tmp_path / "out") == part_contents(tmp_path / "whole")


WITH_HELPERS = """
import sys
from broker_plugin.cli import main
from broker_plugin.replay import offline_job
offline_job.SMALL_BYTES = 0
if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.timeout(240)
def test_a_killed_verb_goes_on(tmp_path: Path) -> None:
    """With decoding and each shard in a process of its own, killed once a part is whole: the same command finishes
    the files of an undisturbed replay in one process, and waits for what the killed one's helpers still hold."""
    path = tmp_path / "night.tar"
    path.write_bytes(tar({f"{number:03d}.avro": payload for number, payload in enumerate(packets(12, 6))}))
    script = tmp_path / "with_helpers.py"
    script.write_text(WITH_HELPERS)
    command = [sys.executable, str(script), "replay", str(path), "--part", "24", "--output"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed/.replay/checkpoint.json"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() or not json.loads(checkpoint.read_text())["num_parts"]:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert len(json.loads(checkpoint.read_text())["shards"]) == min(len(os.sched_getaffinity(0)), 8)
    assert subprocess.run([*command, str(tmp_path / "killed")], env=environment, check=True, timeout=120)
    assert main(["replay", str(path), "--part", "24", "--output", str(tmp_path / "whole")]) == 0
    assert len(list((tmp_path / "whole").glob("records-*"))) == 3
    assert part_contents(tmp_path / "killed") == part_contents(tmp_path / "whole")


def test_time_order_leaves_nothing_behind(tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In time order the triggers' times ascend; the index goes once the replay is done, and what was not selected is
    still known then."""
    target = ["--output", str(tmp_path / "out"), "--json"]
    command = ["replay", str(archive), "--order", "time", "--until", "1e5", *target]
    assert main(command) == 0
    times = [row["trigger_mjd"] for row in record_rows(tmp_path / "out")]
    assert times == sorted(times)
    first = json.loads(capsys.readouterr().out)
    assert first["num_left_out"] == 1  # the damaged packet states no time
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == first
    left = {path.name for path in (tmp_path / "out/.replay").iterdir()}
    assert left == {"checkpoint.json", "store-0.sqlite", "store-0.sqlite.lock"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "yesterday"], "--from 'yesterday'"),
        (["--until", "20240101"], "--until '20240101': expected an MJD or an ISO 8601 date: MJD 20240101 is not"),
        (["--from", "9999-12-31"], "is not between 1900 and 2200"),
        (["--from", "nan"], "MJD nan is not between"),
        (["--cone", "1,2"], "--cone '1,2'"),
        (["--survey", "sdsss"], "--survey sdsss"),
        (["--duplicate", "2"], "duplicate and delay from 0 to 1"),
        (["--part", "0"], "--part"),
    ],
)
def test_wrong_arguments_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """A wrong argument ends with status 2 and its name."""
    assert main(["replay", str(tmp_path), "--output", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_with_other_records_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Record files that no checkpoint vouches for are never overwritten."""
    (tmp_path / "one.avro").write_bytes(PACKETS[0])
    (tmp_path / "records-00000.avro").write_bytes(b"precious")
    assert main(["replay", str(tmp_path / "one.avro"), "--output", str(tmp_path)]) == 2
    assert "another --output" in capsys.readouterr().err
    assert (tmp_path / "records-00000.avro").read_bytes() == b"precious"
