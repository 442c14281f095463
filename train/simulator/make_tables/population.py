"""tables/population.csv: percentiles and rank correlations of what the SDSS-II Supernova Survey measured, by class.

Source: 600 sampled rows of the master table of Sako et al. (2018). AGN and Variable as classified there; SNIa joins
spectroscopic, redshift and photometric types Ia; SNOther core collapse but for the nuclear photometric ones, which
stand apart as "SNOther nuclear"; "Variable beside" are those beside bright galaxies, "... all" the classes as the
survey has them.
"""

from __future__ import annotations

import csv
import math
from typing import Final

import numpy as np
from scipy.stats import spearmanr

from train.simulator.make_tables.common import source_folder, write_table

FILE: Final = "population/sdss_sn_master_sample.csv"
IA: Final = ("SNIa", "SNIa?", "zSNIa", "pSNIa")
CORE_COLLAPSE: Final = ("SNII", "zSNII", "SNIb", "SNIc", "zSNIbc", "SNIbc")
# Of its photometric type II, 71% are faint and on the nucleus, as no sample of supernovae is: they are tabulated
# apart.
NUCLEAR_BELOW_ARCSEC: Final = 0.3
# Of its Variables a fifth lie beside the middle of a bright galaxy.
BESIDE_FROM_ARCSEC: Final = 0.4
BESIDE_HOST_R: Final = 20.0
QUANTITIES: Final = ("peak_r", "host_r", "log_separation", "u_g", "g_r", "r_i", "i_z", "redshift")
PERCENTILES: Final = (5, 16, 50, 84, 95)
FEWEST: Final = 10
# tabulated separations are rounded to 0.01 arcsec
SMALLEST_SEPARATION: Final = 0.01


def is_nuclear(row: dict[str, str]) -> bool:
    """On the middle of its catalogue object."""
    return number(row, "host_sep_arcsec") < NUCLEAR_BELOW_ARCSEC


def is_beside(row: dict[str, str]) -> bool:
    """Off the middle of a bright galaxy."""
    return number(row, "host_sep_arcsec") >= BESIDE_FROM_ARCSEC and number(row, "host_r") < BESIDE_HOST_R


def groups(table: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """The rows of each group of the table."""
    variables = [row for row in table if row["class"] == "Variable"]
    photometric = [row for row in table if row["class"] == "pSNII"]
    others = [row for row in table if row["class"] in CORE_COLLAPSE]
    return {
        "AGN": [row for row in table if row["class"] == "AGN"],
        "SNIa": [row for row in table if row["class"] in IA],
        "SNOther": others + [row for row in photometric if not is_nuclear(row)],
        "SNOther nuclear": [row for row in photometric if is_nuclear(row)],
        "SNOther all": others + photometric,
        "Variable": [row for row in variables if not is_beside(row)],
        "Variable beside": [row for row in variables if is_beside(row)],
        "Variable all": variables,
    }


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
    for class_name, chosen in groups(table).items():
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
