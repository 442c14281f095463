"""Takes up a promoted bundle without a restart: looked for between batches, at most once an interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from broker_plugin.classify_engine import ClassifyEngine
from model.bundle_store import BundleWatcher
from model.scores import Scorer
from schemas.errors import BundleError

log = structlog.get_logger(__name__)


class BundleReloader:
    """Polls bundle stores. A bundle that is refused is logged, and the one in use stays."""

    def __init__(
        self,
        paths: Sequence[Path],
        engine: ClassifyEngine,
        load: Callable[[Path], Scorer],
        *,
        interval_s: float,
        on_switch: Callable[[], None],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watchers = [BundleWatcher(path) for path in paths]
        self._engine = engine
        self._load = load
        self._interval_s = interval_s
        self._on_switch = on_switch
        self._timer = timer
        self._next = timer() + interval_s

    def poll(self) -> None:
        """Load and switch to what was promoted since the last look; call it between batches only."""
        if self._timer() < self._next:
            return
        self._next = self._timer() + self._interval_s
        for watcher in self._watchers:
            try:
                folder = watcher.poll()
                if folder is None:
                    continue
                scorer = self._load(folder)
                if scorer.view_rule.grid_id not in self._engine.bundle_ids:
                    raise BundleError(f"{folder}: grid {scorer.view_rule.grid_id} is of no bundle in use")
            except BundleError as error:
                log.error("promoted bundle refused, the one in use stays", error=str(error))
                continue
            self._engine.replace_scorer(scorer)
            self._on_switch()
            log.info("bundle switched", bundle=scorer.bundle_id)
