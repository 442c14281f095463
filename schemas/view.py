"""The view: which facts of an object a trigger sees. Pure functions, so that every use gets the same answer.

The sequence of the trigger at log offset o is a function of the facts whose first offset is <= o: per source the
one with the largest (number of valid pixels, digest), minus the withdrawn ones, restricted to the bundle's bands
and grid, sorted by (mjd, source id), the newest N of them, none older than D days before the newest of them. The
wall clock plays no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

# Withdrawals after which a sequence may lack frames that were already deleted. A stated limit.
SPARE_FRAMES: Final = 32


@dataclass(frozen=True, slots=True)
class FactKey:
    """What the view needs to know of one fact.

    num_valid is -1 for a withdrawal. first_offset is the log offset at which this content was first seen.
    """

    source_id: str
    digest: bytes
    first_offset: int
    mjd: float
    band_id: int
    grid_id: str
    num_valid: int

    @property
    def is_withdrawal(self) -> bool:
        """Whether the fact takes its source back."""
        return self.num_valid < 0

    @property
    def time_order(self) -> tuple[float, str]:
        """Sort key of a sequence."""
        return (self.mjd, self.source_id)


@dataclass(frozen=True, slots=True)
class ViewRule:
    """Bounds of a view: at most max_frames frames, none older than max_days before the newest; the bundle's bands
    and grid. ValueError for bounds that no view can have."""

    max_frames: int
    max_days: float
    band_ids: frozenset[int]
    grid_id: str

    def __post_init__(self) -> None:
        if self.max_frames < 1 or not self.max_days >= 0:
            raise ValueError(f"a view of {self.max_frames} frames over {self.max_days} days")

    def admits(self, fact: FactKey) -> bool:
        """Whether an observation can appear in the view (and so whether it can change it).

        One without a valid pixel (a packet without cutouts) shows nothing: it is kept, and never seen.
        """
        shows = fact.is_withdrawal or (fact.grid_id == self.grid_id and fact.num_valid > 0)
        return shows and fact.band_id in self.band_ids


def current_facts(facts: Iterable[FactKey]) -> list[FactKey]:
    """Per source the best observation, withdrawn sources left out, in time order."""
    withdrawn: set[str] = set()
    best: dict[str, FactKey] = {}
    for fact in facts:
        if fact.is_withdrawal:
            withdrawn.add(fact.source_id)
            continue
        rival = best.get(fact.source_id)
        if rival is None or (fact.num_valid, fact.digest) > (rival.num_valid, rival.digest):
            best[fact.source_id] = fact
    kept = (fact for source_id, fact in best.items() if source_id not in withdrawn)
    return sorted(kept, key=lambda fact: fact.time_order)


def select_view(facts: Iterable[FactKey], rule: ViewRule, *, at_offset: int) -> list[FactKey]:
    """The view of a trigger at ``at_offset``: observations in time order, at most ``rule.max_frames``."""
    seen = (fact for fact in facts if fact.first_offset <= at_offset and rule.admits(fact))
    ordered = current_facts(seen)
    if not ordered:
        return []
    horizon = ordered[-1].mjd - rule.max_days
    return [fact for fact in ordered[-rule.max_frames :] if fact.mjd >= horizon]


def deletable_facts(
    facts: Sequence[FactKey], rule: ViewRule, *, committed_offset: int, spare: int = SPARE_FRAMES
) -> list[FactKey]:
    """Facts that no view at or past ``committed_offset`` can need, however many as ``spare`` frames are withdrawn.

    ``committed_offset`` is the last offset the group has committed (the next one is yet to be triggered). A fact
    goes only when it is outside the view there: a worse reading of its source, or older than the newest
    ``max_frames + spare`` frames, or more than ``max_days`` before the frame that is the newest once ``spare``
    others are withdrawn. Facts of bands or grids outside the rule are bounded in the same way among themselves.
    All readings of a source are taken to state one MJD.
    """
    settled = [fact for fact in facts if fact.first_offset <= committed_offset]
    groups: dict[bool, list[FactKey]] = {True: [], False: []}
    for fact in settled:
        groups[rule.admits(fact)].append(fact)
    doomed: list[FactKey] = []
    for group in groups.values():
        doomed += _outside(group, rule, spare)
    return doomed


def _outside(group: list[FactKey], rule: ViewRule, spare: int) -> list[FactKey]:
    best: dict[str, FactKey] = {}
    doomed: list[FactKey] = []
    withdrawals: list[FactKey] = []
    for fact in group:
        if fact.is_withdrawal:
            withdrawals.append(fact)
            continue
        rival = best.get(fact.source_id)
        if rival is None:
            best[fact.source_id] = fact
        elif (fact.num_valid, fact.digest) > (rival.num_valid, rival.digest):
            doomed.append(rival)
            best[fact.source_id] = fact
        else:
            doomed.append(fact)
    withdrawn = {fact.source_id for fact in withdrawals}
    standing = sorted(
        (fact for fact in best.values() if fact.source_id not in withdrawn), key=lambda fact: fact.time_order
    )
    if len(standing) <= spare:
        return doomed
    horizon = standing[-1 - spare].mjd - rule.max_days
    oldest_kept = standing[max(0, len(standing) - rule.max_frames - spare)].time_order
    gone = {fact.source_id: fact for fact in best.values() if fact.mjd < horizon or fact.time_order < oldest_kept}
    doomed += gone.values()
    # a withdrawal stays as long as its frame does, and as long as its frame, should it still come, could be seen
    for fact in withdrawals:
        old = fact.mjd < horizon or fact.time_order < oldest_kept
        if old and (fact.source_id in gone or fact.source_id not in best):
            doomed.append(fact)
    return doomed


def view_digest(view: Sequence[FactKey]) -> str:
    """Hex BLAKE2b-128 of the sources of a view and of their content, in view order."""
    state = blake2b(digest_size=16)
    for fact in view:
        state.update(fact.source_id.encode() + b"\x00" + fact.digest)
    return state.hexdigest()
