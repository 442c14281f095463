"""Writes ``config.example.toml``: every setting with its default and description, from the settings classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from broker_plugin.settings.sections import Settings

HEADER = """\
# Every setting of convention-broker with its default. A commented line is a setting that is off by default.
# A setting can also be given as an environment variable, CONVENTION_<SECTION>__<KEY>, or as a flag,
# --set section.key=value: flag > environment > file > default. Written by: convention-broker check-config --example
"""


def example_toml() -> str:
    """The example file's text; loading it gives the defaults."""
    parts = [HEADER]
    for section, info in Settings.model_fields.items():
        model = info.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        summary = (model.__doc__ or "").strip().splitlines()[0]
        parts.append(f"# {summary}\n[{section}]")
        parts += [_line(key, field) for key, field in model.model_fields.items()]
        parts.append("")
    return "\n".join(parts)


def _line(key: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    comment = f"  # {field.description}" if field.description else ""
    if default is None:
        return f"# {key} ={comment}"
    return f"{key} = {_value(default)}{comment}"


def _value(value: Any) -> str:
    if isinstance(value, Path):
        return json.dumps(str(value))
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
