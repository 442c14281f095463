"""The SQLite file of one stamp-log partition: its lock, its identity, and what happens when either does not fit.

* Another process holds it: StoreError naming the file and the holder.
* Of another cluster, topic, partition or layout, cut shorter than the bundle now asks for, or corrupt: it is set
  aside under ``<name>.aside-<n>`` (logged) and an empty file takes its place, to be rebuilt from the log.
* Same topic with another number of partitions: StoreError, because keys have moved between partitions.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from broker_plugin.store.facts import StoredFact
from broker_plugin.store.retention import Bounds, bounds_of, may_follow
from schemas.errors import StoreError, StoreHeld
from schemas.view import FactKey, ViewRule

LAYOUT_VERSION: Final = 1
CACHE_KIB: Final = 65_536
# Pages of the write-ahead log before it is copied back: a few batches of 256 observations of 4.5 kB.
CHECKPOINT_PAGES: Final = 4_000

# Keys are small and clustered by object, so that an object's facts are one range read; payloads are appended in log
# order (a fact's first offset is unique in its partition) and do not widen the tree that is searched.
_LAYOUT: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE objects (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, newest_mjd REAL NOT NULL, newest_offset INTEGER NOT NULL);
CREATE INDEX objects_by_mjd ON objects (newest_mjd);
CREATE TABLE facts (
    object INTEGER NOT NULL, source_id TEXT NOT NULL, digest BLOB NOT NULL, first_offset INTEGER NOT NULL,
    mjd REAL NOT NULL, band INTEGER NOT NULL, grid TEXT NOT NULL, num_valid INTEGER NOT NULL,
    PRIMARY KEY (object, source_id, digest)) WITHOUT ROWID;
CREATE TABLE payloads (first_offset INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
"""
UPSERT_OBJECT: Final = (
    "INSERT INTO objects (key, newest_mjd, newest_offset) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "newest_mjd = max(newest_mjd, excluded.newest_mjd), newest_offset = max(newest_offset, excluded.newest_offset) "
    "RETURNING id"
)
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which partition of which topic a store is the view of. cluster_id and topic_id are the broker's UUIDs."""

    cluster_id: str
    topic_id: str
    topic: str
    partition: int
    num_partitions: int


class FileLock:
    """An exclusive lock beside the store; the kernel drops it when the process dies, however it dies."""

    def __init__(self, path: Path, *, holder: str) -> None:
        lock_path = path.with_name(path.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"store {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            current = os.read(self._file, 200).decode(errors="replace").strip() or "another process"
            os.close(self._file)
            raise StoreHeld(f"store {path} is held by {current}") from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"process {os.getpid()} on {socket.gethostname()} ({holder})\n".encode())

    def release(self) -> None:
        """Let another process have the file."""
        os.close(self._file)


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is damaged."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _CORRUPT


