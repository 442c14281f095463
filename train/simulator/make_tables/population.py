"""tables/population.csv: percentiles and rank correlations of what the SDSS-II Supernova Survey measured, by class.

Source: 600 sampled rows of the master table of Sako et al. (2018). AGN and Variable as classified there; SNIa joins
spectroscopic, redshift and photometric types Ia; SNOther all core-collapse types.
"""

from __future__ import annotations

import csv
import math
from typing import Final

import numpy as np
from scipy.stats import spearmanr

from train.simulator.make_tables.common import source_folder, write_table

FILE: Final = "population/sdss_sn_master_sample.csv"
TYPES: Final = {
    "AGN": ("AGN",),
    "SNIa": ("SNIa", "SNIa?", "zSNIa", "pSNIa"),
    "SNOther": ("SNII", "zSNII", "pSNII", "SNIb", "SNIc", "zSNIbc", "SNIbc"),
    "Variable": ("Variable",),
}
QUANTITIES: Final = ("peak_r", "host_r", "log_separation", "u_g", "g_r", "r_i", "i_z", "redshift")
PERCENTILES: Final = (5, 16, 50, 84, 95)
FEWEST: Final = 10
# tabulated separations are rounded to 0.01 arcsec
SMALLEST_SEPARATION: Final = 0.01


def number(row: dict[str, str], name: str) -> float:
    """A cell, NaN when it is empty."""
    return float(row[name]) if row[name] else math.nan


def quantities(row: dict[str, str]) -> list[float]:
    """The quantities of one row, NaN where it has none."""
    u, g, r, i, z = (number(row, f"host_{band}") for band in "ugriz")
    separation = max(number(row, "host_sep_arcsec"), SMALLEST_SEPARATION)
    separation = math.log10(separation) if separation > 0 else math.nan
    return [number(row, "peak_r"), r, separation, u - g, g - r, r - i, i - z, number(row, "zspecHelio")]


def correlation(values: np.ndarray, first: int, second: int) -> float:
    """Spearman's rank correlation of two columns, 0 where fewer than ten rows have both."""
    both = np.isfinite(values[:, first]) & np.isfinite(values[:, second])
    if both.sum() < FEWEST:
        return 0.0
    return float(spearmanr(values[both, first], values[both, second]).statistic)


def main() -> None:
    """Read, count, write."""
    with (source_folder(__doc__) / FILE).open(encoding="utf-8") as handle:
        table = list(csv.DictReader(handle))
    rows = []
    for class_name, types in TYPES.items():
        chosen = [row for row in table if row["class"] in types]
        values = np.array([quantities(row) for row in chosen])
        for index, name in enumerate(QUANTITIES):
            cuts = (
                np.nanpercentile(values[:, index], PERCENTILES) if np.isfinite(values[:, index]).any() else [0.0] * 5
            )
            ranks = [1.0 if other == index else correlation(values, index, other) for other in range(len(QUANTITIES))]
            rows.append((class_name, name, *(f"{cut:.3f}" for cut in cuts), *(f"{rank:.2f}" for rank in ranks)))
        for name in ("Nsearchepoch", "NepochSNR5"):
            counts = np.percentile([number(row, name) for row in chosen], PERCENTILES)
            rows.append((class_name, name, *(f"{count:.1f}" for count in counts), *[""] * len(QUANTITIES)))
    comments = (
        "SDSS-II Supernova Survey, 600 sampled rows (Sako et al. 2018): percentiles, then rank correlations with",
        "each quantity; mag, log10 arcsec; made by make_tables.population",
    )
    header = ("class", "quantity", *(f"p{percent}" for percent in PERCENTILES), *(f"with_{q}" for q in QUANTITIES))
    write_table("population.csv", comments, header, rows)


if __name__ == "__main__":
    main()
