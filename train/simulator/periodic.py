"""Stars that vary: RR Lyrae (harmonic fits of Stripe 82 stars), eclipsing binaries, long-period and cataclysmic ones.

Each is given as flux over mean flux, so that the change against a template of many epochs is (ratio - 1) times the
flux.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.light_curves import Integers
from train.simulator.spectra import magnitude_to_njy
from train.simulator.splits import split_of
from train.simulator.stochastic import AMPLITUDE_SLOPE, REFERENCE_A
from train.simulator.table_files import read_table

Array = NDArray[np.float64]

KINDS: Final = ("rr_lyrae", "eclipsing", "long_period", "cataclysmic")
NUM_HARMONICS: Final = 6
SAMPLES: Final = 256
# g-r, r-i and so on of the stars that have no table: from hot to cool, mag against r in u g r i z y
HOT: Final = {"u": 0.5, "g": 0.05, "r": 0.0, "i": -0.05, "z": -0.1, "y": -0.1}
COOL: Final = {"u": 3.6, "g": 1.4, "r": 0.0, "i": -0.9, "z": -1.5, "y": -1.8}


@dataclass(frozen=True, slots=True, eq=False)
class Star:
    """shape_B_S: magnitudes relative to the mean over a cycle of SAMPLES phases, [B, S]; flux_njy_B: mean flux."""

    kind: str
    period_days: float
    phase: float
    shape_BS: Array
    flux_njy_B: Array

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """See LightCurve; the template holds the mean over a cycle."""
        place = ((days_F / self.period_days + self.phase) % 1.0) * self.shape_BS.shape[1]
        low = place.astype(np.int64) % self.shape_BS.shape[1]
        high = (low + 1) % self.shape_BS.shape[1]
        ratio = 10.0 ** (-0.4 * self.shape_BS)
        ratio = ratio / ratio.mean(axis=1, keepdims=True)
        share = place - np.floor(place)
        now = ratio[band_F, low] * (1.0 - share) + ratio[band_F, high] * share
        return np.asarray(self.flux_njy_B[band_F] * (now - 1.0))


@cache
def rr_lyrae_of(split: str) -> tuple[dict[str, str], ...]:
    """The table's stars that belong to a split: no star is drawn in two."""
    return tuple(row for row in read_table("rr_lyrae.csv") if split_of(f"rr_lyrae:{row['star']}") == split)


def draw_star(random: np.random.Generator, kind: str, bands: str, center_a_B: Array, split: str) -> tuple[str, Star]:
    """A name (of the tabulated star, or the kind) and a star of mean r flux 1."""
    if kind == "rr_lyrae":
        rows = rr_lyrae_of(split)
        row = rows[int(random.integers(len(rows)))]
        return f"rr_lyrae:{row['star']}", _rr_lyrae(row, random, bands)
    slope = (center_a_B / REFERENCE_A) ** AMPLITUDE_SLOPE
    phase = np.linspace(0.0, 1.0, SAMPLES, endpoint=False)
    if kind == "eclipsing":
        period, shape, warm = float(np.exp(random.uniform(np.log(0.25), np.log(12.0)))), _eclipses(random, phase), 0.4
        shape_BS = np.tile(shape, (len(bands), 1))
    elif kind == "long_period":
        period, warm = float(np.exp(random.uniform(np.log(60.0), np.log(500.0)))), 0.9
        shape_BS = slope[:, None] * random.uniform(0.15, 1.5) * (np.cos(2 * np.pi * phase) + 0.2 * random.normal())
    else:
        period, warm = float(np.exp(random.uniform(np.log(20.0), np.log(300.0)))), 0.05
        shape_BS = np.tile(_outburst(random, phase, period), (len(bands), 1)) * slope[:, None] ** 0.5
    warm = float(np.clip(warm + 0.1 * random.normal(), 0.0, 1.0))
    colour = np.array([HOT[band] * (1 - warm) + COOL[band] * warm for band in bands])
    flux = magnitude_to_njy(colour + 0.05 * random.standard_normal(len(bands))) / magnitude_to_njy(0.0)
    return kind, Star(kind, period, float(random.random()), np.asarray(shape_BS), np.asarray(flux))


def _rr_lyrae(row: dict[str, str], random: np.random.Generator, bands: str) -> Star:
    phase = np.linspace(0.0, 1.0, SAMPLES, endpoint=False)
    angle = 2.0 * np.pi * phase[:, None] * np.arange(1, NUM_HARMONICS + 1)
    cosines = np.array([float(row[f"cos{order}"]) for order in range(1, NUM_HARMONICS + 1)])
    sines = np.array([float(row[f"sin{order}"]) for order in range(1, NUM_HARMONICS + 1)])
    shape = np.cos(angle) @ cosines + np.sin(angle) @ sines
    known = [band if band != "y" else "z" for band in bands]  # the table ends with z
    amplitude = np.array([float(row[f"amplitude_{band}"]) for band in known])
    mean = np.array([float(row[f"mean_{band}"]) for band in known])
    flux = magnitude_to_njy(mean) / magnitude_to_njy(float(row["mean_r"]))
    period = float(row["period_d"])
    return Star("rr_lyrae", period, float(random.random()), amplitude[:, None] * shape, np.asarray(flux))


def _eclipses(random: np.random.Generator, phase: Array) -> Array:
    width = random.uniform(0.02, 0.09)
    deep = random.uniform(0.2, 1.2)
    shallow = deep * random.uniform(0.1, 1.0)
    wave = 0.08 * random.random() * np.cos(4 * np.pi * phase)
    away = np.minimum(phase, 1.0 - phase)
    first, second = np.exp(-0.5 * (away / width) ** 2), np.exp(-0.5 * ((phase - 0.5) / width) ** 2)
    return np.asarray(deep * first + shallow * second + wave)


def _outburst(random: np.random.Generator, phase: Array, period: float) -> Array:
    """A rise in about a day, some days of brightness, a fall; the rest of the cycle is quiescence."""
    days, high = phase * period, random.uniform(1.5, 4.0)
    length = random.uniform(2.0, 10.0)
    rise = 1.0 / (1.0 + np.exp(-(days - 2.0) / 0.4))
    return np.asarray(-high * rise / (1.0 + np.exp((days - 2.0 - length) / 1.2)))
