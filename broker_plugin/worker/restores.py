"""Stores being rebuilt from the stamp log: from where, how far, and what the log no longer has."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from broker_plugin.telemetry.classify_metrics import ClassifyMetrics
from broker_plugin.worker.starting import Start

log = structlog.get_logger(__name__)


class Restores:
    """Offsets below the group's position only rebuild a store; this follows them, partition by partition."""

    def __init__(self, metrics: ClassifyMetrics) -> None:
        self._metrics = metrics
        self._spans: dict[int, tuple[int, int]] = {}  # partition -> (first offset to apply, the group's position)

    @property
    def done(self) -> bool:
        """Whether no partition is being rebuilt."""
        return not self._spans

    def begin(self, start: Start, applied: int | None) -> int:
        """Where to read from: the smaller of the group's position and what the store has applied (None: nothing).

        Facts that the store lacks and the log dropped are reported: views without them are shorter.
        """
        group_position = int(start.place.offset)
        wanted = start.log_start if applied is None else applied
        first = max(start.log_start, min(wanted, group_position))
        # what the group has not done either was reported with its start
        num_missing = min(start.log_start, group_position - start.num_expired) - wanted
        if num_missing > 0:
            self._metrics.log_gap(num_missing)
            log.error(
                "log gap: records expired before the store applied them",
                partition=start.partition,
                first_offset=wanted,
                num_records=num_missing,
            )
        if first < group_position:
            self._spans[start.partition] = (first, group_position)
            self._metrics.restoring(start.partition, applied=0, total=group_position - first)
        return first

    def applied(self, positions: Mapping[int, int]) -> None:
        """Next offsets by partition, after a batch."""
        for partition, position in positions.items():
            span = self._spans.get(partition)
            if span is None:
                continue
            first, target = span
            self._metrics.restoring(partition, applied=min(position, target) - first, total=target - first)
            if position >= target:
                del self._spans[partition]

    def drop(self, partition: int) -> None:
        """The partition is no longer ours."""
        self._spans.pop(partition, None)
