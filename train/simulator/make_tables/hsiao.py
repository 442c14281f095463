"""tables/hsiao.csv: spectral energy distribution of a SN Ia, 22 phases by bins of 100 Angstrom, flux a wavelength.

Source: Hsiao et al. (2007) template, version 3, as subsampled in sncosmo (Hsiao_SED_V3_subsampled.fits, 5 days by 50
Angstrom). Scaled to 1 at its largest.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from astropy.io import fits

from train.simulator.make_tables.common import source_folder, write_table

FILE: Final = "templates/sncosmo+sncosmo/sncosmo/data/models/Hsiao_SED_V3_subsampled.fits"
FIRST: Final = 1600.0
LAST: Final = 11600.0
STEP: Final = 100.0


def main() -> None:
    """Read, average neighbours, write."""
    with fits.open(source_folder(__doc__) / FILE) as hdus:
        header, flux = hdus[0].header, hdus[0].data.astype(np.float64)
    wavelengths = header["CRVAL1"] + header["CDELT1"] * np.arange(flux.shape[1])
    phases = header["CRVAL2"] + header["CDELT2"] * np.arange(flux.shape[0])
    centers = np.arange(FIRST, LAST + 1.0, STEP)
    place = np.searchsorted(wavelengths, centers)
    binned = 0.5 * flux[:, place] + 0.25 * (flux[:, place - 1] + flux[:, place + 1])
    binned /= binned.max()
    rows = [(f"{phase:.0f}", *(f"{value:.3g}" for value in row)) for phase, row in zip(phases, binned, strict=True)]
    comments = (
        "Hsiao et al. (2007) SN Ia template (sncosmo, subsampled V3): flux per Angstrom, largest 1, in bins of 100",
        "Angstrom (columns) at phases in days from B maximum (rows); made by make_tables.hsiao",
    )
    write_table("hsiao.csv", comments, ("phase_d", *(f"{center:.0f}" for center in centers)), rows)


if __name__ == "__main__":
    main()
