"""Shipped TOML files and a user's own, and what is wrong with their values in plain words."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

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


def faults_of(model: type[BaseModel], error: ValidationError) -> str:
    """Every key at fault; of an unknown one the keys that there are."""
    said = []
    for fault in error.errors():
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"no such key: expected one of {', '.join(_keys_beside(model, fault['loc']))}"
        said.append(f"{'.'.join(map(str, fault['loc']))}: {message}")
    return "; ".join(said)


def _keys_beside(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Keys of the section that a place names a key of; sections may lie in tables and lists of them."""
    section: Any = model
    for part in place[:-1]:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation
        else:
            section = next(
                kind for kind in get_args(section) if isinstance(kind, type) and issubclass(kind, BaseModel)
            )
    return list(section.model_fields)
