"""What a store may delete, over all the rules that its views are asked for. Pure functions.

Bounds are the rules that facts are deleted under: the loaded bundles' (several of one grid where a challenger scores
in shadow) and one of grid ``*``, for facts of every other grid. A fact goes only when no bound needs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from schemas.bands import BAND_IDS
from schemas.view import SPARE_FRAMES, FactKey, ViewRule, deletable_facts

ANY_GRID: Final = "*"

Bounds = tuple[ViewRule, ...]


def bounds_of(rules: Collection[ViewRule]) -> Bounds:
    """The bounds for a set of rules: themselves, and for every other grid the furthest reach among them."""
    if not rules:
        raise ValueError("a store is bounded by at least one rule")
    reach = ViewRule(
        max_frames=max(rule.max_frames for rule in rules),
        max_days=max(rule.max_days for rule in rules),
        band_ids=frozenset(BAND_IDS.values()),
        grid_id=ANY_GRID,
    )
    ordered = sorted(set(rules), key=lambda r: (r.grid_id, r.max_frames, r.max_days, sorted(r.band_ids)))
    return (*ordered, reach)


def serves(bounds: Bounds, rule: ViewRule) -> bool:
    """Whether views under ``rule`` are whole where facts were deleted under ``bounds``.

    The newest frames of a bound's bands were kept, and those of all other bands among themselves; so a rule that
    admits more bands finds all it needs, and one that admits fewer or reaches further may not.
    """
    if not bounds:
        return True
    own = [bound for bound in bounds if bound.grid_id == rule.grid_id]
    return any(_reaches(bound, rule) for bound in own or bounds if bound.grid_id in (rule.grid_id, ANY_GRID))


def may_follow(bounds: Bounds, wanted: Bounds) -> bool:
    """Whether a store bounded by ``bounds`` so far holds all that ``wanted`` would have kept."""
    grids = {rule.grid_id for rule in wanted}
    dropped = [bound for bound in bounds if bound.grid_id not in grids]
    rest = [rule for rule in wanted if rule.grid_id == ANY_GRID]
    return all(serves(bounds, rule) for rule in wanted) and all(_reaches(b, rule) for b in dropped for rule in rest)


def deletable(
    facts: Iterable[FactKey], bounds: Bounds, *, committed: int, spare: int = SPARE_FRAMES
) -> list[FactKey]:
    """Facts of one object that no view at or past position ``committed`` can need, under any bound."""
    facts = list(facts)
    grids = {fact.grid_id for fact in facts if not fact.is_withdrawal}
    relevant = [bound for bound in bounds if bound.grid_id in grids]
    unruled = (grids or {ANY_GRID}) - {bound.grid_id for bound in relevant}
    rest = [bound for bound in bounds if bound.grid_id == ANY_GRID]
    relevant += [replace(bound, grid_id=grid_id) for bound in rest for grid_id in unruled]
    doomed = facts if relevant else []
    for bound in relevant:
        going = {
            (fact.source_id, fact.digest)
            for fact in deletable_facts(facts, bound, committed_offset=committed - 1, spare=spare)
        }
        doomed = [fact for fact in doomed if (fact.source_id, fact.digest) in going]
    return doomed


def _reaches(bound: ViewRule, rule: ViewRule) -> bool:
    return rule.max_frames <= bound.max_frames and rule.max_days <= bound.max_days and rule.band_ids >= bound.band_ids
