"""Tokens that were computed once and are used again, least recently used first out, bounded in bytes.

A key names everything a token depends on: the frames' contents (``TokenGroup.key``) and the number of slots it was
computed in; the cache as a whole belongs to one owner (bundle, torch build, device, threads). A token can therefore
never be stale, only absent.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

# A dictionary entry, its key and the array's header, measured with sys.getsizeof on CPython 3.11.
ENTRY_OVERHEAD_BYTES: Final = 280

Token = NDArray[np.float32]


class TokenCache:
    """Tokens [K, D] float32 by key, at most ``max_bytes`` of them (0: nothing is kept). Not thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.num_hits = 0
        self.num_misses = 0
        self._tokens: OrderedDict[bytes, Token] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def get(self, key: bytes) -> Token | None:
        """The token, now the most recently used, or None."""
        token = self._tokens.get(key)
        if token is None:
            self.num_misses += 1
            return None
        self.num_hits += 1
        self._tokens.move_to_end(key)
        return token

    def put(self, key: bytes, token: Token) -> None:
        """Keep a token (which nobody may write to from now on), dropping the least recently used beyond the bound."""
        size = token.nbytes + ENTRY_OVERHEAD_BYTES
        if size > self.max_bytes or key in self._tokens:
            return
        token.flags.writeable = False
        self._tokens[key] = token
        self.num_bytes += size
        while self.num_bytes > self.max_bytes:
            _, dropped = self._tokens.popitem(last=False)
            self.num_bytes -= dropped.nbytes + ENTRY_OVERHEAD_BYTES

    def save(self, path: Path, *, owner: str) -> int:
        """Write all tokens, least recently used first, under the owner's name; returns their number."""
        keys = b"".join(self._tokens)
        size = len(next(iter(self._tokens), b""))
        tokens = np.stack(list(self._tokens.values())) if self._tokens else np.zeros((0, 0, 0), np.float32)
        tensors = {
            "keys": torch.from_numpy(np.frombuffer(keys, np.uint8).reshape(-1, max(size, 1)).copy()),
            "tokens": torch.from_numpy(tokens),
        }
        scratch = path.with_name(f".{path.name}.part")
        save_file(tensors, scratch, metadata={"owner": owner})
        scratch.replace(path)
        return len(self._tokens)

    def restore(self, path: Path, *, owner: str) -> int:
        """Take over the tokens of a file that the same owner wrote; returns their number.

        A file that is missing, unreadable or another owner's gives 0: a cache may always start empty.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("owner") != owner:
                    return 0
                keys, tokens = file.get_tensor("keys"), file.get_tensor("tokens")
        except (OSError, SafetensorError):
            return 0
        if keys.ndim != 2 or tokens.ndim != 3 or len(keys) != len(tokens) or tokens.dtype != np.float32:
            return 0
        for key, token in zip(keys, tokens, strict=True):
            self.put(key.tobytes(), token.copy())
        return len(keys)
