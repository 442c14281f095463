"""Writing a bundle: weights rounded to what is stored, golden answers of exactly those weights, card, manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.torch import save
from torch import Tensor

from model.bundle import Bundle, bundle_id
from model.bundle_files import (
    CARD_FILE,
    GOLDEN_FILE,
    NOVELTY_FILE,
    SPEC_FILE,
    compact_weights,
    member_path,
    write_bundle_files,
)
from model.bundle_spec import BundleSpec
from model.card import write_card
from model.ensemble import build_members
from model.golden import Golden
from model.novelty import NoveltyModel
from model.runtime import build_runtime
from model.scores import CLASSES
from schemas.errors import BundleError
from schemas.sequence import StampSequence


def save_bundle(
    folder: Path,
    spec: BundleSpec,
    states: Sequence[Mapping[str, Tensor]],
    novelty: NoveltyModel,
    golden_sequences: Sequence[StampSequence],
) -> str:
    """Write a new bundle and return its id.

    states: a state dict a member, as trained (not fused). golden_sequences: a few inputs whose answers are stored
    and replayed at every load. BundleError when the folder exists, a part does not fit another, or a weight is not
    finite in float16.
    """
    if len(states) != spec.num_members:
        raise BundleError(f"{len(states)} members, the spec says {spec.num_members}")
    stored = [compact_weights(state) for state in states]
    bundle = draft_bundle(spec, stored, novelty, golden_sequences)
    files = {
        SPEC_FILE: spec.to_json(),
        CARD_FILE: write_card(spec, num_parameters=_num_parameters(bundle)).encode(),
        NOVELTY_FILE: save(novelty.to_tensors()),
        GOLDEN_FILE: save(_answered(bundle).to_tensors()),
    }
    files |= {member_path(index): save(state) for index, state in enumerate(stored)}
    return bundle_id(spec, write_bundle_files(folder, files))


def draft_bundle(
    spec: BundleSpec,
    states: Sequence[Mapping[str, Tensor]],
    novelty: NoveltyModel,
    golden_sequences: Sequence[StampSequence] = (),
) -> Bundle:
    """A bundle in memory that has no files yet: what calibration and tests run ``build_runtime`` on."""
    floats = tuple({k: v.float() if v.is_floating_point() else v for k, v in state.items()} for state in states)
    count = len(golden_sequences)
    empty = Golden(
        tuple(golden_sequences),
        np.zeros((count, spec.num_members, len(CLASSES)), np.float32),
        np.zeros((count, len(CLASSES)), np.float32),
        np.zeros(count, np.float32),
    )
    identity = f"{spec.name}-{spec.version}-draft"
    return Bundle(Path(identity), identity, spec, floats, novelty, empty, "", 0)


def _answered(bundle: Bundle) -> Golden:
    runtime = build_runtime(bundle)
    sequences = bundle.golden.sequences
    scores = runtime.score(sequences)
    return replace(
        bundle.golden,
        logits_NKC=np.stack([logits for logits, _ in runtime.features(sequences)]),
        probabilities_NC=np.stack([score.probabilities_K for score in scores]),
        novelty_N=np.array([score.novelty for score in scores], np.float32),
    )


def _num_parameters(bundle: Bundle) -> int:
    return build_members(bundle.spec.network, bundle.states[:1])[0].num_parameters
