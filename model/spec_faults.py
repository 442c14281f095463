"""What is wrong with a file's values, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def faults_of(model: type[BaseModel], error: ValidationError) -> str:
    """Every key at fault; of an unknown one the keys that there are; what no key is at fault for without one."""
    said = []
    for fault in error.errors():
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"no such key: expected one of {', '.join(_keys_beside(model, fault['loc']))}"
        elif fault["type"] == "tuple_type":
            message = "should be a list"
        place = ".".join(map(str, fault["loc"]))
        said.append(f"{place}: {message}" if place else message)
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
