"""Small JSON files whose being there says that something is done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from schemas.errors import SettingsError

PART: Final = ".partial"  # what an interrupted ``write_json`` may leave


def write_json(path: Path, value: Any) -> None:
    """The file is there whole or not at all, wherever the process dies."""
    scratch = path.with_name(path.name + PART)
    scratch.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def read_json(path: Path) -> dict[str, Any]:
    """SettingsError, which names the file, when it is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise SettingsError(f"{path} cannot be read: {error}; remove it") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds no JSON object; remove it")
    return found
