"""What a benchmark says of memory, on samples whose answer is known."""

from __future__ import annotations

import pytest

from benchmarks.watching import Sample, memory, rates, warm


def samples(resident_mb: list[float]) -> list[Sample]:
    """One every hundred messages and second."""
    return [Sample(float(i), 100 * i, 0.1 * i, 0.0, int(mb * 1e6)) for i, mb in enumerate(resident_mb)]


def test_steady_memory_is_told_by_its_peaks() -> None:
    """A process that lets go of memory now and then is steady: its samples go off the median, its peaks do not."""
    found = memory(samples([500.0, 300.0] * 50))
    assert found["peak_off_median"] == found["growth"] == 0.0
    assert found["peaks_mb"] == [500.0] * 10
    assert found["sample_off_median"] > 0.2


def test_growth_is_the_last_parts_over_the_first() -> None:
    """A process that grows from 100 to 200 MB is off by a third, and grew by more than a half."""
    found = memory(samples([100.0 + i for i in range(101)]))
    assert found["peaks_mb"] == [109.0, 119.0, 129.0, 139.0, 149.0, 159.0, 169.0, 179.0, 189.0, 200.0]
    assert found["peak_off_median"] == pytest.approx(46 / 154)
    assert found["growth"] == pytest.approx((179 + 189 + 200) / (109 + 119 + 129) - 1)


def test_the_start_is_left_out_and_rates_are_between_two_samples() -> None:
    """A fifth of the messages are passed over; the rest came at a hundred a second, at a millisecond of processor."""
    later = warm(samples([1.0] * 101), share=0.2)
    assert later[0].done == 2000
    found = rates(later[0], later[-1])
    assert found["packets_per_s"] == pytest.approx(100.0)
    assert found["worker_cpu_ms_a_packet"] == pytest.approx(1.0)
