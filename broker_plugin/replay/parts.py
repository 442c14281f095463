"""The files of an offline replay: numbered parts of records, stamps and problems, each whole or absent.

records-00000.avro (.parquet, .jsonl)   classifications with their delivery, in replay order
stamps-00000.avro                       the stamp-log values that were made
problems-00000.jsonl                    dead letters and damage of the archive, where there are any
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from broker_plugin.evaluation.record_files import PARTIAL, RECORD_STEM, SUFFIXES, RowWriter, open_rows, part_path
from broker_plugin.evaluation.records import DeliveredRecord
from broker_plugin.evaluation.stamp_archive import STAMP_STEM, StampLogValue, stamp_schema

PROBLEM_STEM: Final = "problems"
STEMS: Final = (RECORD_STEM, STAMP_STEM, PROBLEM_STEM)


class Part:
    """One part while it is written; leaving the context without an error gives its files their names."""

    def __init__(self, folder: Path, number: int, suffix: str) -> None:
        self._folder = folder
        self._number = number
        self._stack = ExitStack()
        records = part_path(folder, RECORD_STEM, number, suffix)
        stamps = part_path(folder, STAMP_STEM, number, ".avro")
        self._records: RowWriter = self._stack.enter_context(open_rows(records))
        self._stamps: RowWriter = self._stack.enter_context(open_rows(stamps, schema=stamp_schema()))
        self._problems: RowWriter | None = None

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def record(self, record: DeliveredRecord) -> None:
        """Append a classification."""
        self._records.write(record.to_row())

    def stamp(self, stamp: StampLogValue) -> None:
        """Append a stamp-log value."""
        self._stamps.write(stamp.to_row())

    def problem(self, row: dict[str, Any]) -> None:
        """Append a dead letter or a damage."""
        if self._problems is None:
            path = part_path(self._folder, PROBLEM_STEM, self._number, ".jsonl")
            self._problems = self._stack.enter_context(open_rows(path))
        self._problems.write(row)


def remove_parts(folder: Path, *, first: int) -> None:
    """Delete the parts from number ``first`` on, which no checkpoint vouches for, and what was left unfinished."""
    for path in _parts(folder):
        if path.name.endswith(PARTIAL) or int(path.name.partition(".")[0].rpartition("-")[2]) >= first:
            path.unlink()


def has_parts(folder: Path) -> bool:
    """Whether a folder holds parts of a replay."""
    return any(True for _ in _parts(folder))


def _parts(folder: Path) -> Sequence[Path]:
    endings = [ending + rest for ending in SUFFIXES for rest in ("", PARTIAL)]
    patterns = [f"{stem}-{'[0-9]' * 5}{ending}" for stem in STEMS for ending in endings]
    return [path for pattern in patterns for path in folder.glob(pattern)]
