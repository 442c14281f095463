"""``bundle reference``: distributions of what a bundle scores in a set of sequences, for the worker's drift metrics.

The set should be one that the bundle was not trained on, and like the one it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from model.distributions import Counts, count, measure, to_json
from model.runtime import Runtime, load_scorer
from model.scores import Eligibility
from schemas.errors import SettingsError
from schemas.sequence import StampSequence
from schemas.view import ViewRule
from train.simulator.sequence_set import SequenceSet

CHUNK: Final = 64


def write_reference(
    bundle: str, sequences: Path, folder: Path, *, num_triggers: int, seed: int
) -> tuple[Path, dict[str, list[int]]]:
    """Score triggers drawn from all that the set's objects would have sent, write NAME-VERSION.json into ``folder``.

    SettingsError when the set is of another grid or has no eligible trigger, BundleError when the bundle is refused.
    """
    if num_triggers < 1:
        raise SettingsError(f"--num-triggers {num_triggers}: at least one is needed")
    scorer, found = load_scorer(bundle), SequenceSet(sequences)
    spec = scorer.bundle.spec
    if found.about["grid_id"] != spec.grid_id:
        raise SettingsError(f"{sequences} is on grid {found.about['grid_id']}, bundle {bundle} is for {spec.grid_id}")
    counts = _score(scorer, draw_triggers(found, scorer.view_rule, scorer.eligibility, num_triggers, seed=seed))
    if counts is None:
        raise SettingsError(f"{sequences}: none of its {len(found)} objects is ever eligible for bundle {bundle}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec.name}-{spec.version}.json"
    path.write_text(json.dumps(to_json(counts)) + "\n", encoding="utf-8")
    return path, to_json(counts)


def draw_triggers(
    found: SequenceSet, rule: ViewRule, eligibility: Eligibility, number: int, *, seed: int
) -> Iterator[StampSequence]:
    """The views of ``number`` triggers, each a random frame of all, without those that are too short to be scored."""
    random = np.random.default_rng(seed)
    lengths = found.objects["num_frames"].astype(np.int64)
    ends = np.cumsum(lengths)
    if not len(ends) or not ends[-1]:
        return
    for place in np.sort(random.integers(ends[-1], size=number)):
        index = int(np.searchsorted(ends, place, side="right"))
        newest = int(place - (ends[index] - lengths[index]))
        frames = found.frames(index)[: newest + 1]
        read = np.isin(frames["band"], list(rule.band_ids)) & (frames["mjd"] >= frames["mjd"][-1] - rule.max_days)
        if read[-1]:  # a frame of another band triggers nothing
            sequence = found.take(index, np.flatnonzero(read)[-rule.max_frames :])
            if eligibility.shortfall(sequence) is None:
                yield sequence


def _score(scorer: Runtime, triggers: Iterator[StampSequence]) -> Counts | None:
    total: Counts | None = None
    while chunk := list(islice(triggers, CHUNK)):
        counts = count(measure(chunk, scorer.score(chunk)))
        total = counts if total is None else {quantity: total[quantity] + n for quantity, n in counts.items()}
    return total
