"""What deploy/ starts: every container of the compose file and of the Kubernetes manifests that runs our image."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
PROGRAM = "convention-broker"
PREFIX = "CONVENTION_"


@dataclass(frozen=True)
class Container:
    """One container of our image: ``settings`` are its CONVENTION_* variables, ``files`` what is mounted as text."""

    name: str
    image: str
    script: str
    settings: dict[str, str]
    ports: tuple[int, ...]
    mounts: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)

    @property
    def command_lines(self) -> list[list[str]]:
        """The arguments of every call of our program, shell variables and all."""
        lines = [shlex.split(line) for line in self.script.splitlines() if PROGRAM in line]
        return [line[line.index(PROGRAM) + 1 :] for line in lines]


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def manifests() -> list[tuple[Path, dict[str, Any]]]:
    """Every Kubernetes object with its file."""
    return [(path, found) for path in sorted(KUBERNETES.rglob("*.yaml")) for found in documents(path)]


def compose() -> dict[str, Any]:
    """The compose file, merged keys resolved."""
    (found,) = documents(DEPLOY / "compose.yaml")
    return found


def dockerfile_settings() -> dict[str, str]:
    """The CONVENTION_* variables that the image itself sets."""
    return dict(re.findall(rf"\b({PREFIX}\w+)=(\S+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8")))


def compose_containers() -> Iterator[Container]:
    """The services that run our image."""
    for name, service in compose()["services"].items():
        if not service["image"].startswith(PROGRAM):
            continue
        environment = service.get("environment", {})
        yield Container(
            name=f"compose-{name}",
            image=service["image"],
            script=_script(service.get("entrypoint"), service["command"]),
            settings=dockerfile_settings() | _ours(environment),
            ports=tuple(int(port) for port in service.get("expose", [])),
            mounts=tuple(volume.split(":")[1] for volume in service.get("volumes", [])),
        )


def kubernetes_containers() -> Iterator[Container]:
    """The containers and init containers of every workload; a secret's value is a stand-in."""
    found = manifests()
    maps = {d["metadata"]["name"]: d["data"] for _, d in found if d["kind"] == "ConfigMap"}
    for _, document in found:
        pod = pod_spec(document)
        if pod is None:
            continue
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            mounts = container["volumeMounts"]
            files = {
                mount["mountPath"]: maps[volumes[mount["name"]]["configMap"]["name"]][mount["subPath"]]
                for mount in mounts
                if "configMap" in volumes.get(mount["name"], {})
            }
            environment = {entry["name"]: entry.get("value", "stand-in") for entry in container.get("env", [])}
            yield Container(
                name=f"{document['kind']}-{container['name']}",
                image=container["image"],
                script=_script(container.get("command"), container["args"]),
                settings=dockerfile_settings() | _ours(environment),
                ports=tuple(port["containerPort"] for port in container.get("ports", [])),
                mounts=tuple(mount["mountPath"] for mount in mounts),
                files=files,
            )


def pod_spec(document: dict[str, Any]) -> dict[str, Any] | None:
    """The pod of a workload, None for other kinds."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: dict[str, Any] | None = spec.get("template", {}).get("spec")
    return found


def all_containers() -> list[Container]:
    """Compose's and Kubernetes's."""
    return [*compose_containers(), *kubernetes_containers()]


def _ours(environment: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in environment.items() if name.startswith(PREFIX)}


def _script(entrypoint: list[str] | None, arguments: list[str]) -> str:
    # without an entry point of its own a container runs the image's, our program
    return arguments[0] if entrypoint is not None else shlex.join([PROGRAM, *arguments])
