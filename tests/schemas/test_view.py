"""The view is a function of a set of facts: order, repetition and deletion do not change it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from broker_plugin.store.retention import bounds_of, deletable
from schemas.view import FactKey, ViewRule, select_view, view_digest

RULE = ViewRule(max_frames=4, max_days=30.0, band_ids=frozenset({2, 3}), grid_id="grid")
SPARE = 3


@st.composite
def facts(draw: st.DrawFn, withdrawals: int = SPARE) -> list[FactKey]:
    """Distinct facts of one object with ascending first offsets; a source keeps its MJD and band."""
    found: list[FactKey] = []
    for offset in range(draw(st.integers(0, 25))):
        source = draw(st.integers(0, 14))
        withdrawn = withdrawals > 0 and draw(st.integers(0, 9)) == 0
        withdrawals -= withdrawn
        found.append(
            FactKey(
                source_id=str(source),
                digest=bytes([offset]),
                first_offset=offset,
                mjd=float(source * 5 % 70),
                band_id=2 + source % 3,
                grid_id="" if withdrawn else "grid",
                num_valid=-1 if withdrawn else draw(st.integers(0, 3)),
            )
        )
    return found


@given(found=facts(), seed=st.integers(0, 1000))
def test_the_view_does_not_depend_on_the_order_of_facts(found: list[FactKey], seed: int) -> None:
    """Shuffled facts, and the same contents first seen at other offsets, give the same view."""
    view = select_view(found, RULE, at_offset=100)
    shuffled = [*found]
    random.Random(seed).shuffle(shuffled)
    assert select_view(shuffled, RULE, at_offset=100) == view
    moved = [
        FactKey(f.source_id, f.digest, place, f.mjd, f.band_id, f.grid_id, f.num_valid)
        for place, f in enumerate(shuffled)
    ]
    assert view_digest(select_view(moved, RULE, at_offset=100)) == view_digest(view)


@given(found=facts())
def test_a_view_keeps_its_bounds(found: list[FactKey]) -> None:
    """At most N frames, in time order, one a source, of the rule's bands, none older than D days, none withdrawn."""
    view = select_view(found, RULE, at_offset=100)
    assert len(view) <= RULE.max_frames
    assert [fact.time_order for fact in view] == sorted(fact.time_order for fact in view)
    assert len({fact.source_id for fact in view}) == len(view)
    withdrawn = {f.source_id for f in found if f.is_withdrawal}
    for fact in view:
        assert fact.band_id in RULE.band_ids
        assert fact.mjd >= view[-1].mjd - RULE.max_days
        assert fact.source_id not in withdrawn


@given(found=facts(), committed=st.integers(0, 25))
def test_deletion_changes_no_later_view(found: list[FactKey], committed: int) -> None:
    """What is deleted at a committed position is in no view at or past it, as long as few frames are withdrawn."""
    arrived = [fact for fact in found if fact.first_offset < committed]
    doomed = set(deletable(arrived, bounds_of([RULE]), committed=committed, spare=SPARE))
    kept = [fact for fact in found if fact not in doomed]
    for offset in range(committed, 26):
        assert select_view(kept, RULE, at_offset=offset) == select_view(found, RULE, at_offset=offset)
