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
# the rooms of broker_plugin, from the ground up: each imports only rooms that stand before it
ROOMS = (
    *("version", "messages", "settings", "kafka", "telemetry", "accounts", "store", "worker", "evaluation"),
    *("api", "fink", "replay", "demo", "testing", "commands", "cli", "reference_pages", "__main__"),
)
MODULES = sorted(path for layer in ALLOWED for path in (ROOT / layer).rglob("*.py"))


def imported_names(path: Path) -> set[str]:
    """Dotted names of everything that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_point_down(path: Path) -> None:
    """No module imports a layer above its own, nor a library its layer must not know."""
    relative = path.relative_to(ROOT)
    layer = relative.parts[0]
    allowed = set(ALLOWED[layer])
    if str(relative).startswith(WIRING):
        allowed.add("train")
    packages = {name.split(".")[0] for name in imported_names(path)}
    assert (packages & set(ALLOWED)) <= allowed
    assert not packages & FORBIDDEN_LIBRARIES[layer]


def room_of(path: Path) -> str:
    """The folder or single module below broker_plugin/."""
    return path.relative_to(ROOT / "broker_plugin").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "broker_plugin").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_rooms_import_only_those_below(path: Path) -> None:
    """Within broker_plugin data flows one way too: no room knows one above itself."""
    if path == ROOT / "broker_plugin" / "__init__.py":
        return
    own = ROOMS.index(room_of(path))
    for name in imported_names(path):
        package, _, rest = name.partition(".")
        if package == "broker_plugin":
            room = rest.split(".")[0]
            assert ROOMS.index(room) <= own, f"{path.relative_to(ROOT)} imports {room}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_readable(path: Path) -> None:
    """No module grows past 300 lines: it is split before."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
