"""Stamps to records, as the classify role makes them, in this process or in several that share the objects.

An object's stamps always go to the same shard, as they go to one partition of the stamp log; each shard has a store
of its own. What a record says depends on its object alone, so the number of shards changes no record.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from broker_plugin.messages import BatchResult, LogMessage
from broker_plugin.replay.processes import Helper, helper_process, num_processors
from broker_plugin.settings.sections import ClassifySettings
from broker_plugin.store.stamp_store import StampStore
from broker_plugin.store.store_file import StoreIdentity
from broker_plugin.version import plugin_version
from broker_plugin.worker.classify_engine import ClassifyEngine
from schemas.errors import RecordError, StoreError, StoreHeld

PARTITION: Final = 0
LOG_TOPIC: Final = "offline"
# How long the store may still be held by a process whose owner was killed: it ends after its batch.
HELD_S: Final = 30.0
# Each holds the networks, its caches and a store: some 400 MB.
MAX_SHARDS: Final = 8


@dataclass(frozen=True, slots=True)
class ShardStore:
    """Where a shard keeps its state. must_exist: stamps were stored there before."""

    path: Path
    job_id: str
    number: int
    num_shards: int
    must_exist: bool


class Shard(Protocol):
    """Classifies some of the objects: ``open`` once, then ``submit`` and ``result`` in turns, ``close``."""

    def bundle_ids(self) -> dict[str, str]:
        """The bundle of each grid."""

    def open(self, store: ShardStore) -> None:
        """Open the state; StoreError when it is held, or gone although it must exist."""

    def submit(self, messages: Sequence[LogMessage], committed: int) -> None:
        """Start on stamps, in order; committed: the position that a restart would go on from."""

    def result(self) -> BatchResult:
        """What they led to. The errors of ClassifyEngine."""

    def close(self) -> None:
        """Let the state go."""


class LocalShard:
    """Works in this process, when asked for the result."""

    def __init__(self, engine: ClassifyEngine) -> None:
        self._engine = engine
        self._store: StampStore | None = None
        self._work: tuple[Sequence[LogMessage], int] = ((), 0)

    def bundle_ids(self) -> dict[str, str]:
        """See Shard."""
        return self._engine.bundle_ids

    def open(self, store: ShardStore) -> None:
        """See Shard."""
        identity = StoreIdentity("", store.job_id, LOG_TOPIC, store.number, store.num_shards)
        found = _open_when_free(store.path, identity, self._engine)
        if store.must_exist and found.position is None:
            found.close()
            raise StoreError(f"{store.path} is gone or damaged: delete the output and replay anew")
        self._store = found

    def submit(self, messages: Sequence[LogMessage], committed: int) -> None:
        """See Shard."""
        self._work = messages, committed

    def result(self) -> BatchResult:
        """See Shard."""
        (messages, committed), self._work = self._work, ((), 0)
        assert self._store is not None
        if not messages:
            return BatchResult()
        result = self._engine.process(
            messages, {PARTITION: self._store}, {PARTITION: committed}, restore_below={PARTITION: 0}
        )
        self._store.commit()
        if result.unreadable:
            raise RecordError(f"a stamp that was just made cannot be read: {result.unreadable[0].error}")
        return result

    def close(self) -> None:
        """See Shard."""
        if self._store is not None:
            self._store.close()
            self._store = None


class ProcessShard:
    """Works in another process."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    def bundle_ids(self) -> dict[str, str]:
        """See Shard."""
        self._helper.send(("bundle_ids",))
        found: dict[str, str] = self._helper.receive()
        return found

    def open(self, store: ShardStore) -> None:
        """See Shard."""
        self._helper.send(("open", store))
        self._helper.receive()

    def submit(self, messages: Sequence[LogMessage], committed: int) -> None:
        """See Shard."""
        self._helper.send(("classify", list(messages), committed))

    def result(self) -> BatchResult:
        """See Shard."""
        result: BatchResult = self._helper.receive()
        return result

    def close(self) -> None:
        """The process lets it go when it ends."""


