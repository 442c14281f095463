"""Writes ``docs/reference/``: settings, commands and the cards of the shipped bundles, from the code.

python -m broker_plugin.reference_pages docs/reference
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from broker_plugin.cli import VERBS, parser_of
from broker_plugin.settings.sections import ENV_PREFIX, Settings
from model.bundle_store import shipped_bundles

WRITTEN: Final = "Written by `python -m broker_plugin.reference_pages docs/reference`."
# of the training sets of bundles whose cards were written before cards carried the audit; key: the set's sha256
AUDITS: Final = {
    "476033e83e4354d59207b16f92b9d9ad1d89dffcb6e7c77bab3cff9492cc0751": "0.254 (95% 0.240 to 0.269), passed",
    "583bb71519a773bc6511effee5f704b4e8816687b651a6344dba55882333d672": "0.626 (95% 0.609 to 0.644), not held",
    "6258890eb31ffd9f4775b6d2270951699db9a9fd353d278302a5d31177611fcc": "0.645 (95% 0.629 to 0.662), not held",
}
NAMES: Final = {int: "integer", float: "number", str: "text", bool: "true, false", Path: "path", SecretStr: "secret"}


def pages() -> dict[str, str]:
    """File name -> text."""
    return {"settings.md": settings_page(), "commands.md": commands_page(), "models.md": models_page()}


def settings_page() -> str:
    """Every setting with its type, default and what it is."""
    parts = [
        "# Settings\n\n"
        f"Flag `--set section.key=value` > environment variable `{ENV_PREFIX}<SECTION>__<KEY>` > file (`--config`, "
        "or `CONVENTION_CONFIG`) > default. In the environment, lists and tables are written as JSON. An unknown key "
        "or a bad value is an error that names the key and where it came from; secrets print as stars; "
        f"`convention-broker check-config` validates without a network. {WRITTEN}\n"
    ]
    for section, info in Settings.model_fields.items():
        model = info.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        rows = [_setting(key, field) for key, field in model.model_fields.items()]
        head = f"## {section}\n\n{_first_line(model)}\n\n| key | type | default | |\n|---|---|---|---|\n"
        parts.append(head + "".join(rows))
    return "\n".join(parts)


def commands_page() -> str:
    """Every verb with its arguments and example."""
    parts = [
        "# Commands\n\n`convention-broker VERB`: exit status 0 done, 1 failed, 2 wrong usage; errors are one line on "
        f"standard error. {WRITTEN}\n"
    ]
    for verb in VERBS:
        parser = parser_of(verb)
        parts.append(f"## {verb}\n\n{_told(parser)}{_arguments(parser)}")
        for name, inner in _actions(parser):
            parts.append(f"### {verb} {name}\n\n{_told(inner)}{_arguments(inner)}")
    return "\n".join(parts)


def models_page() -> str:
    """The cards of the shipped bundles, one after the other."""
    cards = [
        re.sub("^#", "##", _with_audit((path / "CARD.md").read_text()), flags=re.MULTILINE)
        for path in shipped_bundles()
    ]
    return (
        "# Models\n\nThe bundles that come with the package, as their own cards describe them; `convention-broker "
        f"bundle inspect NAME` prints one. {WRITTEN}\n\n" + "\n".join(card.rstrip() + "\n" for card in cards)
    )


def _with_audit(card: str) -> str:
    """The card, and what became known of its training set after it was written."""
    later = [said for digest, said in AUDITS.items() if digest in card]
    lines = [
        "* nuisance audit of this training set, made after the card was written: balanced accuracy of mask, bands, "
        f"time gaps, noise and PSF width alone {said}; chance is 0.25 ([simulator.md](../simulator.md))\n"
        for said in later
    ]
    return card.replace("## Training\n\n", "## Training\n\n" + "".join(lines), 1)


def _setting(key: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    shown = "" if default is None else f"`{json.dumps(default, default=str)}`"
    return f"| `{key}` | {_cell(_type(field.annotation))} | {_cell(shown)} | {_cell(field.description or '')} |\n"


def _type(annotation: Any) -> str:
    if annotation in NAMES:
        return NAMES[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"table of {_type(inner[1])}"
    if origin is Union or NoneType in inner:
        return ", ".join(_type(one) for one in inner if one is not NoneType)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table: " + ", ".join(annotation.model_fields)
    return _type(inner[0])  # Annotated


def _told(parser: argparse.ArgumentParser) -> str:
    text = re.sub(r"\s*\n\s*", " ", parser.description or "")
    example = (parser.epilog or "").removeprefix("example:").strip()
    return (f"{text}\n\n" if text else "") + (f"    {example}\n\n" if example else "")


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = [
        f"| {_cell(_name(action))} | {_cell(action.help or '')} |\n"
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    ]
    return "| argument | |\n|---|---|\n" + "".join(rows) if rows else ""


def _name(action: argparse.Action) -> str:
    value = f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.metavar or action.dest.upper()
    if not action.option_strings:
        return f"`{value}`" + (" ..." if action.nargs in ("+", "*") else "")
    return f"`{', '.join(action.option_strings)}" + ("`" if action.nargs == 0 else f" {value}`")


def _actions(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("%%", "%")).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the pages into a folder."""
    (folder,) = map(Path, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
