"""Views to sequences: payloads are read from the store and decoded once while they stay in a bounded cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from broker_plugin.store.stamp_store import StampStore
from schemas.errors import StoreError
from schemas.observation import NUM_PIXELS, Observation, read_fact
from schemas.sequence import StampSequence, build_sequence
from schemas.view import FactKey, ViewRule, select_view, view_digest

# Two planes of float32 pixels and a bool mask, and some for the rest.
FRAME_BYTES: Final = 2 * NUM_PIXELS * 5 + 1024
CACHE_BYTES: Final = 64 * 1024 * 1024


class FrameCache:
    """Decoded observations by content digest, least recently used out first, bounded in bytes."""

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_frames = max(1, max_bytes // FRAME_BYTES)
        self._frames: OrderedDict[bytes, Observation] = OrderedDict()

    def __len__(self) -> int:
        return len(self._frames)

    def observations(self, store: StampStore, keys: Sequence[FactKey]) -> list[Observation]:
        """The observations of facts held by ``store``, in order."""
        missing = [key for key in keys if key.digest not in self._frames]
        fresh = {key.digest: _decoded(payload) for key, payload in zip(missing, store.payloads(missing), strict=True)}
        found = [fresh.get(key.digest) or self._used(key.digest) for key in keys]
        self._frames.update(fresh)
        while len(self._frames) > self._max_frames:
            self._frames.popitem(last=False)
        return found

    def _used(self, digest: bytes) -> Observation:
        self._frames.move_to_end(digest)
        return self._frames[digest]


def assemble(
    store: StampStore, object_key: bytes, rule: ViewRule, *, at_offset: int, cache: FrameCache
) -> StampSequence:
    """The sequence that a trigger of ``object_key`` at ``at_offset`` sees; of no frame when its view is empty."""
    keys = select_view(store.facts(object_key), rule, at_offset=at_offset)
    survey, _, object_id = object_key.decode().partition(":")
    return build_sequence(
        survey,
        object_id,
        rule.grid_id,
        cache.observations(store, keys),
        [key.digest for key in keys],
        view_digest=view_digest(keys),
    )


def _decoded(payload: bytes) -> Observation:
    fact = read_fact(payload)
    if not isinstance(fact, Observation):
        raise StoreError("a withdrawal stands where the store's keys promise an observation")
    return fact
