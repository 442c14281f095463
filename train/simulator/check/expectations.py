"""What a simulated Stripe 82 is held to, measured back from its images, as a table of rows.

Figures: stamp pixels of the published data set and depths of the SDSS-II Supernova Survey; per class the medians of
tables/population.csv, by the label as the survey has it. The published deviation in u and mean in i contradict the
survey's own sky and host colours: shown, not held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Final

import numpy as np

from train.simulator.check.measure import Measured, PixelSums, measure
from train.simulator.distributions import tabulated
from train.simulator.objects import SetSettings
from train.simulator.survey_description import NANOMAGGY_NJY

PIXEL_MEANS: Final = dict(zip("ugriz", (0.0117, 0.0242, 0.0553, 0.0518, 0.0930), strict=True))
PIXEL_DEVIATIONS: Final = dict(zip("ugriz", (0.187, 0.079, 0.143, 0.215, 0.390), strict=True))
DEPTHS: Final = dict(zip("ugriz", (22.2, 23.3, 22.8, 22.5, 21.0), strict=True))
PIXEL_TOLERANCE: Final = 0.35
DEPTH_TOLERANCE: Final = 0.2
NOT_HELD: Final = {("mean", "u"), ("mean", "i"), ("deviation", "u")}
TABLES: Final = {"AGN": "AGN", "SNIa": "SNIa", "SNOther": "SNOther all", "Variable": "Variable all"}
# confirmed and unconfirmed SN Ia are drawn, and held, apart (full tables of Sako et al. 2018)
PEAKS: Final[dict[str, tuple[tuple[str, bool | None, float], ...]]] = {
    "SNIa": (("confirmed SNIa", True, 20.8), ("unconfirmed SNIa", False, 21.7))
}
PEAK_TOLERANCE_MAG: Final = 0.3
SEPARATION_TOLERANCE_ARCSEC: Final = 0.25
EPOCH_FACTOR: Final = 1.6
EPOCH_TOLERANCE: Final = 3.0
CONTRASTS: Final = {"AGN": 0.27, "nuclear Variable": 0.55}
CONTRAST_TOLERANCE: Final = 0.4
NUCLEAR_BELOW_ARCSEC: Final = 0.4
CHUNK: Final = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. held: whether it must lie between low and high."""

    name: str
    measured: float
    expected: float
    low: float
    high: float
    held: bool = True

    @property
    def met(self) -> bool:
        """Whether it does."""
        return bool(self.low <= self.measured <= self.high)


def measure_set(
    settings: SetSettings, *, workers: int, progress: Callable[[int], None]
) -> tuple[list[Measured], PixelSums]:
    """Every object of the set, rendered and measured."""
    sums = PixelSums.empty(len(settings.survey.bands))
    measured: list[Measured] = []
    chunks = [
        range(start, min(start + CHUNK, settings.num_objects)) for start in range(0, settings.num_objects, CHUNK)
    ]
    work = partial(_measure_chunk, settings)
    if workers <= 1:
        results: Iterable[tuple[list[Measured], PixelSums]] = map(work, chunks)
        return _collect(results, measured, sums, progress)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return _collect(pool.map(work, chunks), measured, sums, progress)


def _collect(
    results: Iterable[tuple[list[Measured], PixelSums]],
    measured: list[Measured],
    sums: PixelSums,
    progress: Callable[[int], None],
) -> tuple[list[Measured], PixelSums]:
    for part, part_sums in results:
        measured += part
        sums.join(part_sums)
        progress(len(part))
    return measured, sums


def _measure_chunk(settings: SetSettings, indices: range) -> tuple[list[Measured], PixelSums]:
    sums = PixelSums.empty(len(settings.survey.bands))
    return [measure(settings, index, sums) for index in indices], sums


def rows_of(measured: Sequence[Measured], sums: PixelSums) -> list[Row]:
    """The whole table for a set of Stripe 82 in the published mix."""
    return [*pixel_rows(sums), *class_rows(measured)]


def pixel_rows(sums: PixelSums) -> list[Row]:
    """Pixel statistics (nanomaggies) and depths (mag)."""
    rows = []
    tables = {
        "mean": (sums.mean() / NANOMAGGY_NJY, PIXEL_MEANS),
        "deviation": (sums.deviation() / NANOMAGGY_NJY, PIXEL_DEVIATIONS),
    }
    for kind, (values, expected) in tables.items():
        for band, value in zip("ugriz", values, strict=True):
            center = expected[band]
            low, high = center * (1 - PIXEL_TOLERANCE), center * (1 + PIXEL_TOLERANCE)
            held = (kind, band) not in NOT_HELD
            rows.append(Row(f"pixel {kind} {band}, nanomaggies", float(value), center, low, high, held))
    for band, value in zip("ugriz", sums.depth(), strict=True):
        center = DEPTHS[band]
        low, high = center - DEPTH_TOLERANCE, center + DEPTH_TOLERANCE
        rows.append(Row(f"5-sigma depth {band}, mag", float(value), center, low, high))
    return rows


def class_rows(measured: Sequence[Measured]) -> list[Row]:
    """Medians by label: peak r, separation, epochs at five sigma, contrast to the catalogue's flux."""
    rows = []
    for label, table in TABLES.items():
        chosen = [one for one in measured if one.label == label]
        for name, confirmed, peak in PEAKS.get(label, ((label, None, tabulated(table, "peak_r")[2]),)):
            peaks = [one.peak_r for one in chosen if confirmed in (None, one.confirmed)]
            allowed = PEAK_TOLERANCE_MAG + 2.0 * median_error(peaks)
            rows.append(Row(f"{name}: peak r, mag", median(peaks), peak, peak - allowed, peak + allowed))
        distance = 10.0 ** tabulated(table, "log_separation")[2]
        low, high = max(distance - SEPARATION_TOLERANCE_ARCSEC, 0.0), distance + SEPARATION_TOLERANCE_ARCSEC
        value = median(one.separation_arcsec for one in chosen)
        rows.append(Row(f"{label}: separation, arcsec", value, distance, low, high))
        epochs = tabulated(table, "NepochSNR5")[2]
        value = median(float(one.num_epochs) for one in chosen)
        low = min(epochs / EPOCH_FACTOR, epochs - EPOCH_TOLERANCE)
        high = max(epochs * EPOCH_FACTOR, epochs + EPOCH_TOLERANCE)
        rows.append(Row(f"{label}: epochs at 5 sigma", value, epochs, max(low, 0.0), high))
    groups = {
        "AGN": [one for one in measured if one.label == "AGN"],
        "nuclear Variable": [
            one for one in measured if one.label == "Variable" and one.separation_arcsec < NUCLEAR_BELOW_ARCSEC
        ],
    }
    for name, center in CONTRASTS.items():
        value = median(one.contrast for one in groups[name])
        low, high = center * (1 - CONTRAST_TOLERANCE), center * (1 + CONTRAST_TOLERANCE)
        rows.append(Row(f"{name}: peak over catalogue flux", value, center, low, high))
    return rows


def median(values: Iterable[float]) -> float:
    """Of the values that are known; NaN where none is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else float("nan")


def median_error(values: Sequence[float]) -> float:
    """Standard error of the median of a normal sample with the values' 16 to 84% width."""
    known = np.array([value for value in values if not np.isnan(value)])
    if not known.size:
        return float("nan")
    low, high = np.percentile(known, (16, 84))
    return float(1.2533 * 0.5 * (high - low) / np.sqrt(known.size))
