"""Prometheus metrics of the two roles, on an injected registry.

Names start with ``convention_``, units are base units, counters end in ``_total``. Label sets are closed: every
series exists from the start at 0 (so that ``rate`` and ``increase`` see the first event), and none ever names an
object. Counters count work done, redeliveries included; they are not the ledger. ``docs/metrics.md`` lists them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from broker_plugin.telemetry.metric_families import DURATION_BUCKETS_S, SIZE_BUCKETS, Families, Family
from schemas.errors import DeadLetterReason, FilterReason

UNKNOWN_SURVEY: Final = "unknown"
STAMPED: Final = "stamped"
FILTERED: Final = "filtered"
DEAD_LETTER: Final = "dead_letter"


class Step(StrEnum):
    """A timed part of the way through a role."""

    DECODE = "decode"
    APPLY = "apply"
    ASSEMBLE = "assemble"
    INFER = "infer"
    PRUNE = "prune"
    CHALLENGE = "challenge"
    PUBLISH = "publish"
    COMMIT = "commit"


class Rebalance(StrEnum):
    """What the group did to this consumer."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"


def worker_registry() -> CollectorRegistry:
    """A registry with the process's own memory, CPU, file descriptor and garbage collector metrics."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class RoleMetrics:
    """What both roles report. One instance a process; every method may be called from any thread.

    now: Unix time in seconds; timer: a monotonic clock in seconds.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        role: str,
        steps: Sequence[Step],
        version: str,
        now: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._now = now
        self._timer = timer
        self._role = role
        self._lock = threading.Lock()
        # (topic, partition) -> (messages behind, Unix time of the newest message handled)
        self._positions: dict[tuple[str, int], tuple[int, float]] = {}
        self._families = families = Families(registry, role)
        families.info("convention_build_info", "Version of the plugin.", ["version"]).labels(role, version).set(1)
        self._durations = families.histograms(
            "convention_step_duration_seconds", "Duration of one step.", "step", steps, DURATION_BUCKETS_S
        )
        self._cpu = families.counters(
            "convention_step_cpu_seconds_total",
            "Processor time of one step, all threads of the process.",
            "step",
            steps,
        )
        self._batches = families.histogram("convention_batch_messages", "Messages a batch held.", SIZE_BUCKETS)
        families.gauge("convention_lag_messages", "Messages of the assigned partitions that wait.", self.lag_messages)
        families.gauge(
            "convention_lag_seconds",
            "Age of the newest message handled on the partition furthest behind; 0 when nothing waits.",
            self.lag_s,
        )
        families.gauge(
            "convention_assigned_partitions", "Partitions that this process reports on.", lambda: len(self._positions)
        )
        self._rebalances = families.counters(
            "convention_rebalances_total", "Assignments, revocations and losses of partitions.", "event", Rebalance
        )
        self._retries = families.counter(
            "convention_batch_retries_total", "Batches tried again, halved, after a fault of a resource or the model."
        )
        self._dropped = families.counter(
            "convention_batches_dropped_total", "Batches given up because the group had moved on."
        )
        self._covered = families.counter("convention_ledger_offsets_total", "Offsets that ledger entries cover.")
        self._imbalance = families.counter(
            "convention_ledger_imbalance_offsets_total", "Offsets whose entry's outcomes do not add up to them."
        )
        self._absent = families.counter(
            "convention_ledger_absent_offsets_total", "Offsets the broker skipped, such as a transaction's markers."
        )
        self._expired = families.counter(
            "convention_log_gap_records_total", "Records the log no longer held when they were needed."
        )
        self._letters = families.counters(
            "convention_dead_letters_total", "Records sent to the dead-letter topic.", "reason", DeadLetterReason
        )

    @property
    def families(self) -> tuple[Family, ...]:
        """What is registered, in order."""
        return tuple(self._families.registered)

    @contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """Time the body as one step; a body that raises is timed as well."""
        start, cpu = self._timer(), time.process_time()
        try:
            yield
        finally:
            self._durations[step].observe(self._timer() - start)
            self._cpu[step].inc(time.process_time() - cpu)

    def took(self, durations_s: Mapping[str, float], cpu_s: Mapping[str, float]) -> None:
        """Durations and processor time measured elsewhere, by step; KeyError for a step of another role."""
        for step, duration_s in durations_s.items():
            self._durations[Step(step)].observe(duration_s)
            self._cpu[Step(step)].inc(cpu_s[step])

    def batch(self, num_messages: int) -> None:
        """A batch was consumed."""
        self._batches.observe(num_messages)

    def position(self, topic: str, partition: int, *, messages_behind: int, newest_s: float) -> None:
        """Where a partition stands: messages that wait, and the Unix time of the newest message handled.

        Call it after each batch, when idle, and at assignment (with the time of the assignment when nothing was
        handled yet). The lag in seconds is worked out when it is scraped, so that it grows while the loop hangs.
        """
        with self._lock:
            self._positions[topic, partition] = (max(0, messages_behind), newest_s)

    def forget(self, topic: str, partition: int) -> None:
        """The partition was revoked or lost: its lag is another worker's to report."""
        with self._lock:
            self._positions.pop((topic, partition), None)

    def rebalanced(self, event: Rebalance) -> None:
        """The group assigned, revoked or lost partitions."""
        self._rebalances[event].inc()

    def batch_retried(self) -> None:
        """A batch is tried again, halved."""
        self._retries.inc()

    def batch_dropped(self) -> None:
        """A batch is given up: the group's generation changed before its commit."""
        self._dropped.inc()

    def ledger_entry(self, *, covered: int, accounted: int, absent: int = 0) -> None:
        """A ledger entry was produced: offsets it covers, outcomes it lists, those of them that are ``absent``."""
        self._covered.inc(covered)
        self._imbalance.inc(abs(covered - accounted))
        self._absent.inc(absent)

    def log_gap(self, num_records: int) -> None:
        """The log starts after the first record that was needed."""
        self._expired.inc(num_records)

    def letter(self, reason: DeadLetterReason) -> None:
        """A record goes to the dead-letter topic."""
        self._letters[reason].inc()

    def lag_messages(self) -> float:
        """Messages that wait, over all partitions."""
        with self._lock:
            return float(sum(behind for behind, _ in self._positions.values()))

    def lag_s(self) -> float:
        """Age of the newest message handled on the partition furthest behind, s; 0 when nothing waits."""
        now = self._now()
        with self._lock:
            ages = [now - newest_s for behind, newest_s in self._positions.values() if behind]
        return max([0.0, *ages])


