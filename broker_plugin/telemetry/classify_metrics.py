"""Prometheus metrics of the classify role: log records, triggers, store, device, bundles, latency."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry

from broker_plugin.messages import ClassifyOutcome
from broker_plugin.telemetry.drift import DriftMetrics
from broker_plugin.telemetry.metric_families import DURATION_BUCKETS_S, LATENCY_BUCKETS_S, SIZE_BUCKETS
from broker_plugin.telemetry.metrics import RoleMetrics, Step
from model.distributions import Counts
from model.scores import LOW_CONFIDENCE, NOVEL, Scores
from schemas.classification import CLASS_NAMES, Classification, Status
from schemas.sequence import StampSequence

MJD_OF_UNIX_EPOCH: Final = 40587.0
# TAI - UTC since 2017-01-01 (IERS Bulletin C 52)
TAI_MINUS_UTC_S: Final = 37.0
DEVICES: Final = ("cpu", "cuda")


class Challenge(StrEnum):
    """How a challenger's score compares with the champion's."""

    AGREED = "agreed"
    DISAGREED = "disagreed"
    FAILED = "failed"


def unix_time_s(mjd_tai: float) -> float:
    """Unix time of an MJD (TAI), s; exact for dates since 2017, within 37 s of it before."""
    return (mjd_tai - MJD_OF_UNIX_EPOCH) * 86400.0 - TAI_MINUS_UTC_S


class ClassifyMetrics(RoleMetrics):
    """From the stamp log to published classifications. One instance a process; safe from any thread."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        version: str,
        now: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        steps = (Step.APPLY, Step.ASSEMBLE, Step.INFER, Step.PRUNE, Step.CHALLENGE, Step.PUBLISH, Step.COMMIT)
        super().__init__(registry, role="classify", steps=steps, version=version, now=now, timer=timer)
        self._partitions_lock = threading.Lock()
        self._register_triggers()
        self._register_store()
        self._register_model()
        self._champions: frozenset[str] = frozenset()
        self._drift = DriftMetrics(self._families)

    def _register_triggers(self) -> None:
        families = self._families
        self._records = families.counters(
            "convention_log_records_total", "Stamp-log records, by what became of them.", "outcome", ClassifyOutcome
        )
        self._classes = families.counters(
            "convention_classifications_total", "Classifications, by most probable class.", "class", CLASS_NAMES
        )
        self._abstentions = families.counters(
            "convention_abstentions_total", "Abstentions of the ensemble.", "reason", (LOW_CONFIDENCE, NOVEL)
        )
        self._latencies = families.histograms(
            "convention_publish_latency_seconds",
            "From an event in the life of the trigger's source to the acknowledged classification.",
            "since",
            ("observation", "producer", "ingest"),
            LATENCY_BUCKETS_S,
        )

    def _register_store(self) -> None:
        families = self._families
        # partition -> (objects, facts, bytes); partition -> (records applied, records to apply)
        self._stores: dict[int, tuple[int, int, int]] = {}
        self._restores: dict[int, tuple[int, int]] = {}
        families.gauge(
            "convention_store_objects", "Objects in the stores of all partitions.", lambda: self._stored(0)
        )
        families.gauge("convention_store_facts", "Facts in the stores of all partitions.", lambda: self._stored(1))
        families.gauge("convention_store_bytes", "Size of the store files.", lambda: self._stored(2))
        families.gauge(
            "convention_restoring_partitions", "Partitions being built from the log.", lambda: len(self._restores)
        )
        families.gauge(
            "convention_restore_progress_ratio", "Share of the log applied; 1 when none waits.", self.restore_progress
        )
        self._restored = families.counter("convention_restored_records_total", "Log records applied in restores.")
        self._rebuilds = families.counter("convention_store_rebuilds_total", "Stores that started anew.")

    def _register_model(self) -> None:
        families = self._families
        self._chunks = families.histogram(
            "convention_chunk_sequences", "Sequences one call of an ensemble scored.", SIZE_BUCKETS
        )
        self._devices = families.gauges("convention_device", "1 for the device in use.", "device", DEVICES)
        self._fallback = families.gauge(
            "convention_cuda_fallback", "1 when CUDA was asked for and the CPU is in use."
        )
        self._bundles = families.info(
            "convention_bundle_info", "Bundles in use, by their place.", ["place", "bundle_id"]
        )
        self._switches = families.counter("convention_bundle_switches_total", "Bundles taken into use after start.")
        self._lookups = families.counters(
            "convention_token_cache_lookups_total", "Frames looked up in the token cache.", "result", ("hit", "miss")
        )
        self._caches: dict[str, int] = {}  # bundle id -> bytes
        families.gauge(
            "convention_token_cache_bytes", "Size of the token caches.", lambda: sum(self._caches.values())
        )
        self._challenges = families.counters(
            "convention_challenger_scores_total", "Sequences a challenger scored in shadow.", "result", Challenge
        )
        self._challenger_duration = families.histogram(
            "convention_challenger_duration_seconds", "Duration of a challenger's chunk.", DURATION_BUCKETS_S
        )

    def outcome(self, outcome: ClassifyOutcome, count: int = 1) -> None:
        """Stamp-log records ended in this outcome."""
        self._records[outcome].inc(count)

    def scored(self, classification: Classification) -> None:
        """A record goes out: counts its class, or the reason of the ensemble's abstention."""
        if classification.status is Status.CLASSIFIED and classification.predicted_class is not None:
            self._classes[classification.predicted_class].inc()
        elif classification.status is Status.ABSTAINED and classification.reason is not None:
            self._abstentions[classification.reason].inc()

    def published(self, *, observed_mjd: float | None, produced_s: float | None, ingested_s: float | None) -> None:
        """A record is acknowledged. MJD (TAI) of the trigger's exposure, Unix times of the alert's producer and of
        ingest; None where unknown. A clock that is ahead counts as 0."""
        now = self._now()
        observed_s = None if observed_mjd is None else unix_time_s(observed_mjd)
        for since, moment in (("observation", observed_s), ("producer", produced_s), ("ingest", ingested_s)):
            if moment is not None:
                self._latencies[since].observe(max(0.0, now - moment))

    def store_size(self, partition: int, *, num_objects: int, num_facts: int, size_bytes: int) -> None:
        """How much the partition's store holds."""
        with self._partitions_lock:
            self._stores[partition] = (num_objects, num_facts, size_bytes)

    def store_closed(self, partition: int) -> None:
        """The partition is no longer ours."""
        with self._partitions_lock:
            self._stores.pop(partition, None)
            self._restores.pop(partition, None)

    def store_rebuilt(self) -> None:
        """A store that held something starts anew: it was corrupt, or of another topic or schema."""
        self._rebuilds.inc()

    def restoring(self, partition: int, *, applied: int, total: int) -> None:
        """Progress of a restore, in log records; done when ``applied`` reaches ``total``."""
        with self._partitions_lock:
            before, _ = self._restores.get(partition, (0, 0))
            self._restored.inc(max(0, applied - before))
            if applied >= total:
                self._restores.pop(partition, None)
            else:
                self._restores[partition] = (applied, total)

    def restore_progress(self) -> float:
        """Share of the records to restore that is applied, 0 to 1; 1 when no restore is under way."""
        with self._partitions_lock:
            applied = sum(done for done, _ in self._restores.values())
            total = sum(all_of_it for _, all_of_it in self._restores.values())
        return applied / total if total else 1.0

    def chunk(self, num_sequences: int) -> None:
        """The ensemble was called with this many sequences, padding left out."""
        self._chunks.observe(num_sequences)

    def device(self, *, requested: str, used: str) -> None:
        """``requested``: auto, cpu or cuda; ``used``: cpu or cuda (an index as in ``cuda:0`` is dropped)."""
        kind = used.partition(":")[0]
        for name, gauge in self._devices.items():
            gauge.set(name == kind)
        self._fallback.set(requested.startswith("cuda") and kind != "cuda")

    def bundles(self, champions: Sequence[str], challengers: Sequence[str] = (), *, switched: bool = False) -> None:
        """The bundle ids in use; ``switched`` when one was taken into use after start."""
        self._bundles.clear()
        self._champions = frozenset(champions)
        self._caches = {name: size for name, size in self._caches.items() if name in (*champions, *challengers)}
        for place, identifiers in (("champion", champions), ("challenger", challengers)):
            for identifier in identifiers:
                self._bundles.labels(self._role, place, identifier).set(1)
        self._switches.inc(int(switched))

    def scored_by(
        self, bundle_id: str, reference: Counts | None, sequences: Sequence[StampSequence], scores: Sequence[Scores]
    ) -> None:
        """A bundle scored a chunk; ``reference``: what it was trained on. A challenger's does not count as drift."""
        if bundle_id in self._champions and sequences:
            self._drift.scored(bundle_id, reference, sequences, scores)

    def token_cache(self, bundle_id: str, *, hits: int, misses: int, size_bytes: int) -> None:
        """Lookups since the last call, and the size of the bundle's cache now."""
        self._lookups["hit"].inc(hits)
        self._lookups["miss"].inc(misses)
        self._caches[bundle_id] = size_bytes

    def challenged(self, *, duration_s: float, agreed: int = 0, disagreed: int = 0, failed: int = 0) -> None:
        """A challenger scored a chunk: sequences with the champion's class, with another, and not scored."""
        self._challenger_duration.observe(duration_s)
        self._challenges[Challenge.AGREED].inc(agreed)
        self._challenges[Challenge.DISAGREED].inc(disagreed)
        self._challenges[Challenge.FAILED].inc(failed)

    def _stored(self, index: int) -> float:
        with self._partitions_lock:
            return float(sum(sizes[index] for sizes in self._stores.values()))
