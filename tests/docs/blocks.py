"""The code blocks of a Markdown page, as the tests run them.

In a page, HTML comments that readers do not see steer this:

* ``<!-- not run: REASON -->`` before a block: it illustrates, REASON says why it is not run;
* ``<!-- background -->`` before a shell block: it is started and left running until the page ends;
* ``<!-- setup`` and lines of shell up to ``-->``: what the reader is taken to have, made for the test;
* ``<!-- needs: MARK -->``: the page's test carries that resource mark (data, tansu).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES: Final = frozenset({"sh", "python", "toml", "text"})
_PARTS: Final = re.compile(
    r"^<!-- (?P<mark>not run: (?P<reason>[^\n]+)|background|needs: (?P<needs>\w+)) -->$"
    r"|^<!-- setup\n(?P<setup>.*?)^-->$"
    r"|^```(?P<language>\S*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block: where it begins, what it is in, its text, and how it is treated."""

    page: Path
    line: int
    language: str
    code: str
    reason: str | None = None
    background: bool = False
    is_setup: bool = False

    @property
    def name(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The page's blocks and setups, in order. ValueError for a mark that stands before no block."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    pending: re.Match[str] | None = None
    for part in _PARTS.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["needs"]:
            continue
        if part["mark"]:
            if pending is not None:
                raise ValueError(f"{page}:{line}: a mark after a mark")
            pending = part
            continue
        if part["setup"] is not None:
            found.append(Block(page, line, "sh", part["setup"], is_setup=True))
            continue
        reason = pending["reason"] if pending else None
        background = pending is not None and reason is None
        found.append(Block(page, line, part["language"], part["code"], reason, background))
        pending = None
    if pending is not None:
        raise ValueError(f"{page}: a mark before no block")
    return found


def needs_of(page: Path) -> set[str]:
    """The resource marks that the page states."""
    return {part["needs"] for part in _PARTS.finditer(page.read_text(encoding="utf-8")) if part["needs"]}


def command_lines(page: Path) -> list[tuple[int, str]]:
    """Every line of a shell or indented block that calls our program, continued lines joined, with its place."""
    text = page.read_text(encoding="utf-8")
    joined = re.sub(r"\\\n\s*", " ", text)
    inside, found = "", []
    for number, line in enumerate(joined.splitlines(), start=1):
        if line.startswith("```"):
            inside = "" if inside else line
        elif (inside == "```sh" or (not inside and line.startswith("    "))) and re.match(
            r"\s*(timeout \d+ )?convention-broker ", line
        ):
            found.append((number, line.strip()))
    return found
