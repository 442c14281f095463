"""Wrong settings in plain words: which key, from where, what was expected, and an example to copy."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from broker_plugin.settings.sections import ENV_PREFIX, Settings

Source = Literal["flag", "environment", "file", "default"]

# pydantic's error types -> what was expected, with the fields of the error's context in braces
EXPECTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("tuple_type", "list_type"), "expected a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "expected a table"),
    **dict.fromkeys(("string_type", "path_type"), "expected text"),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "expected a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "expected a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
    "literal_error": "expected {expected}",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "string_too_short": "expected text that is not empty",
    "string_pattern_mismatch": "expected text that matches {pattern}",
}
SAMPLES: Final[Mapping[type, Any]] = {str: "text", SecretStr: "text", Path: "path", int: 8, float: 0.5, bool: True}


def what_was_expected(problem: Mapping[str, Any], source: Source) -> str:
    """One of ValidationError.errors() in plain words, with an example as its source writes it."""
    template = EXPECTED.get(problem["type"])
    if template is None:
        return str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "expected")
    # a fault inside a list or table is mended by writing the whole of it
    return template.format(**problem.get("ctx", {})) + example([str(part) for part in problem["loc"]], source)


def expected_shape(location: Sequence[str]) -> str | None:
    """What the setting at ``location`` is, "list" or "table"; None for any other setting or an unknown one."""
    path, annotation, _ = _find(location)
    if path != list(location):
        return None
    if get_origin(annotation) is tuple:
        return "list"
    return "table" if get_origin(annotation) is dict or _is_table(annotation) else None


def example(location: Sequence[str], source: Source) -> str:
    """``, such as ...`` with the setting written out as in ``source``; empty for an unknown setting."""
    path, annotation, default = _find(location)
    if not path:
        return ""
    if len(path) == 1:
        name, field = next((name, field) for name, field in _fields(annotation) if field.default is not None)
        path, annotation, default = [*path, name], field.annotation, field.default
        table = f"the line [{path[0]}], and below it lines"
    else:
        table = ""
    value = default if default not in (None, ()) else _sample(annotation)
    if source == "environment":
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        quote = "'" if isinstance(value, tuple | list | dict) else ""
        return f", such as {ENV_PREFIX}{'__'.join(path).upper()}={quote}{text}{quote}"
    written = f"{path[-1]} = {_toml(value)}"
    if source == "flag":
        return f", such as --set '{'.'.join(path)}={_toml(value)}'"
    return f": {table} such as {written}" if table else f", such as {written}"


def _find(location: Sequence[str]) -> tuple[list[str], Any, Any]:
    """The deepest setting on the way to ``location``: its path, annotation and default (or its example)."""
    path: list[str] = []
    annotation: Any = Settings
    default: Any = None
    for part in location:
        field = dict(_fields(annotation)).get(part)
        if field is None:
            break
        path.append(part)
        annotation = _bare(field.annotation)
        default = field.examples[0] if field.examples else field.get_default()
    return path, annotation, default


def _fields(annotation: Any) -> list[tuple[str, FieldInfo]]:
    bare = _bare(annotation)
    return list(bare.model_fields.items()) if _is_table(bare) else []


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _bare(annotation: Any) -> Any:
    """Without ``| None`` and without constraints."""
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    return annotation


def _sample(annotation: Any) -> Any:
    bare = _bare(annotation)
    inner = get_args(bare)
    if get_origin(bare) is tuple:
        return [_sample(inner[0])]
    if get_origin(bare) is dict:
        return {"SN Ia": _sample(inner[1])}
    if get_origin(bare) is Literal:
        return inner[0]
    if _is_table(bare):
        name, field = next(iter(bare.model_fields.items()))
        return {name: field.default}
    return SAMPLES[bare]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_toml(one)}" for name, one in value.items()) + " }"
    return json.dumps(value, default=str)
