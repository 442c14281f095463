"""``check-config``: validate settings without a network."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from broker_plugin.commands.common import add_settings_arguments, settings_from
from schemas.errors import BundleError, SettingsError

if TYPE_CHECKING:
    from broker_plugin.settings.sections import Settings

HELP: Final = "Validate the settings (flags, environment, file, defaults) and print what a worker would run with."
CONNECTIONS: Final = ("input", "internal", "output")
CERTIFICATES: Final = ("ssl_ca_location", "ssl_certificate_location", "ssl_key_location")
EXAMPLE: Final = "convention-broker check-config --config deploy/config.example.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings arguments and ``--json``."""
    add_settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of TOML-like lines")
    parser.add_argument("--example", action="store_true", help="print a settings file with every default, and stop")


def run(args: argparse.Namespace) -> int:
    """Print the resolved settings, secrets as stars. SettingsError when a file that they name is not here."""
    if args.example:
        from broker_plugin.settings.reference import example_toml

        print(example_toml(), end="")  # noqa: T201
        return 0
    settings = settings_from(args)
    if missing := list(missing_files(settings)):
        raise SettingsError("; ".join(missing))
    values = settings.model_dump(mode="json")
    if args.json:
        print(json.dumps(values, indent=2))  # noqa: T201
        return 0
    for section, table in values.items():
        print(f"[{section}]")  # noqa: T201
        for key, value in table.items():
            print(f"{key} = {json.dumps(value)}")  # noqa: T201
        print()  # noqa: T201
    return 0


def missing_files(settings: Settings) -> Iterator[str]:
    """What the settings name and a worker could not read here: bundles, certificates. Nothing is loaded."""
    from model.bundle_store import resolve_bundle

    for key in ("bundles", "challengers"):
        for path in getattr(settings.classify, key):
            try:
                resolve_bundle(path)
            except BundleError as error:
                yield f"classify.{key}: {error}"
    for section in CONNECTIONS:
        for key in CERTIFICATES:
            path = getattr(getattr(settings, section), key)
            if path is not None and not path.is_file():
                yield f"{section}.{key}: {path}: no such file"
