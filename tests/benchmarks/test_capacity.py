"""The capacity plan's arithmetic, on cases whose answer is known."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from benchmarks.capacity import Night, choices, report, served, simulate

NIGHT = Night(alerts=360_000, hours=1.0, visit_s=36.0, burst_alerts=3_600)


def test_a_queue_serves_no_more_than_its_capacity_and_loses_nothing() -> None:
    """Ten at once through a server of three a step leave as 3, 3, 3, 1."""
    assert served(np.array([10.0, 0, 0, 0, 0]), 3.0).tolist() == [3, 3, 3, 1, 0]


def test_the_longest_wait_of_a_lone_burst() -> None:
    """3,600 alerts of 10 ms on one core a role: the last of a visit leaves after 36 s, and nobody waits longer."""
    plan = simulate(NIGHT, 0.01, 0.01, 1.0, 1, 1)
    assert plan.largest_s == pytest.approx(36.0, abs=0.5)
    twice = simulate(NIGHT, 0.01, 0.01, 1.0, 2, 2)
    assert twice.largest_s == pytest.approx(18.0, abs=0.5)
    assert choices(NIGHT, 0.01, 0.01, 1.0) == [(1, 1), (2, 2)]


def test_the_report_says_what_it_assumes() -> None:
    """Every assumption and every measured figure stands in the plan."""
    measured = {"packet_bytes": 1e5, "workers_1_cpu_ms_ingest": 1.0, "workers_1_cpu_ms_classify": 3.0}
    measured["workers_1_cpu_ms_classify_infer"] = 2.0
    args = argparse.Namespace(
        alerts=1_000_000,
        hours=10.0,
        visit_s=39.0,
        burst=40_000,
        stamped=0.5,
        members_ratio=5.0,
        replication=3,
        retention_days=100.0,
        core_hour_usd=0.04,
        disk_gb_month_usd=0.08,
    )
    text = report(measured, args)
    # 1e6 * (1 ms + 0.5 * (3 + 4 * 2) ms) = 6,500 s
    assert "| processor hours a night | 1.8 |" in text
    assert "| share that becomes a stamp | 0.5 |" in text
    assert "| classify_infer | 2.000 |" in text
