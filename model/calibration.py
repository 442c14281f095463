"""From member logits to calibrated probabilities, and how the calibration is fitted.

Dimension letters: K members, N sequences, C classes. All arithmetic is float64.

Temperature (Guo et al. 2017) as a smooth function of the number of frames n, so that two frames may be answered more
humbly than ninety: log T(n) = sum_i c_i ln(1 + n)^i. The ensemble's probability is the mean over members of
softmax(logits / T(n) + log(prior / stated prior)); temperature and thresholds are fitted for that mean, which is
what is deployed, on objects that neither training nor model selection has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from model.scores import CLASSES
from schemas.errors import SettingsError

MIN_TEMPERATURE: Final = 0.2
MAX_TEMPERATURE: Final = 20.0
# Ridge on the coefficients in nats a sequence: without frames' worth of evidence the temperature stays near 1.
_RIDGE: Final = 1e-3

FloatArray = NDArray[np.float64]


def temperatures(coefficients: Sequence[float], num_frames_N: ArrayLike) -> FloatArray:
    """T(n) of each number of frames, kept within MIN_TEMPERATURE and MAX_TEMPERATURE."""
    log_frames = np.log1p(np.asarray(num_frames_N, np.float64))
    log_temperature = np.polynomial.polynomial.polyval(log_frames, np.asarray(coefficients, np.float64))
    return np.exp(np.clip(log_temperature, np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)))


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: FloatArray = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def member_probabilities(
    logits_KNC: ArrayLike, temperature_N: FloatArray, log_reweight_C: ArrayLike = 0.0
) -> FloatArray:
    """Every member's calibrated, re-weighted probabilities, float64 [K, N, C]."""
    scaled = np.asarray(logits_KNC, np.float64) / temperature_N[None, :, None]
    return softmax(scaled + np.asarray(log_reweight_C, np.float64))


def log_reweight(stated_prior: Sequence[float], prior: Mapping[str, float] | None) -> FloatArray:
    """log(prior / stated prior) a class, zeros when ``prior`` is None.

    ``prior`` gives a positive weight for every class and need not sum to 1; SettingsError otherwise.
    """
    if prior is None:
        return np.zeros(len(CLASSES))
    if set(prior) != set(CLASSES) or not all(0 < weight < float("inf") for weight in prior.values()):
        raise SettingsError(
            f"class prior needs one positive weight for each of {', '.join(CLASSES)}, got {dict(prior)}"
        )
    wanted = np.array([prior[name] for name in CLASSES], np.float64)
    result: FloatArray = np.log(wanted / wanted.sum()) - np.log(np.asarray(stated_prior, np.float64))
    return result


def log_loss(probabilities_NC: FloatArray, labels_N: NDArray[np.integer]) -> float:
    """Mean negative log probability of the true class, nat."""
    chosen = probabilities_NC[np.arange(len(labels_N)), labels_N]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(
    logits_KNC: ArrayLike, labels_N: ArrayLike, num_frames_N: ArrayLike, *, degree: int = 1
) -> tuple[float, ...]:
    """Coefficients of log T(n), lowest order first, that minimise the log loss of the ensemble's mean probability.

    degree 0 is one temperature for all. ValueError when the arrays do not fit together or are empty.
    """
    logits = np.asarray(logits_KNC, np.float64)
    labels = np.asarray(labels_N, np.int64)
    frames = np.asarray(num_frames_N, np.float64)
    if logits.ndim != 3 or len(labels) == 0 or logits.shape[1] != len(labels) or len(labels) != len(frames):
        raise ValueError(f"logits {logits.shape}, {len(labels)} labels and {len(frames)} frame numbers do not fit")

    def loss(coefficients: FloatArray) -> float:
        mean = member_probabilities(logits, temperatures(coefficients.tolist(), frames)).mean(axis=0)
        return log_loss(mean, labels) + _RIDGE * float(np.square(coefficients).sum())

    fitted = minimize(loss, np.zeros(degree + 1), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-8})
    return tuple(float(value) for value in fitted.x)


def fit_min_probability(probabilities_NC: ArrayLike, labels_N: ArrayLike, *, accuracy: float) -> float:
    """The smallest threshold at which the sequences kept are right at least ``accuracy`` of the time.

    Kept are those whose largest probability is at or above the threshold; 0 keeps all. Where no threshold reaches
    it, the largest probability of all is given, which keeps only the surest. ValueError without sequences.
    """
    probabilities = np.asarray(probabilities_NC, np.float64)
    labels = np.asarray(labels_N, np.int64)
    if len(labels) == 0 or len(labels) != len(probabilities):
        raise ValueError(f"{len(probabilities)} probabilities and {len(labels)} labels")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    # accuracy of order[i:], the sequences kept at threshold confidence[order[i]]
    kept_accuracy = np.cumsum(right[order][::-1])[::-1] / np.arange(len(order), 0, -1)
    reaching = np.flatnonzero(kept_accuracy >= accuracy)
    if len(reaching) == 0:
        return float(confidence.max())
    return 0.0 if reaching[0] == 0 else float(confidence[order[reaching[0]]])
