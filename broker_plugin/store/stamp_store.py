"""StampStore: a stamp-log partition as a local materialised view, one SQLite file.

It holds facts (object key, source id, content digest, first log offset) with their payloads, and the position up to
which the log is applied, in the same transaction. Positions are Kafka's: the next offset. The order of one batch is

    begin, apply, read views, prune and expire, [produce and acknowledge elsewhere], commit

and a rollback at any point leaves the store as the last commit left it. A commit survives the process; after a power
cut the last ones may be lost (synchronous NORMAL), which the log makes good. Reads belong inside a transaction.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from broker_plugin.store.facts import StoredFact
from broker_plugin.store.retention import Bounds, bounds_of, deletable, may_follow, serves
from broker_plugin.store.store_file import (
    UPSERT_OBJECT,
    FileLock,
    StoreIdentity,
    delete_facts,
    delete_objects,
    insert_facts,
    is_corrupt,
    open_database,
    read_bounds,
    read_facts,
    read_meta,
    set_aside,
    write_bounds,
    write_meta,
)
from schemas.errors import StoreError
from schemas.observation import content_digest
from schemas.view import SPARE_FRAMES, FactKey, ViewRule, select_view

# An object's facts are looked over for deletion each time their number passes a multiple of this.
PRUNE_STEP: Final = 16
# The store's newest MJD is the newest of its hundredth-newest object, so that one absurd MJD expires nothing.
CLOCK_OBJECTS: Final = 100
EXPIRE_LIMIT: Final = 256

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Object:
    """An object's facts as the open transaction sees them."""

    identifier: int
    facts: dict[tuple[str, bytes], FactKey]
    num_before: int


