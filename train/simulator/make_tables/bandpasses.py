"""tables/bandpasses.csv: throughput of each survey's bands, averaged over bins of 100 Angstrom, peak 1.

Sources: SDSS (doi_*.dat, Doi et al. 2010) and LSST (baseline total_*.dat) of lsst/throughputs; ZTF (P48_*.dat) of
sncosmo. Detector, optics and atmosphere included, photon-counting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from train.simulator.make_tables.common import bin_means, read_columns, source_folder, write_table

STEP: Final = 100.0
EDGES: Final = np.arange(2950.0, 11600.0, STEP)
SMALLEST: Final = 0.002
_LSST: Final = "throughputs/lsst+throughputs"
_SNCOSMO: Final = "templates/sncosmo+sncosmo/sncosmo/data/bandpasses"


def files(folder: Path) -> dict[tuple[str, str], tuple[Path, float]]:
    """(survey, band) to its file and the Angstrom of its unit of wavelength."""
    found = {("sdss", band): (folder / f"{_LSST}/sdss/doi_{band}.dat.gz", 10.0) for band in "ugriz"}
    found |= {("lsst", band): (folder / f"{_LSST}/baseline/total_{band}.dat.gz", 10.0) for band in "ugrizy"}
    names = {"g": "P48_g", "r": "P48_R", "i": "P48_I"}
    return found | {("ztf", band): (folder / f"{_SNCOSMO}/ztf/{name}.dat.gz", 1.0) for band, name in names.items()}


def main() -> None:
    """Read, average, write."""
    rows: list[tuple[str, ...]] = []
    centers = 0.5 * (EDGES[:-1] + EDGES[1:])
    for (survey, band), (path, unit) in files(source_folder(__doc__)).items():
        curve = read_columns(path)
        order = np.argsort(curve[:, 0])
        means = bin_means(curve[order, 0] * unit, curve[order, 1], EDGES)
        means /= means.max()
        rows += [
            (survey, band, f"{wavelength:.0f}", f"{value:.4f}")
            for wavelength, value in zip(centers, means, strict=True)
            if value >= SMALLEST
        ]
    comments = ("Throughputs in bins of 100 Angstrom, peak 1; made by make_tables.bandpasses",)
    write_table("bandpasses.csv", comments, ("survey", "band", "wavelength_a", "throughput"), rows)


if __name__ == "__main__":
    main()
