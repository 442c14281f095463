"""The token cache over a restart: written when a role ends, read when its bundle is loaded again. An option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from model.runtime import Runtime

log = structlog.get_logger(__name__)


class KeptTokens:
    """One file a bundle in ``folder``; None keeps nothing.

    A file of another bundle, torch build, device or number of threads is not read: the cache then starts empty, as it
    may at any time. Two processes must not share a folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._runtimes: dict[Path, Runtime] = {}

    def loading(self, load: Callable[[Path], Runtime]) -> Callable[[Path], Runtime]:
        """``load``, whose runtimes start with the tokens kept for them."""

        def load_with_tokens(path: Path) -> Runtime:
            runtime = load(path)
            if self._folder is not None:
                kept = self._folder / f"{runtime.bundle_id}.safetensors"
                self._runtimes[kept] = runtime
                count = runtime.cache.restore(kept, owner=runtime.cache_owner)
                log.info("tokens restored", bundle=runtime.bundle_id, tokens=count, size=runtime.cache.num_bytes)
            return runtime

        return load_with_tokens

    def save(self) -> None:
        """Write every loaded bundle's tokens; OSError when the folder cannot be written."""
        for path, runtime in self._runtimes.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            count = runtime.cache.save(path, owner=runtime.cache_owner)
            log.info("tokens kept", bundle=runtime.bundle_id, tokens=count, size=path.stat().st_size)
