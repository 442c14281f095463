"""The modules that are run with ``python -m``: what is wrong is one line, as with the verbs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Final

from schemas.errors import ConventionError, SettingsError

WRONG_USAGE: Final = 2
FAILED: Final = 1


def run_module(main: Callable[[], int]) -> int:
    """The exit status of ``main``; an error of the library, or a file that cannot be read or written, is one line on
    standard error: status 2 where the caller can mend it, else 1."""
    try:
        return main()
    except ConventionError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return WRONG_USAGE if isinstance(error, SettingsError) else FAILED
    except OSError as error:
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return FAILED


def whole_number(text: str, *, least: int = 1) -> int:
    """An argument that is a whole number from ``least``; argparse says so otherwise."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least}, not {text!r}")
    return number
