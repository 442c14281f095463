"""Backfilled facts: stored, seen by later triggers, and triggering nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from broker_plugin.cli import main
from broker_plugin.messages import HEADER_STORED_ONLY
from tests.broker_plugin.stamp_log import make_observation, open_store, to_log
from tests.broker_plugin.test_engine import make_engine, outcomes, run


def test_backfilled_facts_are_seen_and_trigger_nothing(tmp_path: Path) -> None:
    """A stored-only fact makes no record; the first live one sees it; the same packet from the live stream later is
    a duplicate; a redelivery of the backfill stays stored only."""
    store = open_store(tmp_path)
    old = [
        replace(message, headers=((HEADER_STORED_ONLY, b"1"),)) for message in to_log([make_observation(source=0)])
    ]
    live = to_log([make_observation(source=1), make_observation(source=0)], start=1)
    engine = make_engine()
    first = run(engine, store, old)
    assert outcomes(first) == [("stored_only", "backfill")]
    assert first.records == []
    assert outcomes(run(engine, store, old)) == [("stored_only", "backfill")]
    second = run(engine, store, live)
    assert [record.classification.num_frames for record in second.records] == [2]
    assert outcomes(second)[1] == ("duplicate", None)
    store.close()


def test_a_backfill_after_the_live_packet_is_a_duplicate(tmp_path: Path) -> None:
    """What the live stream brought first stays a trigger; the backfill of it changes nothing."""
    store = open_store(tmp_path)
    live = to_log([make_observation(source=0)])
    late = [replace(live[0], offset=1, headers=((HEADER_STORED_ONLY, b"1"),))]
    engine = make_engine()
    before = run(engine, store, live).records
    assert outcomes(run(engine, store, late)) == [("duplicate", None)]
    assert [record.value for record in run(engine, store, live).records] == [record.value for record in before]
    store.close()


@pytest.mark.parametrize("arguments", [[], ["archive", "--rescore"]])
def test_either_an_archive_or_rescore(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Neither or both is wrong usage."""
    assert main(["backfill", *arguments]) == 2
    assert "either" in capsys.readouterr().err
