"""tables/rr_lyrae.csv: 483 RR Lyrae stars of Stripe 82 as harmonic fits, from their SDSS photometry.

Source: Sesar et al. (2010), ugriz photometry and periods. Model, in magnitudes: mean of the band + amplitude of the
band * shape(phase), where the shape (one a star, for all bands) is a Fourier series of six harmonics whose
peak-to-peak is 1; phase 0 is the fundamental's zero.
"""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.make_tables.common import source_folder, write_table

FOLDER: Final = "lightcurves/light-curve+test-data"
BANDS: Final = "ugriz"
NUM_HARMONICS: Final = 6
ROUNDS: Final = 12
CLIP: Final = 4.0
RIDGE: Final = 0.02  # keeps harmonics that the phases do not sample small
Array = NDArray[np.float64]


def harmonics(phase: Array) -> Array:
    """cos and sin of 1..6 times the phase (a fraction of a period), [N, 12]."""
    angle = 2.0 * np.pi * phase[:, None] * np.arange(1, NUM_HARMONICS + 1)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


def fit(time: Array, mag: Array, error: Array, band: NDArray[np.int64], period: float) -> tuple[Array, Array, Array]:
    """Means [5], peak-to-peak amplitudes [5] and shape coefficients [12]; alternating weighted least squares."""
    basis = harmonics(time / period % 1.0)
    means = np.array([np.median(mag[band == index]) for index in range(len(BANDS))])
    sizes, shape = np.ones(len(BANDS)), np.zeros(2 * NUM_HARMONICS)
    weight = 1.0 / np.hypot(error, 0.02)
    for _ in range(ROUNDS):
        design = basis * (sizes[band] * weight)[:, None]
        ridge = RIDGE * np.sqrt((weight**2).sum()) * np.diag(np.tile(np.arange(NUM_HARMONICS), 2) / NUM_HARMONICS)
        target = np.concatenate([(mag - means[band]) * weight, np.zeros(2 * NUM_HARMONICS)])
        shape = np.linalg.lstsq(np.concatenate([design, ridge]), target, rcond=None)[0]
        curve = basis @ shape
        for index in range(len(BANDS)):
            chosen = band == index
            columns = np.stack([np.ones(chosen.sum()), curve[chosen]], axis=1) * weight[chosen, None]
            means[index], sizes[index] = np.linalg.lstsq(columns, mag[chosen] * weight[chosen], rcond=None)[0]
        residual = (mag - means[band] - sizes[band] * curve) / np.hypot(error, 0.02)
        spread = 1.4826 * np.median(np.abs(residual))
        weight = np.where(np.abs(residual) < CLIP * spread, 1.0, 0.0) / np.hypot(error, 0.02)
    fine = harmonics(np.linspace(0, 1, 400, endpoint=False)) @ shape
    reach = float(np.ptp(fine))
    return means, sizes * reach, shape / reach


def light_curves(folder: Path) -> dict[str, tuple[Array, Array, Array, NDArray[np.int64]]]:
    """Star number to time, magnitude, error and band index."""
    found = {}
    with tarfile.open(folder / "RRLyrae_light-curves.tar.gz") as archive:
        for member in archive:
            handle = archive.extractfile(member) if member.name.endswith(".csv") else None
            if handle is None:
                continue
            rows = list(csv.DictReader(io.TextIOWrapper(handle, "utf-8")))
            values = np.array([[float(row[name]) for name in ("time", "mag", "magerr")] for row in rows])
            good = np.isfinite(values).all(axis=1) & (values[:, 1] > 5) & (values[:, 1] < 30) & (values[:, 2] > 0)
            band = np.array([BANDS.index(row["band"]) for row in rows])
            found[Path(member.name).stem] = (*values[good].T, band[good])
    return found


def main() -> None:
    """Read, fit, write."""
    folder = source_folder(__doc__) / FOLDER
    with (folder / "RRLyrae/periods.csv").open(encoding="utf-8") as handle:
        stars = list(csv.DictReader(handle))
    curves = light_curves(folder)
    rows = []
    for star in stars:
        means, sizes, shape = fit(*curves[star["Num"]], float(star["Per"]))
        numbers = [f"{float(star['Per']):.6f}", *(f"{value:.3f}" for value in (*means, *sizes, *shape))]
        rows.append((star["Num"], star["Type"], *numbers))
    header = [
        "star",
        "type",
        "period_d",
        *(f"mean_{band}" for band in BANDS),
        *(f"amplitude_{band}" for band in BANDS),
    ]
    header += [f"{kind}{order}" for kind in ("cos", "sin") for order in range(1, NUM_HARMONICS + 1)]
    comments = ("RR Lyrae of Stripe 82 (Sesar et al. 2010) as harmonic fits, mag; made by make_tables.rr_lyrae",)
    write_table("rr_lyrae.csv", comments, header, rows)


if __name__ == "__main__":
    main()
