"""The light-curve control: aperture photometry of the same pixels, the light-curve package's features, gradient
boosting.

A referee's question: do the images say more than the light curve in them does?
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.preprocess import APERTURE_SIGMAS_PX, aperture_significance
from model.scores import CLASSES
from schemas.bands import BAND_IDS
from schemas.sequence import PLANES, StampSequence
from train.samples import Sampler
from train.triggers import random_length

APERTURE: Final = 0  # the narrowest
FEWEST: Final = 4  # frames of a band below which the package's features say nothing
BLANK_ERROR: Final = 2.0 * math.sqrt(math.pi) * APERTURE_SIGMAS_PX[APERTURE]  # of unmasked pixels, in their noise
FEATURES_A_BAND: Final = 12
SMALLEST: Final = 1e-6

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def photometry(sequence: StampSequence) -> tuple[Floats, Floats, Floats]:
    """Flux of the source and of the nucleus beside it, nJy: change_L and its error (difference plane, or the science
    plane minus its band's mean where there is none), total_L (science plane)."""
    noise = sequence.noise_LP.astype(np.float64)
    inverse = np.where(noise > 0, 1.0 / np.maximum(noise, SMALLEST), 0.0)
    valid = sequence.valid_LPHW.astype(np.float64)
    significance = torch.from_numpy(sequence.planes_LPHW * valid * inverse[:, :, None, None]).float()
    flux, sigma, _ = aperture_significance(significance, torch.from_numpy(valid).float())
    flux_LP = flux[..., APERTURE].numpy().astype(np.float64) * noise
    ratio_LP = sigma[..., APERTURE].numpy().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        error_LP = np.where(np.abs(ratio_LP) > SMALLEST, np.abs(flux_LP / ratio_LP), noise * BLANK_ERROR)
    difference = PLANES.index("difference")
    if sequence.valid_LPHW[:, difference].any():
        return flux_LP[:, difference], error_LP[:, difference], flux_LP[:, 0]
    change = flux_LP[:, 0].copy()
    for band in np.unique(sequence.band_L):
        own = sequence.band_L == band
        change[own] -= np.average(change[own], weights=1.0 / np.maximum(error_LP[own, 0], SMALLEST) ** 2)
    return change, error_LP[:, 0], flux_LP[:, 0]


class Features:
    """Sequences to feature vectors; NaN where a band has too few frames."""

    def __init__(self, bands: tuple[str, ...]) -> None:
        import light_curve as package

        self._band_ids = [BAND_IDS[band] for band in bands]
        self._package = package.Extractor(
            package.Amplitude(),
            package.BeyondNStd(1.0),
            package.Cusum(),
            package.EtaE(),
            package.ExcessVariance(),
            package.InterPercentileRange(0.25),
            package.Kurtosis(),
            package.LinearFit(),
            package.MaximumSlope(),
            package.ReducedChi2(),
            package.Skew(),
            package.StetsonK(),
        )
        self.size = len(self._band_ids) * (len(self._package.names) + FEATURES_A_BAND) + 6

    def of(self, sequence: StampSequence) -> Floats:
        """[size]; times are counted from the newest frame."""
        change, error, total = photometry(sequence)
        days = sequence.mjd_L - sequence.mjd_L[-1]
        values: list[float] = []
        means = []
        for band in self._band_ids:
            own = sequence.band_L == band
            values += self._band(days[own], change[own], error[own], total[own])
            means.append(np.arcsinh(total[own].mean() / 100.0) if own.any() else np.nan)
        colours = np.diff(means)[:4]
        padded = np.full(4, np.nan)
        padded[: len(colours)] = colours
        span = days[-1] - days[0]
        found = np.array([*values, *padded, float(len(sequence)), span], np.float64)
        return np.where(np.isfinite(found), found, np.nan)

    def _band(self, days: Floats, change: Floats, error: Floats, total: Floats) -> list[float]:
        count = len(days)
        if not count:
            return [np.nan] * (FEATURES_A_BAND + len(self._package.names) - 1) + [0.0]
        ratio = change / error
        peak = int(np.argmax(ratio))
        own = [
            ratio.max(),
            ratio.min(),
            ratio.mean(),
            ratio.std(),
            ratio[-1],
            float((ratio > 5).sum()),
            np.arcsinh(change.max() / 100.0),
            np.arcsinh(change[-1] / 100.0),
            np.arcsinh(total.mean() / 100.0),
            days[peak],
            days[-1] - days[0],
        ]
        if count >= FEWEST:
            order = days + np.arange(count) * 1e-9  # frames of one moment: the package wants ascending times
            package = self._package(order, change, error, fill_value=np.nan, check=False).tolist()
        else:
            package = [np.nan] * len(self._package.names)
        return [*map(float, own), *package, float(count)]


class LightCurveControl:
    """Gradient boosting on the features; classes balanced by weight, as the networks' are by order."""

    def __init__(self, bands: tuple[str, ...], *, seed: int) -> None:
        self.features = Features(bands)
        self._seed = seed
        self._model: Any = None
        self._used: NDArray[np.bool_] = np.ones(self.features.size, np.bool_)

    def fit(self, sampler: Sampler, rows: Integers, *, triggers: int) -> None:
        """``triggers`` random prefixes of each row; the object's weight counts."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        random = np.random.default_rng(self._seed)
        samples = []
        for row in rows.tolist():
            longest = sampler.longest(row)
            for _ in range(triggers):
                length = random_length(longest, sampler.recipe.view.min_frames, random)
                samples.append(self.features.of(sampler.held_out(row, length)))
        labels = np.repeat(sampler.data.labels(rows), triggers)
        share = np.bincount(labels, minlength=len(CLASSES)).clip(1) / len(labels)
        weights = np.repeat(sampler.data.rows["weight"][rows], triggers) / (share[labels] * len(CLASSES))
        model = HistGradientBoostingClassifier(
            max_iter=300,
            learning_rate=0.06,
            max_leaf_nodes=15,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=self._seed,
        )
        table = np.stack(samples)
        self._used = np.asarray(np.isfinite(table).any(axis=0))  # boosting takes NaN, but no column of nothing else
        self._model = model.fit(table[:, self._used], labels, sample_weight=weights)

    def logits(self, sampler: Sampler, asked: list[tuple[int, int]]) -> NDArray[np.float32]:
        """Log probabilities [N, C] of (row, frame) pairs."""
        features = np.stack([self.features.of(sampler.held_out(row, length)) for row, length in asked])
        found = np.full((len(asked), len(CLASSES)), SMALLEST)
        found[:, self._model.classes_] = self._model.predict_proba(features[:, self._used])
        logits: NDArray[np.float32] = np.log(np.maximum(found, SMALLEST)).astype(np.float32)
        return logits
