"""Truth table: object id and class, from CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schemas.classification import CLASS_NAMES
from schemas.errors import EvaluationError

OBJECT_COLUMNS: Final = ("object_id", "objectId", "diaObjectId", "object", "id")
CLASS_COLUMNS: Final = ("class", "label", "truth", "type")
SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class TruthTable:
    """labels: object id -> class name as the networks know it, or a label outside the taxonomy as it was written."""

    path: Path
    labels: Mapping[str, str]
    num_duplicates: int

    @property
    def outside(self) -> tuple[str, ...]:
        """The labels outside the taxonomy, sorted."""
        return tuple(sorted(set(self.labels.values()) - set(CLASS_NAMES)))


def read_truth(
    path: Path,
    *,
    object_column: str | None = None,
    class_column: str | None = None,
    renames: Mapping[str, str] | None = None,
) -> TruthTable:
    """Read a truth table; a row repeated with the same class is counted, not an error.

    object_column, class_column: names of the columns, found among OBJECT_COLUMNS and CLASS_COLUMNS when None.
    renames: label as written -> class name. EvaluationError names the file and the row: no such file or column, an
    empty cell, one object with two classes, a label that is a class name but for its spelling, no known class at all.
    """
    if not path.is_file():
        raise EvaluationError(f"{path}: no such truth table")
    columns, rows = _open(path)
    object_name = _column(path, columns, object_column, OBJECT_COLUMNS, "object id")
    class_name = _column(path, columns, class_column, CLASS_COLUMNS, "class")
    labels: dict[str, str] = {}
    num_duplicates = 0
    conflicts: dict[str, None] = {}
    for number, row in rows:
        object_id, label = _cell(path, number, row, object_name), _cell(path, number, row, class_name)
        label = _taxonomy_name(path, number, (renames or {}).get(label, label))
        num_duplicates += object_id in labels
        known = labels.setdefault(object_id, label)
        if known != label:
            conflicts[f"{object_id} ({known}, {label})"] = None
    if conflicts:
        raise EvaluationError(f"{path}: {len(conflicts)} objects have two classes: {_some(conflicts)}")
    if not labels:
        raise EvaluationError(f"{path}: holds no object")
    table = TruthTable(path, labels, num_duplicates)
    if not set(labels.values()) & set(CLASS_NAMES):
        raise EvaluationError(
            f"{path}: no object is of a class the networks know ({', '.join(CLASS_NAMES)}); "
            f"labels found: {_some(table.outside)}; rename them with --map LABEL=CLASS"
        )
    return table


def parse_renames(texts: Iterable[str]) -> dict[str, str]:
    """``LABEL=CLASS`` options; EvaluationError when one is not of that form or names no class."""
    renames: dict[str, str] = {}
    for text in texts:
        label, separator, class_name = text.rpartition("=")
        if not separator or class_name not in CLASS_NAMES:
            raise EvaluationError(f"--map {text}: expected LABEL=CLASS with CLASS one of {', '.join(CLASS_NAMES)}")
        renames[label] = class_name
    return renames


def _open(path: Path) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Any]]]]:
    """Column names, and the rows with their numbers (a CSV's header is line 1)."""
    if path.suffix == ".parquet":
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(path)
        except (ValueError, OSError) as error:
            raise EvaluationError(f"{path}: not a Parquet file: {error}") from error
        return list(table.column_names), enumerate(table.to_pylist(), start=1)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        reader = csv.DictReader(lines)
        return list(reader.fieldnames or ()), enumerate(list(reader), start=2)
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path}: not a CSV file in UTF-8: {error}") from error


def _column(path: Path, columns: list[str], wanted: str | None, usual: tuple[str, ...], what: str) -> str:
    found = [name for name in ((wanted,) if wanted else usual) if name in columns]
    if not found:
        expected = wanted or " or ".join(usual)
        option = "--class-column" if usual is CLASS_COLUMNS else "--object-column"
        found_columns = ", ".join(columns) or "none"
        raise EvaluationError(f"{path}: no {what} column {expected}; columns: {found_columns}; name it with {option}")
    return found[0]


def _cell(path: Path, number: int, row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    text = "" if value is None else str(value).strip()
    if not text:
        raise EvaluationError(f"{path}: row {number} has no {column}")
    return text


def _taxonomy_name(path: Path, number: int, label: str) -> str:
    """The label; EvaluationError when it is a class in another spelling, which would count as outside it."""
    if label in CLASS_NAMES:
        return label
    plain = _plain(label)
    for class_name in CLASS_NAMES:
        if plain == _plain(class_name):
            raise EvaluationError(
                f"{path}: row {number} has class {label!r}, which is spelt {class_name!r} here; "
                f"rename it with --map '{label}={class_name}'"
            )
    return label


def _plain(label: str) -> str:
    return "".join(character for character in label.casefold() if character.isalnum())


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