def set_aside(path: Path) -> Path:
    """Move the file and its write-ahead log out of the way, under the first free number."""
    number = 1
    while (target := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(target.with_name(target.name + suffix))
    return target


def count_set_aside(path: Path) -> int:
    """Number of files that once were this store and were moved out of the way."""
    return len([p for p in path.parent.glob(f"{path.name}.aside-*") if p.suffix[-1].isdigit()])


def open_database(path: Path, identity: StoreIdentity, rules: Iterable[ViewRule]) -> sqlite3.Connection:
    """The file's connection, in the state that ``identity`` and ``rules`` ask for; see the module's docstring."""
    rules = tuple(rules)
    if path.exists():
        fault = _fault_of(path, identity, rules)
        if fault is None:
            return _connect(path)
        log.warning(
            "store set aside, rebuilding from the log", store=str(path), aside=str(set_aside(path)), why=fault
        )
    connection = _connect(path)
    connection.execute("BEGIN IMMEDIATE")
    for statement in _LAYOUT.split(";"):
        connection.execute(statement)
    write_meta(connection, "layout", LAYOUT_VERSION)
    write_meta(connection, "identity", asdict(identity))
    write_bounds(connection, ())
    connection.execute("COMMIT")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # transactions are explicit; the file is ours alone, so its index needs no shared memory
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "temp_store = MEMORY",
        f"cache_size = -{CACHE_KIB}",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _fault_of(path: Path, identity: StoreIdentity, rules: tuple[ViewRule, ...]) -> str | None:
    """Why the file cannot be used, None when it can; StoreError when it must not be replaced either."""
    try:
        connection = _connect(path)
    except sqlite3.DatabaseError as error:
        if is_corrupt(error):
            return f"corrupt: {error}"
        raise StoreError(f"store {path} cannot be opened: {error}") from error
    try:
        layout = read_meta(connection, "layout")
        if layout != LAYOUT_VERSION:
            return f"layout {layout}, expected {LAYOUT_VERSION}"
        if not read_meta(connection, "closed"):
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                return f"corrupt: {verdict}"
        return _identity_fault(path, read_meta(connection, "identity"), identity) or _bounds_fault(connection, rules)
    except sqlite3.DatabaseError as error:
        if is_corrupt(error) or "no such table" in str(error):
            return f"corrupt: {error}"
        raise StoreError(f"store {path} cannot be read: {error}") from error
    finally:
        connection.close()


def _identity_fault(path: Path, found: dict[str, Any], wanted: StoreIdentity) -> str | None:
    expected = asdict(wanted)
    changed = [name for name in expected if found.get(name) != expected[name]]
    if changed == ["num_partitions"]:
        raise StoreError(
            f"store {path}: topic {wanted.topic} had {found['num_partitions']} partitions and now has "
            f"{wanted.num_partitions}, so objects have moved between partitions: restore the count, or delete the "
            "state directory to rebuild every store"
        )
    if changed:
        return "; ".join(f"{name} is {expected[name]}, the file's is {found.get(name)}" for name in changed)
    return None


def _bounds_fault(connection: sqlite3.Connection, rules: tuple[ViewRule, ...]) -> str | None:
    if rules and not may_follow(read_bounds(connection), bounds_of(rules)):
        return "frames that the bundles now want were deleted under narrower rules"
    return None


def read_bounds(connection: sqlite3.Connection) -> Bounds:
    """The rules under which facts were deleted; empty when none ever was."""
    return tuple(
        ViewRule(max_frames=max_frames, max_days=max_days, band_ids=frozenset(band_ids), grid_id=grid_id)
        for grid_id, max_frames, max_days, band_ids in read_meta(connection, "bounds")
    )


def write_bounds(connection: sqlite3.Connection, bounds: Bounds) -> None:
    """Inverse of ``read_bounds``."""
    rows = [[b.grid_id, b.max_frames, b.max_days, sorted(b.band_ids)] for b in bounds]
    write_meta(connection, "bounds", rows)


def read_facts(connection: sqlite3.Connection, identifier: int) -> dict[tuple[str, bytes], FactKey]:
    """The facts of the object with this row id, by source id and digest."""
    rows = connection.execute(
        "SELECT source_id, digest, first_offset, mjd, band, grid, num_valid FROM facts WHERE object = ?",
        (identifier,),
    ).fetchall()
    return {(row[0], row[1]): FactKey(*row) for row in rows}


def insert_facts(connection: sqlite3.Connection, facts: Sequence[tuple[int, StoredFact]]) -> None:
    """Facts that are not held yet, each with its object's row id."""
    keys = [(identifier, fact.key) for identifier, fact in facts]
    connection.executemany(
        "INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(i, k.source_id, k.digest, k.first_offset, k.mjd, k.band_id, k.grid_id, k.num_valid) for i, k in keys],
    )
    connection.executemany(
        "INSERT INTO payloads VALUES (?, ?)", [(fact.key.first_offset, fact.payload) for _, fact in facts]
    )


def delete_facts(connection: sqlite3.Connection, keys: Sequence[tuple[int, FactKey]]) -> None:
    """Facts that are held, each with its object's row id."""
    connection.executemany(
        "DELETE FROM facts WHERE object = ? AND source_id = ? AND digest = ?",
        [(identifier, key.source_id, key.digest) for identifier, key in keys],
    )
    connection.executemany("DELETE FROM payloads WHERE first_offset = ?", [(key.first_offset,) for _, key in keys])


def delete_objects(connection: sqlite3.Connection, identifiers: Sequence[int]) -> int:
    """Objects with all their facts, by row id; returns the number of facts."""
    rows = [(identifier,) for identifier in identifiers]
    connection.executemany(
        "DELETE FROM payloads WHERE first_offset IN (SELECT first_offset FROM facts WHERE object = ?)", rows
    )
    num_facts = connection.executemany("DELETE FROM facts WHERE object = ?", rows).rowcount
    connection.executemany("DELETE FROM objects WHERE id = ?", rows)
    return max(num_facts, 0)


def read_meta(connection: sqlite3.Connection, name: str) -> Any:
    """A metadata value, None when it was never written."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else json.loads(row[0])


def write_meta(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Set a metadata value (anything JSON holds)."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))
