"""Registers metric families of one role with closed label sets, and remembers them for the docs.

Every child of a family is made at once: a counter that first appears at 1 has no increase for Prometheus to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Label = TypeVar("Label", bound=str)
# 0.1 ms (one packet) to 30 s (a batch that is retried)
DURATION_BUCKETS_S: Final = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
# 10 ms (this worker's own share) to 30 days (a replayed archive)
LATENCY_BUCKETS_S: Final = (
    0.01,
    0.03,
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
    1e3,
    3.6e3,
    2.16e4,
    8.64e4,
    2.592e6,
)
SIZE_BUCKETS: Final = tuple(float(2**power) for power in range(12))


@dataclass(frozen=True, slots=True)
class Family:
    """One registered family: name as scraped (histograms without their suffixes), kind, label values, help."""

    name: str
    kind: str
    labels: dict[str, tuple[str, ...]]
    help: str


class Families:
    """Makes the families of one role; each carries the label ``role``. ValueError for a name against the rules."""

    def __init__(self, registry: CollectorRegistry, role: str) -> None:
        self._registry = registry
        self._role = role
        self.registered: list[Family] = []

    def counter(self, name: str, text: str) -> Counter:
        """A counter without further labels."""
        return self._counter(name, text, {}).labels(role=self._role)

    def counters(self, name: str, text: str, label: str, values: Iterable[Label]) -> dict[Label, Counter]:
        """Counters, one a value of the label."""
        known = tuple(values)
        family = self._counter(name, text, {label: known})
        return {value: family.labels(**{"role": self._role, label: value}) for value in known}

    def counter_grid(
        self, name: str, text: str, rows: tuple[str, Sequence[str]], columns: tuple[str, Sequence[str]]
    ) -> dict[tuple[str, str], Counter]:
        """Counters of two labels, each given as (name, values); keyed by (row, column)."""
        family = self._counter(name, text, {rows[0]: tuple(rows[1]), columns[0]: tuple(columns[1])})
        return {
            (row, column): family.labels(**{"role": self._role, rows[0]: row, columns[0]: column})
            for row, column in product(rows[1], columns[1])
        }

    def gauge(self, name: str, text: str, function: Callable[[], float] | None = None) -> Gauge:
        """A gauge without further labels; ``function`` gives its value at each scrape."""
        gauge = self._gauge(name, text, {}).labels(role=self._role)
        if function is not None:
            gauge.set_function(function)
        return gauge

    def gauges(self, name: str, text: str, label: str, values: Iterable[Label]) -> dict[Label, Gauge]:
        """Gauges, one a value of the label."""
        known = tuple(values)
        family = self._gauge(name, text, {label: known})
        return {value: family.labels(**{"role": self._role, label: value}) for value in known}

    def gauge_grid(
        self, name: str, text: str, rows: tuple[str, Sequence[str]], columns: tuple[str, Sequence[str]]
    ) -> dict[tuple[str, str], Gauge]:
        """Gauges of two labels, each given as (name, values); keyed by (row, column)."""
        family = self._gauge(name, text, {rows[0]: tuple(rows[1]), columns[0]: tuple(columns[1])})
        return {
            (row, column): family.labels(**{"role": self._role, rows[0]: row, columns[0]: column})
            for row, column in product(rows[1], columns[1])
        }

    def info(self, name: str, text: str, labels: Sequence[str]) -> Gauge:
        """A gauge of 1 whose labels tell (``name`` ends in _info); the caller sets and clears its few series."""
        self._record(name, "gauge", dict.fromkeys(labels, ()), text, suffix="_info")
        return Gauge(name, text, ("role", *labels), registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        """A histogram without further labels."""
        self._record(name, "histogram", {}, text)
        return Histogram(name, text, ("role",), registry=self._registry, buckets=buckets).labels(role=self._role)

    def histograms(
        self, name: str, text: str, label: str, values: Iterable[Label], buckets: Sequence[float]
    ) -> dict[Label, Histogram]:
        """Histograms, one a value of the label."""
        known = tuple(values)
        self._record(name, "histogram", {label: known}, text)
        family = Histogram(name, text, ("role", label), registry=self._registry, buckets=buckets)
        return {value: family.labels(**{"role": self._role, label: value}) for value in known}

    def _counter(self, name: str, text: str, labels: dict[str, tuple[Label, ...]]) -> Counter:
        self._record(name, "counter", {key: tuple(values) for key, values in labels.items()}, text, suffix="_total")
        return Counter(name, text, ("role", *labels), registry=self._registry)

    def _gauge(self, name: str, text: str, labels: dict[str, tuple[Label, ...]]) -> Gauge:
        self._record(name, "gauge", {key: tuple(values) for key, values in labels.items()}, text)
        return Gauge(name, text, ("role", *labels), registry=self._registry)

    def _record(
        self, name: str, kind: str, labels: dict[str, tuple[str, ...]], text: str, *, suffix: str = ""
    ) -> None:
        if not name.startswith("convention_") or not name.endswith(suffix) or not text.endswith("."):
            raise ValueError(
                f"{kind} {name}: starts with convention_, ends in {suffix!r}, and its text in a full stop"
            )
        self.registered.append(Family(name, kind, {"role": (self._role,), **labels}, text))
