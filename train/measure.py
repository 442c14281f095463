"""Figures of a bundle on objects that no choice has seen: at random triggers, against the number of frames,
novelty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.bundle_spec import BundleSpec
from model.calibration import member_probabilities, temperatures
from model.novelty import NoveltyModel
from train.calibrate import Answers, answers
from train.samples import Sampler
from train.scores import figures

LENGTHS: Final = (3, 6, 12, 24, 48, 99)
ALL_FRAMES: Final = 1 << 30  # the object's last trigger
FEWEST: Final = 20  # objects below which a figure says nothing

Integers = NDArray[np.int64]


def measure(
    spec: BundleSpec, states: Sequence[Mapping[str, Tensor]], novelty: NoveltyModel, sampler: Sampler
) -> dict[str, Any]:
    """For ``bundle.json`` and the card. Scored against the true class; against the label beside, where they
    differ."""
    data, rows = sampler.data, sampler.data.test
    if not len(rows):
        return {"held_out_objects": 0}
    whole = answers(spec, states, sampler, [(int(row), ALL_FRAMES) for row in rows])
    early = answers(spec, states, sampler, sampler.random_triggers(rows, 1))
    found: dict[str, Any] = {
        "held_out_objects": len(rows),
        "all_frames": _figures(spec, novelty, whole, data.truth(rows)),
        "one_random_trigger_an_object": _figures(spec, novelty, early, data.truth(rows)),
    }
    for name, chosen in (("confirmed", data.rows["confirmed"][rows]), ("unconfirmed", ~data.rows["confirmed"][rows])):
        if np.count_nonzero(chosen) >= FEWEST:
            found[f"all_frames_{name}"] = _figures(spec, novelty, _only(whole, chosen), data.truth(rows)[chosen])
    if np.any(data.truth(rows) != data.labels(rows)):
        found["all_frames_against_the_label"] = _figures(spec, novelty, whole, data.labels(rows))
    found["by_number_of_frames"] = _by_length(spec, states, novelty, sampler, rows)
    return found


def triggers_by_length(spec: BundleSpec, sampler: Sampler, rows: Integers) -> dict[int, list[tuple[int, int]]]:
    """(row, number of frames) of the rows that reach each of LENGTHS which the bundle is asked about; a length that
    fewer than FEWEST reach is left out."""
    longest = {int(row): sampler.longest(int(row)) for row in rows}
    lengths = [n for n in LENGTHS if spec.eligibility.min_frames <= n <= spec.view.max_frames]
    reached = {n: [(row, n) for row, count in longest.items() if count >= n] for n in lengths}
    return {n: asked for n, asked in reached.items() if len(asked) >= FEWEST}


def _by_length(
    spec: BundleSpec, states: Sequence[Mapping[str, Tensor]], novelty: NoveltyModel, sampler: Sampler, rows: Integers
) -> dict[str, Any]:
    curve: dict[str, Any] = {}
    for length, asked in triggers_by_length(spec, sampler, rows).items():
        found = answers(spec, states, sampler, asked)
        said = _figures(spec, novelty, found, sampler.data.truth(found.rows_N))
        curve[str(length)] = {
            name: said[name] for name in ("num_objects", "accuracy", "macro_f1", "log_loss_nat", "ece")
        }
        novel = [int(row) for row in sampler.data.novel if sampler.longest(int(row)) >= length]
        if len(novel) >= FEWEST:
            strange = answers(spec, states, sampler, [(row, length) for row in novel])
            curve[str(length)]["novelty_auroc"] = auroc(_novelty(novelty, found), _novelty(novelty, strange))
    return curve


def probabilities(spec: BundleSpec, found: Answers) -> NDArray[np.float64]:
    """Calibrated mean over the members, [N, C]."""
    temperature = temperatures(spec.calibration.log_temperature, found.frames_N)
    return np.asarray(member_probabilities(found.logits_KNC, temperature).mean(axis=0))


def _figures(spec: BundleSpec, novelty: NoveltyModel, found: Answers, truth_N: Integers) -> dict[str, Any]:
    said = probabilities(spec, found)
    limit = spec.thresholds.max_novelty
    answered = said.max(axis=1) >= spec.thresholds.min_probability
    answered &= _novelty(novelty, found) <= (np.inf if limit is None else limit)
    right = said.argmax(axis=1) == truth_N
    return figures(truth_N, said) | {
        "share_answered": float(answered.mean()),
        "accuracy_of_answers": float(right[answered].mean()) if answered.any() else None,
    }


def _novelty(novelty: NoveltyModel, found: Answers) -> NDArray[np.float64]:
    return np.array([novelty.score(found.pooled_KNF[:, row]) for row in range(len(found.rows_N))])


def _only(found: Answers, chosen_N: NDArray[np.bool_]) -> Answers:
    return Answers(
        found.logits_KNC[:, chosen_N], found.pooled_KNF[:, chosen_N], found.frames_N[chosen_N], found.rows_N[chosen_N]
    )


def auroc(usual_N: NDArray[np.float64], strange_M: NDArray[np.float64]) -> float:
    """Chance that a strange sample scores higher than a usual one, ties counting half (Mann-Whitney)."""
    order = np.sort(usual_N)
    below = np.searchsorted(order, strange_M, side="left") + np.searchsorted(order, strange_M, side="right")
    return float(below.mean() / (2.0 * len(usual_N)))
