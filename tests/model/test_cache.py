"""The token cache holds its bound, drops the least recently used, and survives a restart only for its owner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.token_cache import ENTRY_OVERHEAD_BYTES, TokenCache


def token(value: int, size: int = 100) -> np.ndarray:  # type: ignore[type-arg]
    """A token of ``size`` floats."""
    return np.full((1, size), value, np.float32)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 300)), max_size=60), st.integers(0, 6000))
def test_never_more_than_the_bound(puts: list[tuple[int, int]], max_bytes: int) -> None:
    """Whatever is put in, bytes stay within the bound and are counted right."""
    cache = TokenCache(max_bytes)
    kept: dict[bytes, int] = {}
    for key, size in puts:
        name = bytes([key])
        kept.setdefault(name, size)
        if cache.get(name) is None:
            kept[name] = size
        cache.put(name, token(key, size))
        assert cache.num_bytes <= max_bytes
    present = [name for name in kept if cache.get(name) is not None]
    assert len(present) == len(cache)
    assert cache.num_bytes == sum(4 * kept[name] + ENTRY_OVERHEAD_BYTES for name in present)


def test_least_recently_used_goes_first() -> None:
    """A token that was asked for outlives an older one that was not."""
    cache = TokenCache(2 * (400 + ENTRY_OVERHEAD_BYTES))
    cache.put(b"a", token(1))
    cache.put(b"b", token(2))
    assert cache.get(b"a") is not None
    cache.put(b"c", token(3))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None


def test_saved_tokens_come_back_bit_for_bit_for_their_owner_only(tmp_path: Path) -> None:
    """Another bundle, build or thread count starts empty, and so does a damaged file."""
    path = tmp_path / "tokens.safetensors"
    cache = TokenCache(10_000)
    cache.put(b"a", np.array([[0.1, -2.5]], np.float32))
    cache.put(b"b", np.array([[3.0, np.float32(1e-30)]], np.float32))
    assert cache.save(path, owner="me") == 2
    fresh = TokenCache(10_000)
    assert fresh.restore(path, owner="you") == 0
    assert fresh.restore(path, owner="me") == 2
    restored = fresh.get(b"b")
    assert restored is not None
    assert restored.tobytes() == np.array([[3.0, np.float32(1e-30)]], np.float32).tobytes()
    path.write_bytes(b"damaged")
    assert TokenCache(10_000).restore(path, owner="me") == 0
    assert TokenCache(10_000).restore(tmp_path / "none", owner="me") == 0


def test_an_empty_cache_is_saved_and_restored(tmp_path: Path) -> None:
    """Nothing kept, nothing lost."""
    assert TokenCache(0).save(tmp_path / "t", owner="me") == 0
    assert TokenCache(10).restore(tmp_path / "t", owner="me") == 0
