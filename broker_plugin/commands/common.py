"""Arguments that every verb with settings shares."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from broker_plugin.settings.sections import Settings


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config FILE`` and ``--set section.key=value``."""
    parser.add_argument(
        "--config",
        type=Path,
        default=None,
        metavar="FILE",
        help="TOML settings file (default: the environment variable CONVENTION_CONFIG, if set)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one setting; may be repeated",
    )


def settings_from(args: argparse.Namespace, *, extra: tuple[str, ...] = ()) -> Settings:
    """The settings a verb runs with; ``extra`` are overrides of the verb's own flags, strongest of all."""
    from broker_plugin.settings.sources import load_settings

    file = args.config
    if file is None and os.environ.get("CONVENTION_CONFIG"):
        file = Path(os.environ["CONVENTION_CONFIG"])
    return load_settings(file, flags=[*args.overrides, *extra])


def positive_int(text: str) -> int:
    """An argument that is a whole number from 1; argparse says so otherwise."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, such as 24, not {text!r}")
    return number


def number_within(low: float, high: float) -> Callable[[str], float]:
    """The type of an argument that is a number from ``low`` to ``high``; argparse says so otherwise."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected a number from {low:g} to {high:g}, not {text!r}")
        return value

    return number


def require_folder(path: Path, option: str) -> None:
    """SettingsError when ``path``, the value of ``option``, is or lies under something other than a folder."""
    there = next((part for part in (path, *path.parents) if part.exists()), path)
    if there.exists() and not there.is_dir():
        what = "is a file" if there == path else f"{there} is a file"
        raise SettingsError(f"{option} {path}: {what}, expected a folder: name another")


def require_empty_folder(path: Path, option: str) -> None:
    """SettingsError unless ``path``, the value of ``option``, is an empty folder or nothing."""
    require_folder(path, option)
    if path.exists() and any(path.iterdir()):
        raise SettingsError(
            f"{option} {path}: is not an empty folder: name another, or remove it if an interrupted run left it there"
        )
