"""What deploy/ says to our program is what our program understands."""

from __future__ import annotations

import os
import shlex
import tomllib
from pathlib import Path

import pytest

from broker_plugin.cli import VERBS, parser_of
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from tests.deploy.containers import DEPLOY, PREFIX, PROGRAM, ROOT, Container, all_containers

CONTAINERS = all_containers()
UNIT = DEPLOY / "systemd" / "convention-broker@.service"
DRAIN_MARGIN_S = 5


def settings_of(container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that the container's first command would run with."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in container.settings.items():
        monkeypatch.setenv(name, value)
    arguments = container.command_lines[0]
    file = None
    if "--config" in arguments:
        file = folder / "settings.toml"
        file.write_text(container.files[arguments[arguments.index("--config") + 1]], encoding="utf-8")
    return load_settings(file)


def test_the_expected_containers_are_found() -> None:
    """The parametrised tests below are not silently empty."""
    assert {container.name for container in CONTAINERS} >= {
        "compose-ingest",
        "compose-classify",
        "compose-simulate",
        "compose-replay",
        "Deployment-ingest",
        "StatefulSet-classify",
        "CronJob-retraining",
    }


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.name)
def test_every_command_line_parses(container: Container) -> None:
    """Each call of our program in a container has a verb and arguments that the command line accepts."""
    assert container.command_lines
    for verb, *arguments in container.command_lines:
        assert verb in VERBS
        parser_of(verb).parse_args(arguments)


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.name)
def test_every_setting_exists_and_fits(container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the image and of the container, and the mounted file, are valid settings when taken together."""
    settings = settings_of(container, tmp_path, monkeypatch)
    if container.command_lines[0][0] == "worker":
        assert settings.worker.metrics_host == "0.0.0.0"  # a probe comes from outside the container
        role = container.command_lines[0][2]
        assert container.ports == (settings.worker.metrics_port + ("ingest", "classify").index(role),)
        if role == "classify":
            assert str(settings.classify.state_dir) in container.mounts
            assert settings.worker.instance_id is not None
            assert settings.worker.heartbeat_interval_ms * 3 <= settings.worker.session_timeout_ms


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.name)
def test_the_image_is_the_version_that_is_built(container: Container) -> None:
    """Every container runs the image that the Dockerfile's first lines build, tagged with the project's version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert container.image == f"{project['name']}:{project['version']}"
    assert f"--tag {container.image} ." in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_retraining_promotes_where_classify_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The champion of the CronJob, into whose store a challenger is promoted, is the store that classify watches."""
    by_name = {container.name: container for container in CONTAINERS}
    classify = settings_of(by_name["StatefulSet-classify"], tmp_path, monkeypatch).classify
    trainings = [line for line in by_name["CronJob-retraining"].command_lines if "--champion" in line]
    assert {(Path(line[line.index("--champion") + 1]),) for line in trainings} == {classify.bundles}
    (promotion,) = by_name["StatefulSet-bundle"].command_lines
    assert (Path(promotion[promotion.index("--store") + 1]),) == classify.bundles


def test_the_unit_starts_what_exists() -> None:
    """The systemd unit's commands parse, its settings exist, and it waits for longer than a worker drains."""
    lines = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    values = [line.split("=", 1) for line in lines if "=" in line]
    commands = [shlex.split(value) for key, value in values if key.startswith("ExecStart")]
    assert len(commands) == 2
    for program, verb, *arguments in commands:
        assert Path(program).name == PROGRAM
        parser_of(verb).parse_args([argument.replace("%i", "ingest") for argument in arguments])
    environment = dict(
        assignment.split("=", 1) for key, value in values if key == "Environment" for assignment in value.split()
    )
    for name in environment:
        if name.startswith(PREFIX):
            section, key = name.removeprefix(PREFIX).lower().split("__")
            assert key in type(getattr(Settings(), section)).model_fields, name
    (stop_s,) = [int(value) for key, value in values if key == "TimeoutStopSec"]
    assert stop_s >= Settings().worker.drain_deadline_s + DRAIN_MARGIN_S
