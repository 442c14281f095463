"""Settings: precedence, provenance of errors, secrets."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pydantic import BaseModel

from broker_plugin.settings.errors import example
from broker_plugin.settings.reference import example_toml
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from schemas.errors import SettingsError


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text('[classify]\nbatch_size = 7\nthreads = 2\n[output]\ntopic = "from-file"\n')
    return path


def test_flag_beats_environment_beats_file_beats_default(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key is taken from the strongest source that states it; keys of one table mix."""
    monkeypatch.setenv("CONVENTION_CLASSIFY__BATCH_SIZE", "8")
    monkeypatch.setenv("CONVENTION_OUTPUT__TOPIC", "from-env")
    settings = load_settings(settings_file, flags=["classify.batch_size=9"])
    assert settings.classify.batch_size == 9
    assert settings.output.topic == "from-env"
    assert settings.classify.threads == 2
    assert settings.classify.coalesce is Settings().classify.coalesce


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("input.topcs=x", ["input.topcs", "--set", "did you mean topics"]),
        ("classify.threads=many", ["classify.threads", "--set", "expected a whole number, such as"]),
        ("input.topics=3", ["--set input.topics)", "expected a list, such as --set 'input.topics=["]),
        ("classify.class_prior=3", ["expected a table, such as --set 'classify.class_prior={"]),
        ("nothing=1", ["section.key=value"]),
        ("input.bootstrap_servers=nowhere", ["input.bootstrap_servers", "nowhere", "HOST:PORT"]),
        ("input.bootstrap_servers=h:99999", ["h:99999"]),
        ('input.topics=["ztf_.*"]', ["input.topics", "^"]),
        ('input.topics=["^ztf_(*"]', ["regular expression"]),
        ("internal.security_protocol=SASL_SSL", ["internal", "sasl_mechanism"]),
        ("worker.heartbeat_interval_ms=40000", ["worker", "heartbeat_interval_ms"]),
    ],
)
def test_a_wrong_flag_is_named(flag: str, words: list[str]) -> None:
    """The error names the key, its source and what is wrong, in one line."""
    with pytest.raises(SettingsError) as error:
        load_settings(flags=[flag])
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_the_file_is_named_as_the_source(tmp_path: Path) -> None:
    """An unknown key of a file is reported with the file's name."""
    path = tmp_path / "bad.toml"
    path.write_text("[worker]\nmetrics_prt = 1\n")
    with pytest.raises(SettingsError, match=r"worker\.metrics_prt \(file .*bad\.toml\).*metrics_port"):
        load_settings(path)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A missing or malformed file is one clear error."""
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("[worker\n")
    with pytest.raises(SettingsError, match="is not TOML"):
        load_settings(tmp_path / "broken.toml")


def test_unknown_environment_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt section in the environment does not pass silently."""
    monkeypatch.setenv("CONVENTION_CLASIFY__THREADS", "1")
    with pytest.raises(SettingsError, match="CONVENTION_CLASIFY__THREADS is no setting"):
        load_settings()


def test_the_environment_is_named_as_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad value of the environment is reported with the variable's name."""
    monkeypatch.setenv("CONVENTION_WORKER__METRICS_PORT", "99999")
    with pytest.raises(SettingsError, match="environment variable CONVENTION_WORKER__METRICS_PORT"):
        load_settings()


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("INPUT__TOPICS", "foo", "input.topics (environment variable {}): expected a list as JSON, such as {}='[\""),
        ("INPUT__TOPICS", "3", "input.topics (environment variable {}): expected a list, such as {}='[\""),
        ("CLASSIFY__CLASS_PRIOR", "x", "classify.class_prior (environment variable {}): expected a table as JSON"),
        ("INPUT__TOPCS", "foo", "input.topcs (environment variable {}): no such setting, did you mean topics?"),
        ("INPUT__GROUP__X", "foo", "input.group (environment variable {}): expected text, such as"),
        ("INGEST__SKY__RA_MIN", "x", "ingest.sky.ra_min (environment variable {}): expected a number, such as {}="),
    ],
)
def test_a_wrong_variable_is_named_with_what_was_expected(
    key: str, text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names the key and the variable, says what was expected and shows a value that would do."""
    name = f"CONVENTION_{key}"
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert str(error.value).startswith(words.format(name, name))
    assert "\n" not in str(error.value)


def test_a_value_in_place_of_a_table_is_told_how_to_write_it(tmp_path: Path) -> None:
    """``worker = 3`` in a file is answered with the table's first lines."""
    path = tmp_path / "bad.toml"
    path.write_text("worker = 3\n")
    with pytest.raises(SettingsError, match=r"worker \(file .*\): expected a table: the line \[worker\]"):
        load_settings(path)


def test_a_setting_given_as_value_and_as_table_is_refused() -> None:
    """``--set`` of a key and of a key below it contradict each other."""
    with pytest.raises(SettingsError, match=r"classify\.threads\.x is given twice"):
        load_settings(flags=["classify.threads=1", "classify.threads.x=2"])


def test_every_setting_has_an_example_of_its_own_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an error shows as an example is itself accepted for that key, as a flag and as a variable."""
    for section, table in Settings.model_fields.items():
        assert isinstance(table.annotation, type)
        assert issubclass(table.annotation, BaseModel)
        for key in table.annotation.model_fields:
            (flag,) = shlex.split(example([section, key], "flag").partition("--set ")[2])
            assert _complaints(flags=[flag], key=f"{section}.{key}") == []
            (assigned,) = shlex.split(example([section, key], "environment").partition("such as ")[2])
            name, _, text = assigned.partition("=")
            with monkeypatch.context() as patch:
                patch.setenv(name, text)
                assert _complaints(flags=[], key=f"{section}.{key}") == []


def _complaints(*, flags: list[str], key: str) -> list[str]:
    try:
        load_settings(flags=flags)
    except SettingsError as error:  # of rules between keys only: a password alone, for one
        return [line for line in str(error).split("; ") if line.startswith(key)]
    return []


def test_secrets_never_print() -> None:
    """Neither repr nor a dump shows a password."""
    settings = load_settings(flags=["input.sasl_password=hunter2"])
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_exactly_once_needs_one_cluster() -> None:
    """Transactions cannot span clusters, so two addresses are refused at start."""
    with pytest.raises(SettingsError, match="exactly_once needs the stamp log and the output on one cluster"):
        load_settings(flags=["classify.exactly_once=true", "output.bootstrap_servers=other:9092"])


def test_the_example_file_is_current_and_holds_the_defaults() -> None:
    """deploy/config.example.toml is what the settings classes say, and loading it changes nothing."""
    path = Path(__file__).parents[2] / "deploy" / "config.example.toml"
    assert path.read_text() == example_toml()
    assert load_settings(path).model_dump() == Settings().model_dump()