class StampStore:
    """The view of one partition. Not for use from several threads."""

    def __init__(self, path: Path, identity: StoreIdentity, *, rules: Collection[ViewRule] = (), holder: str) -> None:
        """Open or create ``path`` under an exclusive lock; ``holder`` says who holds it, for the other's message.

        ``rules``: what the bundles ask of views; a file cut shorter than that is rebuilt. StoreError when another
        process holds the file, or it belongs to a topic of another partition count.
        """
        self.path = path
        self.identity = identity
        self._lock = FileLock(path, holder=holder)
        self._objects: dict[bytes, _Object] = {}
        self._may_delete = False
        self._position: int | None = None
        self._bounds: Bounds = ()
        self._num_objects = self._num_facts = 0
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = open_database(path, identity, rules)
            with self._mapped() as connection:
                write_meta(connection, "closed", False)
                self._recall(connection)
        except BaseException:
            if self._connection is not None:
                self._connection.close()
            self._lock.release()
            raise

    @property
    def position(self) -> int | None:
        """The next log offset to apply (an uncommitted ``apply`` included); None when nothing was ever applied."""
        return self._position

    @property
    def in_transaction(self) -> bool:
        """Whether ``begin`` was called and neither ``commit`` nor ``rollback`` since."""
        return self._connection is not None and self._connection.in_transaction

    def begin(self) -> None:
        """Open the batch's transaction."""
        with self._mapped() as connection:
            connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the batch durable, with its position."""
        with self._mapped() as connection:
            write_meta(connection, "counts", [self._num_objects, self._num_facts])
            connection.execute("COMMIT")
        self._objects.clear()

    def rollback(self) -> None:
        """Forget the batch; does nothing when no transaction is open or the store is closed."""
        self._objects.clear()
        if self._connection is None:
            return
        with self._mapped() as connection:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._recall(connection)

    def close(self) -> None:
        """Roll back what is open, fold the write-ahead log in and release the lock. May be called twice."""
        if self._connection is None:
            return
        self.rollback()
        with self._mapped() as connection:
            write_meta(connection, "closed", True)
        self._connection.close()
        self._connection = None
        self._lock.release()

    def apply(self, facts: Sequence[StoredFact], *, position: int) -> list[int]:
        """Store facts, in log order, and move the position to ``position`` (never back).

        Returns each fact's first offset: its own when it is new, a smaller one when its content was seen before.
        """
        first_offsets: list[int] = []
        new: list[tuple[int, StoredFact]] = []
        with self._mapped() as connection:
            self._load(facts)
            for fact in facts:
                known = self._objects[fact.object_key]
                identity = (fact.key.source_id, fact.key.digest)
                held = known.facts.get(identity)
                if held is None or held.first_offset > fact.key.first_offset:
                    if held is not None:  # the group was set back behind what was deleted and came again
                        delete_facts(connection, [(known.identifier, held)])
                        self._num_facts -= 1
                    known.facts[identity] = held = fact.key
                    new.append((known.identifier, fact))
                first_offsets.append(held.first_offset)
            insert_facts(connection, new)
            self._num_facts += len(new)
            if self._position is None or position > self._position:
                self._position = position
                write_meta(connection, "position", position)
        return first_offsets

    def facts(self, object_key: bytes) -> list[FactKey]:
        """All facts of an object, in no particular order."""
        known = self._objects.get(object_key)
        if known is not None:
            return list(known.facts.values())
        with self._mapped() as connection:
            row = connection.execute("SELECT id FROM objects WHERE key = ?", (object_key,)).fetchone()
            return [] if row is None else list(read_facts(connection, row[0]).values())

    def payloads(self, keys: Sequence[FactKey]) -> list[bytes]:
        """The stamp-log values of stored facts, in the order asked, each checked against its digest."""
        statement = "SELECT bytes FROM payloads WHERE first_offset = ?"
        with self._mapped() as connection:
            rows = [connection.execute(statement, (key.first_offset,)).fetchone() for key in keys]
        for key, row in zip(keys, rows, strict=True):
            if row is None or content_digest(row[0]) != key.digest:
                raise self._condemned(f"the payload of offset {key.first_offset} is not what was stored")
        return [row[0] for row in rows]

    def view(self, object_key: bytes, rule: ViewRule, *, at_offset: int) -> list[tuple[FactKey, bytes]]:
        """What a trigger at ``at_offset`` sees, in time order, with payloads."""
        keys = select_view(self.facts(object_key), rule, at_offset=at_offset)
        return list(zip(keys, self.payloads(keys), strict=True))

    def object_keys(self) -> Iterator[bytes]:
        """Every object, in the order of first arrival. The store must not change meanwhile."""
        with self._mapped() as connection:
            for (key,) in connection.execute("SELECT key FROM objects ORDER BY id"):
                yield key

    def counts(self) -> dict[str, int]:
        """Number of ``objects`` and ``facts`` held, and ``bytes`` of the file without its write-ahead log."""
        with self._mapped() as connection:
            (num_pages,) = connection.execute("PRAGMA page_count").fetchone()
            (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        return {"objects": self._num_objects, "facts": self._num_facts, "bytes": num_pages * page_size}

    def adopt(self, rules: Collection[ViewRule]) -> bool:
        """Delete under these rules from now on.

        False when they want facts that may be gone already: then nothing more is deleted, and views are short of
        them until the store is opened with these rules, which rebuilds it.
        """
        wanted = bounds_of(rules)
        self._may_delete = may_follow(self._bounds, wanted)
        if self._may_delete and wanted != self._bounds:
            with self._mapped() as connection:
                write_bounds(connection, wanted)
            self._bounds = wanted
        return self._may_delete

    def serves(self, rules: Collection[ViewRule]) -> bool:
        """Whether views under these rules are whole."""
        return all(serves(self._bounds, rule) for rule in rules)

    def prune(self, *, committed: int, spare: int = SPARE_FRAMES) -> int:
        """Delete facts of this batch's objects that no view at or past position ``committed`` can need, however
        many as ``spare`` of the frames kept are withdrawn later. Returns the number deleted."""
        if not self._may_delete:
            return 0
        doomed: list[tuple[_Object, FactKey]] = []
        for known in self._objects.values():
            if len(known.facts) // PRUNE_STEP > known.num_before // PRUNE_STEP:
                keys = deletable(known.facts.values(), self._bounds, committed=committed, spare=spare)
                doomed += [(known, key) for key in keys]
        with self._mapped() as connection:
            for known, key in doomed:
                del known.facts[key.source_id, key.digest]
            delete_facts(connection, [(known.identifier, key) for known, key in doomed])
        self._num_facts -= len(doomed)
        return len(doomed)

    def expire(self, keep_days: float, *, committed: int, limit: int = EXPIRE_LIMIT) -> int:
        """Delete at most ``limit`` whole objects whose newest frame is more than ``keep_days`` before the store's
        newest and that no offset at or past ``committed`` speaks of. Returns the number deleted.

        A packet that arrives for such an object later starts it anew. The wall clock plays no part.
        """
        with self._mapped() as connection:
            newest = connection.execute(
                "SELECT newest_mjd FROM objects ORDER BY newest_mjd DESC LIMIT 1 OFFSET ?", (CLOCK_OBJECTS - 1,)
            ).fetchone()
            if newest is None or not self._may_delete:
                return 0
            rows = connection.execute(
                "SELECT id, key FROM objects WHERE newest_mjd < ? AND newest_offset < ? ORDER BY newest_mjd LIMIT ?",
                (newest[0] - keep_days, committed, limit),
            ).fetchall()
            self._num_facts -= delete_objects(connection, [identifier for identifier, _ in rows])
        self._num_objects -= len(rows)
        for _, key in rows:
            self._objects.pop(key, None)
        return len(rows)

    def _recall(self, connection: sqlite3.Connection) -> None:
        """What the last commit left."""
        self._position = read_meta(connection, "position")
        self._bounds = read_bounds(connection)
        self._num_objects, self._num_facts = read_meta(connection, "counts") or (0, 0)

    def _load(self, facts: Sequence[StoredFact]) -> None:
        """Bring the facts of every object named into memory, and note its newest MJD and offset."""
        newest: dict[bytes, tuple[float, int]] = {}
        for fact in facts:
            mjd, offset = newest.get(fact.object_key, (-math.inf, -1))
            newest[fact.object_key] = (max(mjd, fact.key.mjd), max(offset, fact.key.first_offset))
        with self._mapped() as connection:
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM objects").fetchone()
            for object_key, (mjd, offset) in newest.items():
                (identifier,) = connection.execute(UPSERT_OBJECT, (object_key, mjd, offset)).fetchone()
                self._num_objects += identifier > last  # new rows are numbered past the last one
                if object_key not in self._objects:
                    held = read_facts(connection, identifier)
                    self._objects[object_key] = _Object(identifier, held, len(held))

    @contextmanager
    def _mapped(self) -> Iterator[sqlite3.Connection]:
        """The connection, SQLite's errors as StoreError; a corrupt file is set aside before that is raised."""
        if self._connection is None:
            raise StoreError(f"store {self.path} is closed")
        try:
            yield self._connection
        except sqlite3.Error as error:
            if is_corrupt(error):
                raise self._condemned(str(error)) from error
            raise StoreError(f"store {self.path}: {error}") from error

    def _condemned(self, why: str) -> StoreError:
        """Give the damaged file up: the next start rebuilds the partition from the log."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            aside = set_aside(self.path)
            self._lock.release()
            log.error("store set aside", store=str(self.path), aside=str(aside), why=why)
        return StoreError(f"store {self.path} is corrupt ({why}): set aside, a restart rebuilds it from the log")
