"""What a new bundle says of its test objects, as the worker's drift metrics compare it with what they score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from torch import Tensor

from model import distributions
from model.bundle_spec import BundleSpec
from model.bundle_writer import draft_bundle
from model.novelty import NoveltyModel
from model.runtime import build_runtime
from train.calibrate import CHUNK
from train.samples import Sampler

MAX_TRIGGERS: Final = 2000
_SEED: Final = 20230402


def held_out_distributions(
    spec: BundleSpec, states: Sequence[Mapping[str, Tensor]], novelty: NoveltyModel, sampler: Sampler
) -> dict[str, list[int]]:
    """``distributions`` of the spec: at most MAX_TRIGGERS, drawn from all that the test objects' frames would have
    been. Empty without a test object."""
    fewest = spec.eligibility.min_frames
    triggers = [
        (int(row), num_frames)
        for row in sampler.data.test
        for num_frames in range(fewest, len(sampler.data.timeline(int(row), sampler.rule)) + 1)
    ]
    if not triggers:
        return {}
    random = np.random.default_rng(_SEED)
    chosen = np.sort(random.choice(len(triggers), size=min(len(triggers), MAX_TRIGGERS), replace=False))
    runtime = build_runtime(draft_bundle(spec, states, novelty), cache_bytes=0)
    total = {quantity: np.zeros(bins) for quantity, bins in distributions.NUM_BINS.items()}
    for start in range(0, len(chosen), CHUNK):
        sequences = [sampler.held_out(*triggers[place]) for place in chosen[start : start + CHUNK]]
        eligible = [sequence for sequence in sequences if runtime.eligibility.shortfall(sequence) is None]
        counts = distributions.count(distributions.measure(eligible, runtime.score(eligible)))
        total = {quantity: total[quantity] + fresh for quantity, fresh in counts.items()}
    return distributions.to_json(total)
