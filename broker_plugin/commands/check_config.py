"""``check-config``: validate settings without a network."""

from __future__ import annotations

import argparse
import json
from typing import Final

from broker_plugin.commands.common import add_settings_arguments, settings_from

HELP: Final = "Validate the settings (flags, environment, file, defaults) and print what a worker would run with."
EXAMPLE: Final = "convention-broker check-config --config deploy/config.example.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings arguments and ``--json``."""
    add_settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of TOML-like lines")
    parser.add_argument("--example", action="store_true", help="print a settings file with every default, and stop")


def run(args: argparse.Namespace) -> int:
    """Print the resolved settings, secrets as stars."""
    if args.example:
        from broker_plugin.settings_reference import example_toml

        print(example_toml(), end="")  # noqa: T201
        return 0
    values = settings_from(args).model_dump(mode="json")
    if args.json:
        print(json.dumps(values, indent=2))  # noqa: T201
        return 0
    for section, table in values.items():
        print(f"[{section}]")  # noqa: T201
        for key, value in table.items():
            print(f"{key} = {json.dumps(value)}")  # noqa: T201
        print()  # noqa: T201
    return 0
