"""Label tables: who an object is, as its source writes it, brought to the networks' classes by a mapping file.

A table is CSV or Parquet with a column ``class`` and either ``object_id`` or ``ra`` and ``dec`` (degrees, ICRS);
``confirmed`` (true, false), ``label_date`` (MJD or ISO 8601) and ``weight`` may follow. A mapping is a CSV
``name,class`` whose class is one of the networks', ``ignore`` (the row says nothing) or ``unknown`` (an object of
none of the classes: never trained, kept for the novelty score). The default mapping knows the types of TNS and
SIMBAD.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.scores import CLASSES
from schemas.errors import SettingsError
from schemas.timescales import date_to_utc_mjd, in_range, read_mjd
from train.dataset import OUTSIDE
from train.splits import named_groups

IGNORE: Final = "ignore"
UNKNOWN: Final = "unknown"
MEANINGS: Final = (*CLASSES, IGNORE, UNKNOWN)
COLUMNS: Final = ("object_id", "ra", "dec", "class", "confirmed", "label_date", "weight")
SHOWN: Final = 5
_TRUE: Final = frozenset({"true", "1", "yes", "t", "y"})
_FALSE: Final = frozenset({"false", "0", "no", "f", "n", ""})
_LARGEST_WHOLE: Final = 2.0**53  # from here on float64 skips whole numbers


@dataclass(frozen=True, slots=True)
class Label:
    """One row. object_id: "" when the row gives a position only; ra, dec: deg, NaN not given; label: index of
    CLASSES or OUTSIDE; label_mjd: NaN not given; where: file, line and the cells, for messages."""

    object_id: str
    ra: float
    dec: float
    label: int
    confirmed: bool
    label_mjd: float
    weight: float
    where: str


@dataclass(frozen=True, slots=True)
class LabelTable:
    """labels: one an object; num_ignored: rows that say nothing; num_repeated: rows that repeat another; sha256,
    mapping_sha256: hex, of the table's file and of the mapping's."""

    path: Path
    labels: tuple[Label, ...]
    num_ignored: int
    num_repeated: int
    sha256: str
    mapping_sha256: str


def read_mapping(path: Path | None = None) -> dict[str, str]:
    """Name as written -> meaning; the default mapping without a path. SettingsError names the line at fault."""
    source = _mapping_file(path)
    try:
        rows = list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: mapping cannot be read: {error}") from error
    mapping: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        name, meaning = row.get("name"), row.get("class")
        if not name or meaning not in MEANINGS:
            raise SettingsError(f"{path}: line {line}: expected name,class with class one of {', '.join(MEANINGS)}")
        if mapping.setdefault(name, meaning) != meaning:
            raise SettingsError(f"{path}: line {line}: {name} is {mapping[name]} above and {meaning} here")
    return mapping


def _mapping_file(path: Path | None) -> Traversable:
    return files("train").joinpath("tables/class_names.csv") if path is None else path


def read_labels(path: Path, mapping_path: Path | None = None) -> LabelTable:
    """Read a table under a mapping, the default one without a path; SettingsError names the rows at fault, or says
    that no row names an object.

    Two rows of one object (same id, or positions within 2") that disagree are an error that shows both; rows that
    agree are one, confirmed if either is, with the earlier date.
    """
    mapping = read_mapping(mapping_path)
    rows: list[Label] = []
    num_ignored = 0
    unmapped: dict[str, str] = {}
    for where, row in _rows(path):
        name = _text(row, "class")
        if not name:
            raise SettingsError(f"{where}: no class")
        if name not in mapping:
            unmapped.setdefault(name, where)
        elif mapping[name] == IGNORE:
            num_ignored += 1
        else:
            rows.append(_label(where, row, mapping[name]))
    if unmapped:
        listed = "; ".join(f"{name!r} ({where})" for name, where in list(unmapped.items())[:SHOWN])
        raise SettingsError(
            f"{len(unmapped)} class names are not in the mapping: {listed}; add them to a mapping file"
        )
    if not rows:
        raise SettingsError(
            f"{path}: {num_ignored} rows, all of classes that the mapping ignores: no object is named"
            if num_ignored
            else f"{path}: 0 rows below the header: the table names no object"
        )
    labels = _merged(rows)
    digests = (sha256(file.read_bytes()).hexdigest() for file in (path, _mapping_file(mapping_path)))
    return LabelTable(path, tuple(labels), num_ignored, len(rows) - len(labels), *digests)


def _label(where: str, row: Mapping[str, Any], meaning: str) -> Label:
    ra, dec = _number(where, row, "ra", np.nan), _number(where, row, "dec", np.nan)
    object_id = _object_id(where, row)
    if not object_id and not (np.isfinite(ra) and np.isfinite(dec)):
        raise SettingsError(f"{where}: neither object_id nor ra and dec")
    if np.isfinite(ra) != np.isfinite(dec) or (np.isfinite(dec) and not -90 <= dec <= 90):
        raise SettingsError(f"{where}: ra {ra}, dec {dec} is no position")
    confirmed = _text(row, "confirmed").lower()
    if confirmed not in _TRUE | _FALSE:
        raise SettingsError(f"{where}: confirmed is {confirmed!r}, expected true or false")
    weight = _number(where, row, "weight", 1.0)
    if not (np.isfinite(weight) and weight > 0):
        raise SettingsError(f"{where}: weight {weight} is not positive")
    label = CLASSES.index(meaning) if meaning in CLASSES else OUTSIDE
    return Label(object_id, ra, dec, label, confirmed in _TRUE, _date(where, row), weight, where)


def _merged(rows: list[Label]) -> list[Label]:
    """One label an object, in the order of first mention."""
    merged: dict[int, Label] = {}
    for row, name in zip(rows, _objects(rows), strict=True):
        known = merged.setdefault(name, row)
        if known.label != row.label:
            raise SettingsError(f"two rows of one object disagree:\n  {known.where}\n  {row.where}")
        merged[name] = _both(known, row)
    return list(merged.values())


def _objects(rows: list[Label]) -> list[int]:
    """A number a row, equal for rows that ids, places or both link."""
    ra, dec = np.array([row.ra for row in rows]), np.array([row.dec for row in rows])
    objects: list[int] = named_groups([row.object_id or None for row in rows], ra, dec).tolist()
    return objects


def _both(first: Label, second: Label) -> Label:
    object_id = first.object_id or second.object_id
    place = first if np.isfinite(first.ra) else second
    date = float(np.fmin(first.label_mjd, second.label_mjd))
    return Label(object_id, place.ra, place.dec, first.label, first.confirmed or second.confirmed, date,
                 max(first.weight, second.weight), first.where)  # fmt: skip


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows with where they stand, for messages."""
    if not path.is_file():
        raise SettingsError(f"{path}: no such label table")
    if path.suffix == ".parquet":
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(path)
            columns, rows, first = list(table.column_names), table.to_pylist(), 1
        except (ValueError, OverflowError, OSError) as error:
            raise SettingsError(f"{path}: not a Parquet file that can be read: {error}") from error
    else:
        try:
            reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
            columns, rows, first = list(reader.fieldnames or ()), list(reader), 2
        except (UnicodeDecodeError, csv.Error) as error:
            raise SettingsError(f"{path}: not a CSV file in UTF-8: {error}") from error
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise SettingsError(f"{path}: column {', '.join(repeated)} is there twice: which one holds?")
    if "class" not in columns or not ("object_id" in columns or {"ra", "dec"} <= set(columns)):
        raise SettingsError(
            f"{path}: columns are {', '.join(columns) or 'none'}; needed: class, and object_id or ra and dec"
        )
    for number, row in enumerate(rows, start=first):
        cells = ", ".join(f"{name}={row[name]}" for name in COLUMNS if row.get(name) not in (None, ""))
        yield f"{path} row {number}: {cells}", row


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _object_id(where: str, row: Mapping[str, Any]) -> str:
    """Of a Parquet file too, where a column of whole numbers with gaps comes as float64."""
    value = row.get("object_id")
    if not isinstance(value, float):
        return _text(row, "object_id")
    if np.isnan(value):
        return ""
    if not (value.is_integer() and abs(value) < _LARGEST_WHOLE):
        raise SettingsError(f"{where}: object_id is a float that has lost digits: write ids as text or integers")
    return str(int(value))


def _number(where: str, row: Mapping[str, Any], column: str, default: float) -> float:
    text = _text(row, column)
    try:
        return float(text) if text else default
    except ValueError:
        raise SettingsError(f"{where}: {column} {text!r} is no number") from None


def _date(where: str, row: Mapping[str, Any]) -> float:
    """MJD (UTC); NaN for an empty cell, or a gap in a Parquet file."""
    value, text = row.get("label_date"), _text(row, "label_date")
    if not text or (isinstance(value, float) and np.isnan(value)):
        return np.nan
    try:
        return in_range(date_to_utc_mjd(value)) if isinstance(value, datetime) else read_mjd(text)
    except ValueError as error:
        raise SettingsError(f"{where}: label_date {text!r}: {error}") from None
