"""Shipped TOML files and a user's own."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from schemas.errors import SettingsError


def shipped_names(folder: str) -> tuple[str, ...]:
    """Names of the files that ship in ``train/FOLDER``, without suffix."""
    entries = (entry.name for entry in files("train").joinpath(folder).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in entries if name.endswith(".toml")))


def read_toml(folder: str, kind: str, name: str) -> dict[str, Any]:
    """Values of a shipped file of ``train/FOLDER`` by name, or of a file by path; kind: ``recipe`` or ``plan``, the
    option's name too. SettingsError when there is no such file, or it is no TOML."""
    shipped = shipped_names(folder)
    if name in shipped:
        return tomllib.loads(files("train").joinpath(f"{folder}/{name}.toml").read_text(encoding="utf-8"))
    if not Path(name).is_file():
        raise SettingsError(f"--{kind} {name}: neither a file nor one of {', '.join(shipped)}")
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{kind} {name}: not a TOML file: it is no text in UTF-8 ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{kind} {name}: not TOML: {error}") from error
