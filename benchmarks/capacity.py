"""A capacity plan from measured processor seconds: ``python -m benchmarks.capacity < FIGURES``.

An extrapolation, and called so: what one packet costs was measured on one machine, everything else is arithmetic and
a simulation of two queues (ingest, classify) fed by visits. Reads the last line of ``benchmarks.bench_scale`` from
standard input and prints Markdown. Assumptions are flags, and are printed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

STAMP_BYTES: Final = 4_600  # an observation on the stamp log, with its key and headers
STORE_BYTES: Final = 5_200  # the same in a store, with SQLite's indices
RECORD_BYTES: Final = 420
WORKER_MB: Final = {"ingest": 250.0, "classify": 900.0}  # resident: imports, caches
STEP_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Night:
    """What a survey sends: visits at a fixed spacing, most of them ordinary, some at the largest."""

    alerts: int
    hours: float
    visit_s: float
    burst_alerts: int

    @property
    def num_visits(self) -> int:
        """Visits of the night."""
        return int(self.hours * 3600 / self.visit_s)

    def alerts_of_visits(self, random: np.random.Generator) -> np.ndarray:
        """Alerts of each visit: log-normal about the mean, at most a burst, and one burst in a hundred visits."""
        mean = self.alerts / self.num_visits
        counts = np.minimum(mean * random.lognormal(-0.125, 0.5, self.num_visits), self.burst_alerts)
        counts[:: max(1, self.num_visits // max(1, self.num_visits // 100))] = self.burst_alerts
        return counts


@dataclass(frozen=True, slots=True)
class Plan:
    """Cores a role, and what an alert waits for under them: seconds from its arrival to its publication."""

    ingest_cores: int
    classify_cores: int
    p50_s: float
    p99_s: float
    largest_s: float


def main() -> None:
    """Read, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=10_000_000, help="a night")
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--visit-s", type=float, default=39.0)
    parser.add_argument("--burst", type=int, default=40_000, help="alerts of the largest visit")
    parser.add_argument("--stamped", type=float, default=0.8, help="share of alerts that become stamps")
    parser.add_argument("--members-ratio", type=float, default=1.0, help="cost of the ensemble over the measured one")
    parser.add_argument("--replication", type=int, default=3)
    parser.add_argument("--retention-days", type=float, default=400.0)
    parser.add_argument("--core-hour-usd", type=float, default=0.04)
    parser.add_argument("--disk-gb-month-usd", type=float, default=0.08)
    args = parser.parse_args()
    line = [text for text in sys.stdin.read().splitlines() if text.startswith("{")][-1]
    print(report(json.loads(line), args))


