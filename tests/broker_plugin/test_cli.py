"""The command line as a user meets it."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker_plugin.cli import VERBS, parser_of

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "broker_plugin", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_is_fast_and_shows_an_example(verb: str) -> None:
    """``VERB --help`` answers in under 0.5 s (best of three, for a loaded machine) with an example."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        result = run(verb, "--help")
        seconds.append(time.perf_counter() - started)
        if seconds[-1] < 0.5:
            break
    assert result.returncode == 0
    assert f"convention-broker {verb}" in result.stdout.split("example:")[1]
    assert min(seconds) < 0.5


@pytest.mark.parametrize("action", ["export-log", "import-archive", "import-published", "compare"])
def test_help_of_a_training_action_shows_an_example(
    action: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``train ACTION --help`` says what the action does and shows a command that its own arguments accept."""
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        parser_of("train").parse_args([action, "--help"])
    example = capsys.readouterr().out.split("example:")[1].strip()
    command, verb, *arguments = shlex.split(example)
    assert (command, verb, arguments[0]) == ("convention-broker", "train", action)
    assert parser_of("train").parse_args(arguments).output


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_imports_no_torch(verb: str) -> None:
    """Help loads neither torch nor a Kafka client."""
    code = (
        "import sys\nfrom broker_plugin.cli import main\n"
        f"try:\n    main([{verb!r}, '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'confluent_kafka', 'astropy'} & set(sys.modules), 'heavy import'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_overview_lists_every_verb() -> None:
    """``--help`` names each verb; no argument at all is wrong usage."""
    result = run("--help")
    assert result.returncode == 0
    assert all(verb in result.stdout for verb in VERBS)
    assert run().returncode == 2


def test_wrong_usage_is_one_line() -> None:
    """An unknown verb, setting, flag, choice or action ends with status 2 and one line."""
    for arguments in (
        ["wroker"],
        ["check-config", "--set", "input.topcs=x"],
        ["networks", "--jsno"],
        ["simulate", "--survey", "hubble", "--output", "x"],
        ["bundle", "forget", "x"],
        ["demo", "--objects", "0"],
    ):
        result = run(*arguments)
        assert result.returncode == 2
        assert result.stdout == ""
        assert len(result.stderr.strip().splitlines()) == 1
        assert "Traceback" not in result.stderr


MISTAKES = {
    "unknown setting": (["worker", "--set", "classify.bundels=[]"], 2, "classify.bundels"),
    "bad address": (["worker", "--set", "input.bootstrap_servers=localhost"], 2, "is not HOST:PORT"),
    "bad address of the demo": (["demo", "--broker", "localhost"], 2, "is not HOST:PORT"),
    "unknown host": (
        ["worker", "--role", "ingest", "--set", "internal.bootstrap_servers=broker.invalid:9092"],
        1,
        "Failed to resolve",
    ),
    "missing bundle": (
        ["worker", "--set", 'classify.bundles=["/nowhere/bundle"]'],
        1,
        "/nowhere/bundle: no such bundle",
    ),
    "missing bundle to check": (
        ["check-config", "--set", 'classify.bundles=["/nowhere/bundle"]'],
        2,
        "classify.bundles: /nowhere/bundle: no such bundle",
    ),
    "missing certificate": (
        ["check-config", "--set", "input.ssl_ca_location=/nowhere/ca.pem"],
        2,
        "input.ssl_ca_location: /nowhere/ca.pem: no such file",
    ),
    "missing settings file": (["worker", "--config", "/nowhere/settings.toml"], 2, "/nowhere/settings.toml"),
    "missing archive": (["decode", "/nowhere/alerts.tar"], 2, "/nowhere/alerts.tar"),
    "missing archive to replay": (
        ["replay", "/nowhere/alerts.tar", "--output", "/nowhere/out"],
        2,
        "/nowhere/alerts.tar",
    ),
    "missing records": (["evaluate", "/nowhere/records", "--truth", "/nowhere/truth.csv"], 1, "/nowhere"),
    "unknown reason": (["redrive", "--reason", "bad_luck"], 2, "--reason bad_luck: expected one of bad_avro"),
    "no number": (["demo", "--objects", "x"], 2, "--objects: expected a whole number from 1, such as 24, not 'x'"),
    "no seed": (["simulate", "--output", "x", "--seed", "x"], 2, "--seed: expected a whole number, not 'x'"),
    "unknown time": (["redrive", "--since", "yesterday"], 2, "--since 'yesterday': expected"),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_mistake_is_one_clear_line(mistake: str) -> None:
    """What is wrong, in one line on standard error, nothing on standard output, and a status that is not 0."""
    arguments, status, words = MISTAKES[mistake]
    result = run(*arguments)
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("convention-broker: error: ")
    assert words in line


def test_an_unreadable_archive_is_named(tmp_path: Path) -> None:
    """A file that is no archive is told of in one line and status 1, never in a traceback."""
    path = tmp_path / "alerts.tar.gz"
    path.write_bytes(b"\x1f\x8b" + bytes(100))
    for arguments in (["decode", str(path)], ["replay", str(path), "--output", str(tmp_path / "out")]):
        result = run(*arguments)
        assert result.returncode == 1, (arguments, result.stdout, result.stderr)
        assert "Traceback" not in result.stderr
        assert any(str(path) in line for line in (result.stdout + result.stderr).splitlines())


def test_an_output_that_is_no_folder_is_named(tmp_path: Path) -> None:
    """A place that cannot be written to is one line and status 1."""
    (tmp_path / "file").write_text("")
    archive = tmp_path / "alert.avro"
    archive.write_bytes(b"")
    result = run("replay", str(archive), "--output", str(tmp_path / "file" / "out"))
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("convention-broker: error: ")
    assert str(tmp_path / "file") in line


def test_check_config_prints_stars() -> None:
    """``check-config`` shows what would run, without secrets."""
    result = run("check-config", "--set", "input.sasl_password=hunter2")
    assert result.returncode == 0
    assert "hunter2" not in result.stdout
    assert "sasl_password" in result.stdout
