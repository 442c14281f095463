"""Facts of the stamp log, or of an archive, as memory-mapped sequences: the training archive without its labels.

Facts may come in any order, any number of times; they are gathered by object in a scratch database beside the
output, so that memory stays bounded, and an object's frames are the current ones by the view's own rule (best
reading a source, withdrawn ones left out). One set of sequences a survey and grid is written, in
``<survey>-<grid>/``, and an index, ``snapshot.json``, with the digest of each set, which a bundle trained on it
names, and of each file, pixels too, which is checked whenever the snapshot is opened.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import file_digest
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.errors import RecordError, SettingsError
from schemas.observation import Observation, Withdrawal, content_digest, read_fact
from schemas.view import FactKey, current_facts
from train.dataset import set_digest
from train.json_files import PART, write_json
from train.simulator.sequence_set import FRAME, OBJECT, SET_FILES, SequenceSet, SequenceWriter, pack

INDEX_FILE: Final = "snapshot.json"
PARTIAL_INDEX_FILE: Final = INDEX_FILE + PART
SCRATCH_FILE: Final = "scratch.sqlite"
FORMAT: Final = "convention-snapshot-2"
_COMMIT_EVERY: Final = 2000
_TABLE: Final = (
    "CREATE TABLE facts(survey TEXT, grid TEXT, object TEXT, source TEXT, digest BLOB, first INTEGER, mjd REAL, "
    "band INTEGER, num_valid INTEGER, difference INTEGER, payload BLOB, PRIMARY KEY(survey, object, source, digest))"
)
_WITHDRAWN: Final = -1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """sets: folder and digest of each set of sequences; num_facts: distinct ones gathered."""

    folder: Path
    sets: Mapping[Path, str]
    num_facts: int


def write_snapshot(
    folder: Path,
    payloads: Iterable[bytes],
    made: Mapping[str, Any],
    *,
    refused: Callable[[RecordError], None] | None = None,
) -> Snapshot:
    """Gather stamp-log values and write their sequences; ``made`` says where they are from.

    refused: told of every value that is no fact, before the next one is taken; the value is left out and counted in
    the index. Without it such a value is a RecordError. What an interrupted call left is begun again. SettingsError
    when the folder holds anything else or no object remains.
    """
    scratch = folder / SCRATCH_FILE
    _begin_again(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(scratch)) as database:
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA synchronous=OFF")
        database.execute(_TABLE)
        num_facts, num_refused = _gather(database, payloads, refused)
        places = database.execute("SELECT DISTINCT survey, grid FROM facts WHERE grid != '' ORDER BY 1, 2").fetchall()
        sets = {folder / f"{survey}-{grid}": _write(database, folder, survey, grid, made) for survey, grid in places}
    if not sets:
        scratch.unlink()
        raise SettingsError(f"{folder}: not a single observation was read")
    index = {
        "format": FORMAT,
        "made": dict(made),
        "num_facts": num_facts,
        "num_refused": num_refused,
        "sets": {path.name: digest for path, digest in sets.items()},
        "files": {f"{path.name}/{file.name}": _file_digest(file) for path in sets for file in sorted(path.iterdir())},
    }
    write_json(folder / INDEX_FILE, index)
    scratch.unlink()  # last: while it is there without an index, the folder is an interrupted call's
    return Snapshot(folder, sets, num_facts)


def _begin_again(folder: Path) -> None:
    """Remove what an interrupted call left, told by its scratch database without an index; SettingsError when the
    folder is no folder or has anything else in it."""
    if not folder.exists():
        return
    entries = list(folder.iterdir()) if folder.is_dir() else [folder]
    names = {entry.name for entry in entries}
    sets = [entry for entry in entries if entry.is_dir()]
    ours = {SCRATCH_FILE, PARTIAL_INDEX_FILE} | {entry.name for entry in sets if _is_part_of_a_set(entry)}
    if entries and not (SCRATCH_FILE in names and names <= ours):
        raise SettingsError(f"{folder}: is not an empty folder: name another, or remove it")
    for part in sets:
        for file in part.iterdir():
            file.unlink()
        part.rmdir()
    for name in names & {SCRATCH_FILE, PARTIAL_INDEX_FILE}:
        (folder / name).unlink()


def _is_part_of_a_set(folder: Path) -> bool:
    return not folder.is_symlink() and all(entry.name in SET_FILES and entry.is_file() for entry in folder.iterdir())


def open_snapshot(folder: Path) -> Snapshot:
    """A snapshot whose files are what its index says; SettingsError when one was changed or is missing."""
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        found, stated, num_facts = index["format"], dict(index["sets"]), int(index["num_facts"])
        files = dict(index["files"]) if found == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{folder} holds no snapshot ({INDEX_FILE}): {error!r}") from error
    if found != FORMAT:
        raise SettingsError(f"{folder} is a snapshot of format {found}, expected {FORMAT}: export it again")
    sets = {}
    for name, digest in stated.items():
        SequenceSet(folder / name)
        sets[folder / name] = digest
    there = {f"{path.name}/{file.name}" for path in sets for file in path.iterdir()}
    if unstated := sorted(there - files.keys()):
        raise SettingsError(f"{folder}/{INDEX_FILE} does not say what {unstated[0]} is: export it again")
    for name, digest in files.items():
        if _file_digest(folder / name) != digest:
            raise SettingsError(f"{folder / name} is not what {INDEX_FILE} says, its digest differs: export it again")
    for path, digest in sets.items():
        if set_digest(path) != digest:
            raise SettingsError(f"{path} is not what {INDEX_FILE} says: its digest differs")
    return Snapshot(folder, sets, num_facts)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}: the snapshot is damaged, export it again") from error


def _gather(
    database: sqlite3.Connection, payloads: Iterable[bytes], refused: Callable[[RecordError], None] | None
) -> tuple[int, int]:
    """Distinct facts, and values that are none."""
    num_refused = 0
    statement = f"INSERT OR IGNORE INTO facts VALUES ({', '.join('?' * 11)})"
    for number, payload in enumerate(payloads):
        try:
            fact = read_fact(payload)
        except RecordError as error:
            if refused is None:
                raise
            num_refused += 1
            refused(error)
            continue
        database.execute(statement, (*_columns(number, fact, payload), payload))
        if number % _COMMIT_EVERY == 0:
            database.commit()
    database.commit()
    (num_facts,) = database.execute("SELECT count(*) FROM facts").fetchone()
    return int(num_facts), num_refused


def _columns(number: int, fact: Observation | Withdrawal, payload: bytes) -> tuple[Any, ...]:
    for text, limit in (
        (fact.object_id, OBJECT["object_id"].itemsize),
        (fact.source_id, FRAME["source_id"].itemsize),
    ):
        if len(text.encode()) > limit:
            raise SettingsError(f"id {text!r} has more than {limit} bytes")
    return (
        fact.survey,
        "" if isinstance(fact, Withdrawal) else fact.grid_id,
        fact.object_id,
        fact.source_id,
        content_digest(payload),
        number,
        fact.mjd,
        fact.band_id,
        _WITHDRAWN if isinstance(fact, Withdrawal) else fact.num_valid,
        int(isinstance(fact, Observation) and fact.difference.num_valid > 0),
    )


def _write(database: sqlite3.Connection, folder: Path, survey: str, grid: str, made: Mapping[str, Any]) -> str:
    (has_difference,) = database.execute(
        "SELECT max(difference) FROM facts WHERE survey = ? AND grid = ?", (survey, grid)
    ).fetchone()
    planes = ("science", "difference") if has_difference else ("science",)
    target = folder / f"{survey}-{grid}"
    with SequenceWriter(target, survey=survey, grid_id=grid, planes=planes) as writer:
        for object_id, observations in _objects(database, survey, grid):
            newest = observations[-1]
            truth = {"object_id": object_id, "ra": newest.ra, "dec": newest.dec, "kind": "observed"}
            unknown = dict.fromkeys(("redshift", "peak_r", "host_r", "separation_arcsec"), np.nan)
            writer.add(truth | unknown, pack(observations, planes))
        writer.finish(made)
    return set_digest(target)


def _objects(database: sqlite3.Connection, survey: str, grid: str) -> Iterator[tuple[str, list[Observation]]]:
    """Each object with its current observations in time order; an object all withdrawn is left out."""
    rows = database.execute(
        "SELECT object, source, digest, first, mjd, band, num_valid FROM facts "
        "WHERE survey = ? AND grid IN (?, '') ORDER BY object, first",
        (survey, grid),
    )
    for object_id, own in groupby(rows, key=lambda row: row[0]):
        facts = [
            FactKey(source, digest, first, mjd, band, grid, num_valid)
            for _, source, digest, first, mjd, band, num_valid in own
        ]
        observations = [_observation(database, survey, object_id, fact) for fact in current_facts(facts)]
        if observations:
            yield object_id, observations


def _observation(database: sqlite3.Connection, survey: str, object_id: str, fact: FactKey) -> Observation:
    (payload,) = database.execute(
        "SELECT payload FROM facts WHERE survey = ? AND object = ? AND source = ? AND digest = ?",
        (survey, object_id, fact.source_id, fact.digest),
    ).fetchone()
    return Observation.from_bytes(payload)
