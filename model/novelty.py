"""How strange a sequence is: Mahalanobis distance of the pooled features to the nearest class (Lee et al. 2018).

Each member has its own feature space: a mean a class, and one covariance shared by the classes in the form of
probabilistic principal components (Tipping & Bishop 1999), R leading directions plus an isotropic rest. That keeps a
bundle small, and sound where there are fewer sequences than features. The score is the squared distance divided by
the number of features, averaged over members: about 1 for the population it was fitted on, larger for strangers.

Dimension letters: K members, N sequences, C classes, F features, R directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from schemas.errors import BundleError

DEFAULT_RANK: Final = 16
# The isotropic rest is at least this share of the mean variance: a dead feature must not make everything novel.
_FLOOR: Final = 1e-3

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class NoveltyModel:
    """means_KCF, directions_KFR (orthonormal columns), variance_KR along them, rest_K variance of all others."""

    means_KCF: FloatArray
    directions_KFR: FloatArray
    variance_KR: FloatArray
    rest_K: FloatArray

    def __post_init__(self) -> None:
        members, _, features = self.means_KCF.shape
        rank = self.variance_KR.shape[-1]
        shapes = (self.directions_KFR.shape, self.variance_KR.shape, self.rest_K.shape)
        if shapes != ((members, features, rank), (members, rank), (members,)):
            raise BundleError(f"novelty check: means {self.means_KCF.shape} do not fit {shapes}")
        if not (np.all(self.variance_KR > 0) and np.all(self.rest_K > 0)):
            raise BundleError("novelty check: a variance is not positive")

    def score(self, pooled_KF: FloatArray) -> float:
        """Novelty of one sequence from its members' pooled features."""
        offset_KCF = pooled_KF[:, None, :] - self.means_KCF
        along_KCR = np.matmul(offset_KCF, self.directions_KFR)
        square_KC = np.square(offset_KCF).sum(axis=-1)
        outside_KC = np.maximum(square_KC - np.square(along_KCR).sum(axis=-1), 0.0)
        inside_KC = (np.square(along_KCR) / self.variance_KR[:, None, :]).sum(axis=-1)
        distance_KC = inside_KC + outside_KC / self.rest_K[:, None]
        return float(distance_KC.min(axis=1).mean() / pooled_KF.shape[1])

    def to_tensors(self) -> dict[str, Tensor]:
        """As stored in ``novelty.safetensors``."""
        return {
            "means": torch.from_numpy(self.means_KCF),
            "directions": torch.from_numpy(self.directions_KFR),
            "variance": torch.from_numpy(self.variance_KR),
            "rest": torch.from_numpy(self.rest_K),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> NoveltyModel:
        """Inverse of ``to_tensors``; BundleError when a tensor is missing, foreign or of the wrong shape."""
        ranks = {"means": 3, "directions": 3, "variance": 2, "rest": 1}
        if {name: tensor.ndim for name, tensor in tensors.items()} != ranks:
            raise BundleError(f"novelty check: tensors {', '.join(sorted(tensors))} are not {', '.join(ranks)}")
        arrays = [tensors[name].float().numpy() for name in ranks]
        return cls(*arrays)


def fit_novelty(
    pooled_KNF: ArrayLike, labels_N: ArrayLike, *, num_classes: int, rank: int = DEFAULT_RANK
) -> NoveltyModel:
    """Fit on the pooled features of sequences of known class.

    ValueError when a class has no sequence or there are fewer than two sequences more than classes.
    """
    pooled = np.asarray(pooled_KNF, np.float64)
    labels = np.asarray(labels_N, np.int64)
    counts = np.bincount(labels, minlength=num_classes)
    if counts.min() == 0 or len(labels) < num_classes + 2:
        raise ValueError(f"novelty needs sequences of every class, got {counts.tolist()}")
    parts = [_fit_member(features, labels, num_classes, rank) for features in pooled]
    means, directions, variance, rest = (np.stack(part).astype(np.float32) for part in zip(*parts, strict=True))
    return NoveltyModel(means, directions, variance, rest)


def fit_max_novelty(scores_N: ArrayLike, *, quantile: float = 0.99) -> float:
    """The threshold that calls 1 - ``quantile`` of the calibration sequences novel."""
    return float(np.quantile(np.asarray(scores_N, np.float64), quantile))


def _fit_member(
    features_NF: NDArray[np.float64], labels_N: NDArray[np.int64], num_classes: int, rank: int
) -> tuple[NDArray[np.float64], ...]:
    means_CF = np.stack([features_NF[labels_N == label].mean(axis=0) for label in range(num_classes)])
    residual_NF = features_NF - means_CF[labels_N]
    freedom = len(labels_N) - num_classes
    num_features = features_NF.shape[1]
    rank = min(rank, num_features - 1, freedom - 1)
    _, singular, directions_SF = np.linalg.svd(residual_NF, full_matrices=False)
    variance_S = np.square(singular) / freedom
    total = float(variance_S.sum())
    floor = max(_FLOOR * total / num_features, 1e-12)
    rest = max((total - float(variance_S[:rank].sum())) / (num_features - rank), floor)
    variance_R = np.maximum(variance_S[:rank], rest)
    return means_CF, directions_SF[:rank].T.copy(), variance_R, np.array(rest)
