"""Record files: Avro container, Parquet or JSON lines, one file or a folder of numbered parts.

A part carries its final name only when it is complete, so that an interrupted writer leaves whole parts and at most
one ``.partial`` file, which readers ignore and the next writer overwrites.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

import fastavro
from fastavro.write import Writer

from broker_plugin.evaluation.records import DeliveredRecord, delivered_schema
from schemas.bands import BANDS
from schemas.classification import CLASS_NAMES
from schemas.errors import EvaluationError, RecordError

SUFFIXES: Final = (".avro", ".parquet", ".jsonl")
RECORD_STEM: Final = "records"
PARTIAL: Final = ".partial"
# Rows that a Parquet writer holds before it writes them as one row group.
ROW_GROUP: Final = 8192


class RowWriter(Protocol):
    """Writes rows to one open file."""

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""

    def close(self) -> None:
        """Write what is held back; the file itself is closed by its owner."""


class AvroRows:
    """An Avro container, deflate."""

    def __init__(self, file: IO[bytes], schema: Any) -> None:
        self._writer = Writer(file, schema, codec="deflate")

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""
        self._writer.write(row)

    def close(self) -> None:
        """Write the last block."""
        self._writer.flush()


class JsonRows:
    """One JSON object a line, UTF-8."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: dict[str, Any]) -> None:
        """Append one line."""
        self._file.write(json.dumps(row, separators=(",", ":"), allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        """Nothing is held back."""


class ParquetRows:
    """Parquet, one row group for every ROW_GROUP rows."""

    def __init__(self, file: IO[bytes]) -> None:
        import pyarrow.parquet

        self._schema = parquet_schema()
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema)
        self._held: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""
        self._held.append(row)
        if len(self._held) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write the last row group and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        if self._held:
            self._writer.write_table(pyarrow.Table.from_pylist(self._held, self._schema))
            self._held = []


def parquet_schema() -> Any:
    """The flat record as an Arrow schema, of the Avro schema's types."""
    import pyarrow

    kinds = {
        "string": pyarrow.string(),
        "double": pyarrow.float64(),
        "float": pyarrow.float32(),
        "int": pyarrow.int32(),
        "long": pyarrow.int64(),
        "PerClass": pyarrow.struct([(name, pyarrow.float32()) for name in CLASS_NAMES]),
        "FramesPerBand": pyarrow.struct([(band, pyarrow.int32()) for band in BANDS]),
        "Status": pyarrow.string(),
    }

    def arrow_type(kind: Any) -> Any:
        if isinstance(kind, list):
            (kind,) = (branch for branch in kind if branch != "null")
        name = kind["name"] if isinstance(kind, dict) else kind
        return kinds[name.rsplit(".", 1)[-1]]

    return pyarrow.schema([(field["name"], arrow_type(field["type"])) for field in delivered_schema()["fields"]])


@contextmanager
def open_rows(path: Path, *, schema: Any = None) -> Iterator[RowWriter]:
    """A writer of the format that the suffix says; the file appears under its name when it is complete.

    schema: a parsed Avro schema, for other records than DeliveredRecord (``.avro`` only). EvaluationError for an
    unknown suffix.
    """
    if path.suffix not in SUFFIXES:
        raise EvaluationError(f"{path}: a record file ends in one of {', '.join(SUFFIXES)}")
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as file:
        writer: RowWriter
        if path.suffix == ".avro":
            writer = AvroRows(file, schema or delivered_schema())
        else:
            writer = JsonRows(file) if path.suffix == ".jsonl" else ParquetRows(file)
        try:
            yield writer
        finally:
            writer.close()
    partial.replace(path)


def part_path(folder: Path, stem: str, number: int, suffix: str) -> Path:
    """Name of a numbered part, ``<stem>-00000<suffix>``; parts sort in the order of their numbers."""
    return folder / f"{stem}-{number:05d}{suffix}"


def list_parts(path: Path, stem: str = RECORD_STEM) -> list[Path]:
    """The record files of a folder in order, or the one file. EvaluationError when there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise EvaluationError(f"{path}: no such file or folder")
    parts = sorted(child for child in path.glob(f"{stem}*") if child.suffix in SUFFIXES)
    if not parts:
        raise EvaluationError(f"{path}: holds no {stem}*{{{','.join(SUFFIXES)}}}")
    kinds = {part.suffix for part in parts}
    if len(kinds) > 1:
        raise EvaluationError(f"{path}: holds {stem} files of several formats ({', '.join(sorted(kinds))})")
    return parts


def read_records(path: Path) -> Iterator[DeliveredRecord]:
    """Every record of a file or folder, in delivery order, as a stream.

    EvaluationError when there is no such file; RecordError, naming the file, when one cannot be read.
    """
    for part in list_parts(path):
        for row in read_rows(part):
            try:
                yield DeliveredRecord.from_row(row)
            except RecordError as error:
                raise RecordError(f"{part}: {error}") from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one file; RecordError, naming it, when it is damaged."""
    readers = {".avro": _read_avro, ".parquet": _read_parquet, ".jsonl": _read_json}
    if path.suffix not in readers:
        raise EvaluationError(f"{path}: a record file ends in one of {', '.join(SUFFIXES)}")
    try:
        yield from readers[path.suffix](path)
    except (ValueError, EOFError, IndexError, KeyError, OSError, zlib.error) as error:
        raise RecordError(f"{path}: cannot be read, it is damaged or cut short: {error!r}") from error


def _read_avro(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        yield from fastavro.reader(file)  # type: ignore[misc]  # a container of ours holds records


def _read_json(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {line[:40]!r} is not an object")
            yield row


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            yield from batch.to_pylist()
