"""The layer rule: imports only point down (schemas < model < train, broker_plugin)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "schemas": {"schemas"},
    "model": {"model", "schemas"},
    "train": {"train", "model", "schemas"},
    "broker_plugin": {"broker_plugin", "model", "schemas"},
}
# the command line wires everything, so its verbs may reach train (lazily)
WIRING = "broker_plugin/commands/"
FORBIDDEN_LIBRARIES = {
    "schemas": {"torch", "confluent_kafka", "prometheus_client"},
    "model": {"confluent_kafka", "prometheus_client", "argparse"},
    "train": {"confluent_kafka", "prometheus_client"},
    "broker_plugin": set(),
}
MODULES = sorted(path for layer in ALLOWED for path in (ROOT / layer).rglob("*.py"))


def imported_packages(path: Path) -> set[str]:
    packages: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            packages.add((node.module or "").split(".")[0])
    return packages


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_point_down(path: Path) -> None:
    """No module imports a layer above its own, nor a library its layer must not know."""
    relative = path.relative_to(ROOT)
    layer = relative.parts[0]
    allowed = set(ALLOWED[layer])
    if str(relative).startswith(WIRING):
        allowed.add("train")
    packages = imported_packages(path)
    assert (packages & set(ALLOWED)) <= allowed
    assert not packages & FORBIDDEN_LIBRARIES[layer]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_readable(path: Path) -> None:
    """No module grows past 300 lines: it is split before."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
