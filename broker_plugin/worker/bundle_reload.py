"""Takes up a promoted bundle without a restart: looked for between batches, at most once an interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from broker_plugin.worker.classify_engine import ClassifyEngine
from model.bundle_store import BundleWatcher
from model.scores import Scorer
from schemas.errors import BundleError

log = structlog.get_logger(__name__)


class BundleReloader:
    """Polls bundle stores. A bundle that is refused is logged, and the one in use stays."""

    def __init__(
        self,
        engine: ClassifyEngine,
        load: Callable[[Path], Scorer],
        *,
        bundles: Sequence[Path],
        challengers: Sequence[Path] = (),
        interval_s: float,
        on_switch: Callable[[], None],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """bundles, challengers: the paths in use, of which those that are bundle stores are watched."""
        self._watchers = [(BundleWatcher(path), False) for path in bundles]
        self._watchers += [(BundleWatcher(path), True) for path in challengers]
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
        for watcher, challenges in self._watchers:
            try:
                folder = watcher.poll()
                if folder is not None:
                    self._switch(folder, challenges)
            except BundleError as error:
                log.error("promoted bundle refused, the one in use stays", error=str(error))

    def _switch(self, folder: Path, challenges: bool) -> None:
        scorer = self._load(folder)
        in_use = self._engine.challenger_ids if challenges else self._engine.bundle_ids
        if scorer.view_rule.grid_id not in in_use:
            raise BundleError(f"{folder}: grid {scorer.view_rule.grid_id} is of no bundle in use")
        if challenges:
            self._engine.replace_challenger(scorer)
        else:
            self._engine.replace_scorer(scorer)
        self._on_switch()
        log.info("bundle switched", bundle=scorer.bundle_id, challenger=challenges)
