"""ClassifyEngine: a batch of stamp-log messages to output records. No Kafka; the caller owns offsets and commits.

One call does: read the facts, apply them to the stores, find the triggers, assemble what each sees, score, and prune.
The stores' transactions stay open: the caller produces the records, waits for their acknowledgements, commits the
stores and then the group's offsets. When ``process`` raises, the stores are rolled back.

What an offset becomes
    below ``restore_below``                          redelivered: applied, it triggers nothing
    holds no fact                                    unreadable
    content seen at a smaller offset                 duplicate
    sent to be stored only (a backfill), no bundle
    for its grid, a band outside it,
    or a withdrawal from an object without a frame
    that a bundle wants                              stored_only, with the reason
    any other                                        a trigger: classified, abstained, too_short or superseded
A fact whose first offset is its own triggers however often it is delivered, and sees the facts up to its own offset
only, so a redelivered trigger gives the same bytes. A record's value is a function of (view, bundle, plugin version).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from broker_plugin.messages import (
    BatchResult,
    ClassifyOutcome,
    LogMessage,
    OffsetOutcome,
    OutputRecord,
    Unreadable,
    record_headers,
)
from broker_plugin.settings.sections import ClassifySettings
from broker_plugin.store.assembly import FrameCache, assemble
from broker_plugin.store.facts import StoredFact, read_stored_fact
from broker_plugin.store.stamp_store import StampStore
from broker_plugin.store.triggers import BACKFILL, LoadedBundle, Trigger, bundle_for, newest_only
from broker_plugin.worker.points import Passed, Point, unwatched
from broker_plugin.worker.scoring import classify_sequences
from model.scores import Scorer
from schemas.classification import Classification, Status
from schemas.errors import InferenceError, RecordError
from schemas.view import ViewRule

# Sequences in memory at once: 99 frames are 1 MB.
SCORE_CHUNK: Final = 64

log = structlog.get_logger(__name__)


class ClassifyEngine:
    """Scores the triggers of batches; one bundle a grid, and challengers beside them whose records go to the shadow.

    A challenger scores the champion's triggers under its own view rule and eligibility. ValueError when two bundles
    share a grid or a challenger has no champion.
    """

    def __init__(
        self,
        scorers: Collection[Scorer],
        settings: ClassifySettings,
        *,
        log_topic: str,
        plugin_version: str,
        challengers: Collection[Scorer] = (),
        clock: Callable[[], float] = time.perf_counter,
        passed: Passed = unwatched,
    ) -> None:
        self._passed = passed
        self._settings = settings
        self._log_topic = log_topic
        self._plugin_version = plugin_version
        self._clock = clock
        self._cache = FrameCache()
        self._bundles = self._by_grid(scorers)
        self._challengers = self._by_grid(challengers)
        if alone := set(self._challengers) - set(self._bundles):
            raise ValueError(f"challengers without a bundle to challenge on grid {', '.join(sorted(alone))}")
        self._short_stores: set[Path] = set()

    @property
    def view_rules(self) -> tuple[ViewRule, ...]:
        """Every rule that views are read under: what a StampStore is opened with."""
        return tuple(bundle.rule for bundle in (*self._bundles.values(), *self._challengers.values()))

    @property
    def bundle_ids(self) -> dict[str, str]:
        """The bundle in use of each grid."""
        return {grid_id: bundle.scorer.bundle_id for grid_id, bundle in self._bundles.items()}

    @property
    def challenger_ids(self) -> dict[str, str]:
        """The challenger of each grid that has one."""
        return {grid_id: bundle.scorer.bundle_id for grid_id, bundle in self._challengers.items()}

    def replace_scorer(self, scorer: Scorer) -> None:
        """Use this bundle for its grid from the next batch on."""
        self._bundles[scorer.view_rule.grid_id] = LoadedBundle.of(scorer, self._settings)

    def replace_challenger(self, scorer: Scorer) -> None:
        """Let this bundle score in shadow for its grid from the next batch on."""
        if scorer.view_rule.grid_id not in self._bundles:
            raise ValueError(f"no bundle to challenge on grid {scorer.view_rule.grid_id}")
        self._challengers[scorer.view_rule.grid_id] = LoadedBundle.of(scorer, self._settings)

    def process(
        self,
        batch: Sequence[LogMessage],
        stores: Mapping[int, StampStore],
        committed: Mapping[int, int],
        *,
        restore_below: Mapping[int, int],
        coalesce_now: bool = False,
    ) -> BatchResult:
        """Apply and score one batch; see the module's docstring.

        batch: offsets ascend within a partition, which has a store. committed: the group's position by partition
        (the next offset), 0 where it has none: nothing that a view at or past it needs is deleted. restore_below:
        by partition, the position up to which offsets only rebuild the store. coalesce_now: score only each
        object's newest trigger of the batch.

        Raises InferenceError when a bundle cannot score even one sequence, StoreError when a store fails.
        """
        by_partition: dict[int, list[LogMessage]] = {}
        for message in batch:
            by_partition.setdefault(message.partition, []).append(message)
        result = BatchResult()
        try:
            triggers: list[Trigger] = []
            started = self._clocks()
            for partition, messages in by_partition.items():
                store = stores[partition]
                store.begin()
                triggers += self._apply(messages, store, restore_below.get(partition, 0), result)
            self._spent(result, "apply", started)
            self._passed(Point.APPLIED)
            if coalesce_now:
                triggers = newest_only(triggers)
            for start in range(0, len(triggers), SCORE_CHUNK):
                chunk = triggers[start : start + SCORE_CHUNK]
                self._score(chunk, stores, result)
                if self._challengers:
                    self._challenge(chunk, stores, result)
            self._passed(Point.INFERRED)
            started = self._clocks()
            for partition in by_partition:
                self._delete(stores[partition], committed.get(partition, 0))
            self._spent(result, "prune", started)
        except BaseException:
            for partition in by_partition:
                stores[partition].rollback()
            raise
        return result

    def _by_grid(self, scorers: Collection[Scorer]) -> dict[str, LoadedBundle]:
        bundles = {scorer.view_rule.grid_id: LoadedBundle.of(scorer, self._settings) for scorer in scorers}
        if len(bundles) != len(scorers):
            raise ValueError("two bundles of one grid: " + ", ".join(scorer.bundle_id for scorer in scorers))
        return bundles

    def _clocks(self) -> tuple[float, float]:
        return self._clock(), time.process_time()

    def _spent(self, result: BatchResult, step: str, started: tuple[float, float]) -> None:
        now = self._clocks()
        result.durations_s[step] += now[0] - started[0]
        result.cpu_s[step] += now[1] - started[1]

    def _apply(
        self, messages: Sequence[LogMessage], store: StampStore, restore_below: int, result: BatchResult
    ) -> list[Trigger]:
        """Store the facts of one partition and say what became of each offset; triggers are left to be scored."""
        facts: list[StoredFact | None] = []
        for message in messages:
            try:
                facts.append(read_stored_fact(message))
            except RecordError as error:
                facts.append(None)
                if message.offset >= restore_below:
                    result.unreadable.append(Unreadable(message, error))
        readable = [fact for fact in facts if fact is not None]
        first_offsets = iter(store.apply(readable, position=messages[-1].offset + 1))
        outcomes = result.outcomes.setdefault(messages[0].partition, [])
        triggers: list[Trigger] = []
        for message, fact in zip(messages, facts, strict=True):
            first_offset = None if fact is None else next(first_offsets)
            outcome, reason = ClassifyOutcome.SUPERSEDED, None  # a trigger's, until it is scored
            if message.offset < restore_below:
                outcome = ClassifyOutcome.REDELIVERED
            elif fact is None:
                outcome = ClassifyOutcome.UNREADABLE
            elif first_offset != message.offset:
                outcome = ClassifyOutcome.DUPLICATE
            elif message.is_stored_only:
                outcome, reason = ClassifyOutcome.STORED_ONLY, BACKFILL
            else:
                bundle, reason = bundle_for(fact, store.facts(fact.object_key), self._bundles)
                if bundle is None:
                    outcome = ClassifyOutcome.STORED_ONLY
                else:
                    triggers.append(Trigger(message, fact, bundle, len(outcomes)))
            outcomes.append(OffsetOutcome(message.offset, outcome, reason))
        return triggers

    def _score(self, triggers: Sequence[Trigger], stores: Mapping[int, StampStore], result: BatchResult) -> None:
        """Score triggers and add their records and outcomes."""
        records = self._records(triggers, [trigger.bundle for trigger in triggers], stores, result)
        result.records += records
        for trigger, record in zip(triggers, records, strict=True):
            said = record.classification
            outcome = OffsetOutcome(record.offset, ClassifyOutcome(said.status.value), said.reason)
            result.outcomes[record.partition][trigger.place] = outcome

    def _challenge(self, triggers: Sequence[Trigger], stores: Mapping[int, StampStore], result: BatchResult) -> None:
        """Score the same triggers in shadow; a challenger that cannot is counted and stops nobody."""
        challenged = [t for t in triggers if t.bundle.rule.grid_id in self._challengers]
        challengers = [self._challengers[t.bundle.rule.grid_id] for t in challenged]
        aside = BatchResult()
        started = self._clocks()
        try:
            result.shadow += self._records(challenged, challengers, stores, aside)
        except InferenceError as error:
            result.num_unchallenged += len(challenged)
            log.error("challenger failed, its records are missing", error=str(error), num_records=len(challenged))
        self._spent(result, "challenge", started)

    def _records(
        self,
        triggers: Sequence[Trigger],
        bundles: Sequence[LoadedBundle],
        stores: Mapping[int, StampStore],
        result: BatchResult,
    ) -> list[OutputRecord]:
        """The record of each trigger under the bundle beside it, in order."""
        started = self._clocks()
        sequences = [
            assemble(
                stores[trigger.message.partition],
                trigger.fact.object_key,
                bundle.rule,
                at_offset=trigger.message.offset,
                cache=self._cache,
            )
            for trigger, bundle in zip(triggers, bundles, strict=True)
        ]
        self._spent(result, "assemble", started)
        started = self._clocks()
        classifications = classify_sequences(sequences, bundles, plugin_version=self._plugin_version)
        self._spent(result, "infer", started)
        return [
            self._record(trigger, classification)
            for trigger, classification in zip(triggers, classifications, strict=True)
        ]

    def _record(self, trigger: Trigger, classification: Classification) -> OutputRecord:
        return OutputRecord(
            key=trigger.fact.object_key,
            value=classification.to_bytes(),
            headers=record_headers(trigger.message, trigger.fact.key.source_id, self._log_topic),
            partition=trigger.message.partition,
            offset=trigger.message.offset,
            classification=classification,
            publish=classification.status is not Status.TOO_SHORT or self._settings.publish_too_short,
        )

    def _delete(self, store: StampStore, committed: int) -> None:
        """Keep the store bounded, by what no view at or past the group's position can need."""
        rules = self.view_rules
        if not store.adopt(rules):
            if store.path not in self._short_stores:
                self._short_stores.add(store.path)
                log.warning("store lacks frames that the bundles want, a restart rebuilds it", store=str(store.path))
            return
        store.prune(committed=committed)
        store.expire(max(rule.max_days for rule in rules) + self._settings.late_days, committed=committed)