class IngestMetrics(RoleMetrics):
    """Packets by survey and outcome. ``surveys`` is the closed set; any other counts as ``unknown``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        surveys: Iterable[str],
        version: str,
        now: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        steps = (Step.DECODE, Step.PUBLISH, Step.COMMIT)
        super().__init__(registry, role="ingest", steps=steps, version=version, now=now, timer=timer)
        families = self._families
        self._packets = families.counter_grid(
            "convention_packets_total",
            "Alert packets, by what became of them.",
            ("survey", (*surveys, UNKNOWN_SURVEY)),
            ("outcome", (STAMPED, FILTERED, DEAD_LETTER)),
        )
        self._bytes = families.counter("convention_packet_bytes_total", "Bytes of the alert packets.")
        self._filtered = families.counters(
            "convention_filtered_packets_total", "Sound packets left out on purpose.", "reason", FilterReason
        )
        self._waiting = families.gauge(
            "convention_schema_unavailable_partitions", "Partitions paused until a registry knows their schema id."
        )
        self._pauses = families.counter(
            "convention_schema_unavailable_pauses_total", "Times a partition was paused for want of a schema."
        )

    def stamped(self, survey: str | None, *, size_bytes: int) -> None:
        """A packet became a fact for the stamp log."""
        self._packet(survey, STAMPED, size_bytes)

    def filtered(self, survey: str | None, reason: FilterReason, *, size_bytes: int) -> None:
        """A packet was left out on purpose."""
        self._packet(survey, FILTERED, size_bytes)
        self._filtered[reason].inc()

    def dead_lettered(self, survey: str | None, reason: DeadLetterReason, *, size_bytes: int) -> None:
        """A packet goes to the dead-letter topic; ``survey`` is None when it does not say whose it is."""
        self._packet(survey, DEAD_LETTER, size_bytes)
        self.letter(reason)

    def schema_paused(self) -> None:
        """One more partition waits for a schema."""
        self._waiting.inc()
        self._pauses.inc()

    def schema_resumed(self) -> None:
        """A waiting partition goes on, or was taken away."""
        self._waiting.dec()

    def _packet(self, survey: str | None, outcome: str, size_bytes: int) -> None:
        known = survey if survey is not None and (survey, outcome) in self._packets else UNKNOWN_SURVEY
        self._packets[known, outcome].inc()
        self._bytes.inc(size_bytes)
