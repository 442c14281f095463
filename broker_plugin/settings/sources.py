"""Reads settings from flags, environment and file, and says of every wrong key where it came from."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

from broker_plugin.settings.errors import Source, example, expected_shape, what_was_expected
from broker_plugin.settings.sections import ENV_PREFIX, Settings
from schemas.errors import SettingsError

# names with our prefix that are not settings: they steer the tests
OTHER_ENV_NAMES: Final = frozenset({"CONVENTION_SAMPLE_DATA", "CONVENTION_REQUIRE", "CONVENTION_CONFIG"})


def load_settings(
    file: Path | None = None,
    *,
    flags: Sequence[str] = (),
) -> Settings:
    """Settings from flags (``section.key=value``), environment, TOML file and defaults, in that order.

    SettingsError names every wrong key and its source.
    """
    names = os.environ
    from_flags = _parse_flags(flags)
    from_file = _read_file(file)
    _refuse_bad_names(names)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = (init_settings, env_settings)
            return sources if file is None else (*sources, TomlConfigSettingsSource(settings_cls, file))

    try:
        return Loaded(**from_flags)
    except ValidationError as error:
        lines = [_explain(problem, from_flags, names, from_file, file) for problem in error.errors()]
        raise SettingsError("; ".join(lines)) from error


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file} is not TOML: {error}") from error


def _parse_flags(flags: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for flag in flags:
        key, separator, text = flag.partition("=")
        section, dot, name = key.partition(".")
        if not (separator and dot and section and name):
            raise SettingsError(f"--set {flag!r}: expected section.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word is a string
        table = values.setdefault(section, {})
        *parents, leaf = name.split(".")
        for parent in parents:
            table = table.setdefault(parent, {}) if isinstance(table, dict) else table
        if not isinstance(table, dict) or leaf in table:
            raise SettingsError(f"--set {key} is given twice")
        table[leaf] = value
    return values


def _refuse_bad_names(names: Mapping[str, str]) -> None:
    for name, text in names.items():
        if not name.upper().startswith(ENV_PREFIX) or name.upper() in OTHER_ENV_NAMES:
            continue
        section, _, key = name[len(ENV_PREFIX) :].lower().partition("__")
        if section not in Settings.model_fields or not key:
            sections = ", ".join(Settings.model_fields)
            raise SettingsError(
                f"environment variable {name} is no setting: expected {ENV_PREFIX}<SECTION>__<KEY> with a section "
                f"of {sections}"
            )
        _refuse_bad_json([section, *key.split("__")], name.upper(), text)


def _refuse_bad_json(location: list[str], name: str, text: str) -> None:
    # here, because the library's own error names neither the variable nor the key
    shape = expected_shape(location)
    if shape is None:
        return
    try:
        json.loads(text)
    except ValueError as error:
        wanted = f"expected a {shape} as JSON{example(location, 'environment')}"
        raise SettingsError(f"{'.'.join(location)} (environment variable {name}): {wanted}") from error


def _explain(
    problem: Any,
    from_flags: dict[str, Any],
    names: Mapping[str, str],
    from_file: dict[str, Any],
    file: Path | None,
) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "settings"
    given = {name.upper() for name in names}
    ways = [f"{ENV_PREFIX}{'__'.join(location[:length]).upper()}" for length in range(len(location), 1, -1)]
    below = [name for name in given if ways and name.startswith(f"{ways[0]}__")]
    variable = next((name for name in [*ways, *sorted(below)] if name in given), None)
    kind: Source = "default"
    source = "default"
    if _holds(from_flags, location):
        kind, source = "flag", f"--set {key}"
    elif variable is not None:
        kind, source = "environment", f"environment variable {variable}"
    elif file is not None and _holds(from_file, location):
        kind, source = "file", f"file {file}"
    if problem["type"] == "extra_forbidden":
        return f"{key} ({source}): no such setting{_suggestion(location)}"
    return f"{key} ({source}): {what_was_expected(problem, kind)}"


def _holds(values: Any, location: Sequence[str]) -> bool:
    for part in location:
        if isinstance(values, list):
            return True
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return bool(location)


def _suggestion(location: Sequence[str]) -> str:
    known: list[str] = list(Settings.model_fields)
    if len(location) > 1 and location[0] in Settings.model_fields:
        section = Settings.model_fields[location[0]].annotation
        known = list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
    close = difflib.get_close_matches(location[-1], known, n=1)
    return f", did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
