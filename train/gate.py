"""May a challenger take the champion's place? Macro F1 with a paired bootstrap over objects, and no class the worse
for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.scores import CLASSES
from train.bootstrap import draw_resamples, resampled_f1, verdict
from train.scores import NUM_CLASSES, figures

SEED: Final = 20230401


@dataclass(frozen=True, slots=True)
class Gate:
    """min_gain: what the lower end of the 95% interval of the macro F1 difference must exceed; recall_margin: how
    much any class's recall may fall; min_objects: of the comparison, min_class_objects of each class in it."""

    min_gain: float = 0.0
    recall_margin: float = 0.05
    min_objects: int = 50
    min_class_objects: int = 5
    resamples: int = 2000


def judge(
    gate: Gate,
    truth_N: NDArray[np.int64],
    champion_NC: NDArray[np.float64],
    challenger_NC: NDArray[np.float64],
) -> dict[str, Any]:
    """``passed``, the ``reasons`` why not, and all figures, JSON-ready."""
    champion, challenger = figures(truth_N, champion_NC), figures(truth_N, challenger_NC)
    counts = np.bincount(truth_N, minlength=NUM_CLASSES)
    reasons = []
    if len(truth_N) < gate.min_objects:
        reasons.append(f"{len(truth_N)} objects that neither was trained on, fewer than {gate.min_objects}")
    for name, count in zip(CLASSES, counts.tolist(), strict=True):
        if count < gate.min_class_objects:
            reasons.append(f"{count} objects of {name}, fewer than {gate.min_class_objects}")
    said: dict[str, Any] = {"gate": asdict(gate), "champion": champion, "challenger": challenger}
    if not len(truth_N):
        return said | {"passed": False, "reasons": reasons, "macro_f1_difference": None}
    resamples = draw_resamples(len(truth_N), gate.resamples, np.random.default_rng(SEED))
    drawn = [resampled_f1(resamples, truth_N, said_NC.argmax(axis=1)) for said_NC in (champion_NC, challenger_NC)]
    difference = verdict(challenger["macro_f1"] - champion["macro_f1"], drawn[1] - drawn[0])
    low, high = difference["interval"]
    if not low > gate.min_gain:
        reasons.append(
            f"macro F1 changes by {low:+.3f} to {high:+.3f}, whose lower end does not exceed {gate.min_gain:g}"
        )
    for name in CLASSES:
        before, after = champion["recall"][name], challenger["recall"][name]
        if before is not None and after < before - gate.recall_margin:
            reasons.append(
                f"recall of {name} falls from {before:.3f} to {after:.3f}, by more than {gate.recall_margin:g}"
            )
    return said | {"passed": not reasons, "reasons": reasons, "macro_f1_difference": difference}