class ShardHandler:
    """A LocalShard behind a pipe."""

    def __init__(self, engine: ClassifyEngine) -> None:
        self._shard = LocalShard(engine)

    def __call__(self, work: tuple[Any, ...]) -> Any:
        """The answer to one call of ProcessShard."""
        name, *arguments = work
        if name == "bundle_ids":
            return self._shard.bundle_ids()
        if name == "open":
            return self._shard.open(*arguments)
        self._shard.submit(*arguments)
        return self._shard.result()

    def close(self) -> None:
        """Let the state go."""
        self._shard.close()


def make_engine(settings: ClassifySettings) -> ClassifyEngine:
    """The engine of the bundles that the settings name."""
    from broker_plugin.worker.bundle_loading import bundle_loader, bundle_paths

    load = bundle_loader(settings)
    scorers = [load(path) for path in bundle_paths(settings)]
    return ClassifyEngine(scorers, settings, log_topic=LOG_TOPIC, plugin_version=plugin_version())


def make_handler(settings: ClassifySettings) -> ShardHandler:
    """What a shard's process does."""
    return ShardHandler(make_engine(settings))


class Shards:
    """All shards as one: stamps go to their object's shard, results come back in the order of the stamps.

    num_stamps: given to each shard so far.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)
        self.num_stamps: list[int] = []

    def __len__(self) -> int:
        return len(self._shards)

    def bundle_ids(self) -> dict[str, str]:
        """The bundle of each grid."""
        return self._shards[0].bundle_ids()

    def open(self, folder: Path, job_id: str, num_stamps: Sequence[int]) -> None:
        """Open every shard's state in ``folder``; num_stamps: given to each before, none for a fresh start."""
        self.num_stamps = list(num_stamps) or [0] * len(self)
        for number, (shard, stamped) in enumerate(zip(self._shards, self.num_stamps, strict=True)):
            path = folder / f"store-{number}.sqlite"
            shard.open(ShardStore(path, job_id, number, len(self), must_exist=stamped > 0))

    def submit(self, messages: Sequence[LogMessage], committed: int) -> None:
        """Start on stamps, in order; committed: the position that a restart would go on from."""
        parts: list[list[LogMessage]] = [[] for _ in self._shards]
        for message in messages:
            parts[zlib.crc32(message.key or b"") % len(parts)].append(message)
        for number, (shard, part) in enumerate(zip(self._shards, parts, strict=True)):
            self.num_stamps[number] += len(part)
            shard.submit(part, committed)

    def result(self) -> BatchResult:
        """What they led to, records and outcomes by offset."""
        merged = BatchResult()
        for shard in self._shards:
            found = shard.result()
            merged.records += found.records
            merged.outcomes.setdefault(PARTITION, []).extend(found.outcomes.get(PARTITION, []))
        merged.records.sort(key=lambda record: record.offset)
        merged.outcomes[PARTITION].sort(key=lambda outcome: outcome.offset)
        return merged

    def close(self) -> None:
        """Let every shard's state go."""
        for shard in self._shards:
            shard.close()


def open_shards(settings: ClassifySettings, stack: ExitStack, num_shards: int) -> Shards:
    """Shards until ``stack`` ends, each in a process of its own where there are several.

    num_shards: 0 for as many as there are processors; a GPU is not shared.
    """
    if num_shards == 0:
        num_shards = 1 if _uses_gpu(settings) else min(num_processors(), MAX_SHARDS)
    if num_shards == 1:
        return Shards([LocalShard(make_engine(settings))])
    make = partial(make_handler, settings)
    return Shards([ProcessShard(stack.enter_context(helper_process(make))) for _ in range(num_shards)])


def _uses_gpu(settings: ClassifySettings) -> bool:
    if settings.device == "cpu":
        return False
    import torch

    return bool(torch.cuda.is_available())


def _open_when_free(
    path: Path, identity: StoreIdentity, engine: ClassifyEngine, *, sleep: Callable[[float], None] = time.sleep
) -> StampStore:
    """The store, waited for while an orphan of a killed replay finishes its batch."""
    deadline = time.monotonic() + HELD_S
    while True:
        try:
            return StampStore(path, identity, rules=engine.view_rules, holder="offline replay")
        except StoreHeld:
            if time.monotonic() > deadline:
                raise
            sleep(0.2)
