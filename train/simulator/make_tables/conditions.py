"""tables/conditions.csv: seeing, pixel noise, depth and magnitudes of ZTF and LSST, measured from real alert packets.

Source: public sample packets of both surveys, read by this project's decoders. Noise is the planes' own (from the
border of ZTF's native pixels, from the variance plane of LSST's, on the 0.2" grid); fluxes are as packets state them.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

import numpy as np

from schemas.archive.reader import ArchiveReader
from schemas.decode import PacketDecoder
from schemas.errors import PacketError, SchemaUnavailable
from schemas.observation import Observation
from schemas.outcome import Stamped
from train.simulator.make_tables.common import source_folder, write_table

PERCENTILES: Final = (5, 16, 50, 84, 95)
ZERO_POINT: Final = 31.4
FEWEST: Final = 5


def observations(folder: Path) -> list[Observation]:
    """Every distinct source of the folder's packets that decodes to stamps."""
    found: dict[str, Observation] = {}
    decoder = PacketDecoder()
    for packet in ArchiveReader([folder], lambda damage: None):
        try:
            outcome = decoder.decode(packet.payload)
        except (PacketError, SchemaUnavailable):
            continue
        if isinstance(outcome, Stamped) and isinstance(outcome.fact, Observation):
            found[outcome.fact.source_id] = outcome.fact
    return list(found.values())


def measurements(observation: Observation) -> dict[str, float]:
    """What one packet says of its exposure."""
    flux, error = abs(observation.diff_flux_njy), observation.diff_flux_err_njy
    return {
        "fwhm_arcsec": observation.psf_fwhm_arcsec or np.nan,
        "science_noise_njy": observation.science.noise_njy or np.nan,
        "difference_noise_njy": observation.difference.noise_njy or np.nan,
        "depth_5_sigma_mag": ZERO_POINT - 2.5 * np.log10(5.0 * error) if error > 0 else np.nan,
        "alert_mag": ZERO_POINT - 2.5 * np.log10(flux) if flux > 0 else np.nan,
        "valid_share": observation.difference.num_valid / 1024.0,
    }


def main() -> None:
    """Read, count, write."""
    folder = source_folder(__doc__)
    rows = []
    for survey in ("ztf", "lsst"):
        values: dict[tuple[str, str], list[float]] = defaultdict(list)
        for observation in observations(folder / survey):
            for name, value in measurements(observation).items():
                values[observation.band, name].append(value)
        for (band, name), numbers in sorted(values.items()):
            good = np.array(numbers)[np.isfinite(numbers)]
            if len(good) >= FEWEST:
                cuts = np.percentile(good, PERCENTILES)
                rows.append((survey, band, name, str(len(good)), *(f"{cut:.4g}" for cut in cuts)))
    comments = ("Measured from public sample packets by this project's decoders; made by make_tables.conditions",)
    header = ("survey", "band", "quantity", "num_packets", *(f"p{percent}" for percent in PERCENTILES))
    write_table("conditions.csv", comments, header, rows)


if __name__ == "__main__":
    main()
