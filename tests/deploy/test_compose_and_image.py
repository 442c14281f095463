"""The compose file, the Dockerfile and the systemd unit, as far as they can be checked without an engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from tests.deploy.containers import DEPLOY, ROOT, compose, documents

COMPOSE = compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
YAML_FILES = sorted([*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")])


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_yaml_parses(path: Any) -> None:
    """Every YAML file below deploy/ parses and says something."""
    assert documents(path)


def compose_schema() -> dict[str, Any]:
    """The compose specification's schema, as the package check-jsonschema ships it."""
    path = files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_compose_has_its_schema() -> None:
    """The compose specification's schema accepts the file, and refuses one with a misspelt key."""
    schema = compose_schema()
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    misspelt = COMPOSE | {"services": {"ingest": SERVICES["ingest"] | {"healthchek": {}}}}
    assert not validator.is_valid(misspelt)


def test_services_wait_for_what_exists() -> None:
    """Each dependency is a service with a health check, or one that ends; each long-lived one is checked."""
    for name, service in SERVICES.items():
        ends = service["restart"] == "on-failure"
        assert ends or "healthcheck" in service, name
        for wanted, how in service.get("depends_on", {}).items():
            expected = (
                "service_completed_successfully" if SERVICES[wanted]["restart"] == "on-failure" else "service_healthy"
            )
            assert how == {"condition": expected}, (name, wanted)


def test_addresses_are_those_of_services() -> None:
    """Kafka, registry and scrape addresses name a service of the file and a port that it listens on."""
    listens = {"kafka": {9092, 9093, 9094}, "schema-registry": {8081}, "ingest": {9464}, "classify": {9465}}
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            for host, port in re.findall(r"\b(kafka|schema-registry):(\d+)", str(value)):
                assert int(port) in listens[host], (name, value)
    (config,) = documents(DEPLOY / "compose" / "prometheus.yml")
    (job,) = config["scrape_configs"]
    (of_one_machine,) = documents(DEPLOY / "prometheus" / "prometheus.yml")
    assert job["job_name"] == of_one_machine["scrape_configs"][0]["job_name"]
    for found in job["dns_sd_configs"]:
        assert {found["port"]} == listens[found["names"][0]]
    assert {found["names"][0] for found in job["dns_sd_configs"]} == {"ingest", "classify"}


def test_mounts_are_there() -> None:
    """Named volumes are declared, folders and files of the repository exist, and ports are on loopback only."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


@pytest.mark.prometheus
def test_promtool_accepts_the_scrape_configuration_of_compose(tmp_path: Any) -> None:
    """Laid out as the container sees it, the configuration and the rules that it names pass Prometheus's own tool."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    for volume in SERVICES["prometheus"]["volumes"]:
        source, target = volume.split(":")[:2]
        if source.startswith("./"):
            place = tmp_path / target.removeprefix("/etc/prometheus/")
            (shutil.copytree if (DEPLOY / source).is_dir() else shutil.copy)(DEPLOY / source, place)
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
    assert "rules found" in done.stdout


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest), continued lines joined, comments left out."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in joined]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the build: the last line that matches says so."""
    found = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            if fnmatch(path, pattern) or fnmatch(path, pattern.removeprefix("**/")):
                found = not line.startswith("!")
    return found


def test_the_image_is_built_in_stages_and_runs_as_a_user() -> None:
    """Two stages; the last takes the finished environment only, and ends with a numeric user that is not root."""
    found = instructions()
    stages = [rest.split(" AS ")[1] for instruction, rest in found if instruction == "FROM"]
    assert stages == ["build", "runtime"]
    last = found[max(i for i, (instruction, _) in enumerate(found) if instruction == "FROM") :]
    assert [rest for instruction, rest in last if instruction == "COPY"] == [
        "--from=build /opt/convention /opt/convention"
    ]
    assert [rest for instruction, rest in last if instruction == "USER"] == ["10001:10001"]
    assert not [rest for instruction, rest in last if "pip install" in rest]
    values = dict(last)
    assert values["ENTRYPOINT"] == json.dumps(["convention-broker"])
    assert values["EXPOSE"] == "9464 9465"
    assert values["STOPSIGNAL"] == "SIGTERM"


def test_the_image_installs_what_the_tests_ran_with() -> None:
    """Every install is held by constraints.txt, torch at its pinned version, from the index of a build argument."""
    installs = [rest for instruction, rest in instructions() if instruction == "RUN" and "pip install" in rest]
    assert len(installs) == 2
    assert "${TORCH_BUILD}" in installs[0]
    assert "grep '^torch==' constraints.txt" in installs[0]
    assert "--constraint constraints.txt" in installs[1]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len([pin for pin in pins if pin.startswith("torch==")]) == 1
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (wanted,) = re.findall(r"\.\[([\w,]+)\]", installs[1])
    assert set(wanted.split(",")) <= set(extras)
    arguments = [rest for instruction, rest in instructions() if instruction == "ARG"]
    assert arguments == ["PYTHON_VERSION=3.11", "TORCH_BUILD=cpu"]


def test_what_is_copied_exists_and_is_sent() -> None:
    """Each copied path exists and .dockerignore lets it through; every package is copied, and little else is sent."""
    copied = [
        source
        for instruction, rest in instructions()
        if instruction == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    for source in copied:
        assert (ROOT / source).exists()
        assert not ignored(source), source
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert {name.removesuffix("*") for name in packages["packages"]["find"]["include"]} <= set(copied)
    assert all(ignored(path) for path in ("tests", ".git", "docs", ".venv", "deploy", "train/__pycache__"))


def test_the_unit_is_one(tmp_path: Any) -> None:
    """systemd itself finds nothing wrong with the unit, once its program is somewhere."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    text = (DEPLOY / "systemd" / "convention-broker@.service").read_text(encoding="utf-8")
    unit = tmp_path / "convention-broker@ingest.service"
    unit.write_text(text.replace("/opt/convention/bin/convention-broker", "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(unit) not in done.stdout + done.stderr