def report(measured: dict[str, Any], args: argparse.Namespace) -> str:
    """The plan as Markdown."""
    night = Night(args.alerts, args.hours, args.visit_s, args.burst)
    ingest_s = measured["workers_1_cpu_ms_ingest"] / 1000.0
    classify_s = measured["workers_1_cpu_ms_classify"] / 1000.0
    infer_s = measured["workers_1_cpu_ms_classify_infer"] / 1000.0
    classify_s += infer_s * (args.members_ratio - 1.0)
    needed = night.alerts * (ingest_s + args.stamped * classify_s)
    plans = [
        simulate(night, ingest_s, classify_s, args.stamped, ingest, classify)
        for ingest, classify in choices(night, ingest_s, classify_s, args.stamped)
    ]
    stamps_day = night.alerts * args.stamped
    log_tb = stamps_day * STAMP_BYTES * args.retention_days * args.replication / 1e12
    store_tb = stamps_day * STORE_BYTES * args.retention_days / 1e12
    input_mb_s = night.burst_alerts * measured["packet_bytes"] / night.visit_s / 1e6
    lines = [
        "| assumption | value |",
        "|---|---|",
        f"| alerts a night, hours | {night.alerts:,}, {night.hours:g} |",
        f"| largest visit, one in {night.visit_s:g} s | {night.burst_alerts:,} alerts, 1% of visits |",
        f"| share that becomes a stamp | {args.stamped:g} |",
        f"| cost of the ensemble over the measured one | {args.members_ratio:g} |",
        "",
        "| measured, processor ms a packet | |",
        "|---|---|",
        *(f"| {key.removeprefix('workers_1_cpu_ms_')} | {value:.3f} |" for key, value in per_step(measured)),
        "",
        "| extrapolated | |",
        "|---|---|",
        f"| processor hours a night | {needed / 3600:.1f} |",
        f"| mean cores over the night | {needed / (night.hours * 3600):.2f} |",
        f"| input in a burst | {input_mb_s:.0f} MB/s |",
        f"| stamp log, {args.retention_days:g} days, {args.replication} replicas | {log_tb:.1f} TB |",
        f"| stores, all partitions | {store_tb:.1f} TB |",
        f"| disk a month | ${(log_tb + store_tb) * 1000 * args.disk_gb_month_usd:,.0f} |",
        "",
        "| ingest cores | classify cores | p50 | p99 | longest wait | memory | cores a month |",
        "|---|---|---|---|---|---|---|",
    ]
    for plan in plans:
        memory = plan.ingest_cores * WORKER_MB["ingest"] + plan.classify_cores * WORKER_MB["classify"]
        dollars = (plan.ingest_cores + plan.classify_cores) * args.core_hour_usd * 24 * 30
        lines.append(
            f"| {plan.ingest_cores} | {plan.classify_cores} | {plan.p50_s:.1f} s | {plan.p99_s:.1f} s "
            f"| {plan.largest_s:.1f} s | {memory / 1000:.1f} GB | ${dollars:,.0f} |"
        )
    partitions = 2 ** math.ceil(math.log2(2 * max(plan.classify_cores for plan in plans)))
    lines += [
        "",
        f"Partitions of the stamp log: {partitions}, twice the classify cores of the largest plan, so that it",
    ]
    lines += ["can be doubled without a rebuild (the number cannot change while a store exists)."]
    return "\n".join(lines)


def per_step(measured: dict[str, Any]) -> list[tuple[str, float]]:
    """The figures of one worker, in the benchmark's order."""
    return [(key, value) for key, value in measured.items() if key.startswith("workers_1_cpu_ms_")]


def choices(night: Night, ingest_s: float, classify_s: float, stamped: float) -> list[tuple[int, int]]:
    """Cores to try: what a burst costs within 2, 1 and 0.5 visits' time."""
    found = []
    for visits in (2.0, 1.0, 0.5):
        window = visits * night.visit_s
        cores = (night.burst_alerts * ingest_s / window, night.burst_alerts * stamped * classify_s / window)
        found.append((math.ceil(cores[0]), math.ceil(cores[1])))
    return list(dict.fromkeys(found))


def simulate(
    night: Night, ingest_s: float, classify_s: float, stamped: float, ingest_cores: int, classify_cores: int
) -> Plan:
    """Two fluid queues in steps of STEP_S: a visit's alerts arrive at once, each role serves its cores' worth."""
    random = np.random.default_rng(20260701)
    steps = int(night.num_visits * night.visit_s / STEP_S) + int(3600 / STEP_S)
    arriving = np.zeros(steps)
    places = (np.arange(night.num_visits) * night.visit_s / STEP_S).astype(int)
    arriving[places] = night.alerts_of_visits(random)
    ingested = served(arriving, ingest_cores * STEP_S / ingest_s)
    published = served(ingested * stamped, classify_cores * STEP_S / classify_s)
    arrived, done = np.cumsum(arriving) * stamped, np.cumsum(published)
    # the wait of the alert at each millionth of the way: when it is done, less when it came
    marks = (np.arange(200_000) + 0.5) / 200_000 * done[-1]
    wait = (np.searchsorted(done, marks) - np.searchsorted(arrived, marks)) * STEP_S
    return Plan(
        ingest_cores,
        classify_cores,
        float(np.percentile(wait, 50)),
        float(np.percentile(wait, 99)),
        float(wait.max()),
    )


def served(arriving: np.ndarray, capacity: float) -> np.ndarray:
    """What leaves a queue in each step that serves at most ``capacity`` a step."""
    left, leaving = 0.0, np.empty_like(arriving)
    for step, count in enumerate(arriving):
        left += count
        leaving[step] = min(left, capacity)
        left -= leaving[step]
    return leaving


if __name__ == "__main__":
    main()
