"""StampSequence: the frames of one view, as arrays. Two views of the same frames, packed and grid.

Dimension letters: L frames, T nights, P planes (0 science, 1 difference), H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.bands import BANDS
from schemas.observation import STAMP_SIZE, Observation

PLANES: Final[tuple[str, ...]] = ("science", "difference")


@dataclass(frozen=True, slots=True, eq=False)
class StampSequence:
    """Frames in time order, each of one band (packed form, ConvEntion's input).

    planes_LPHW: float32 nJy, 0 where masked; valid_LPHW: bool; noise_LP: float32 nJy a pixel, 0 for a fully masked
    plane; mjd_L: float64 days TAI; night_L: int64 site night; band_L: uint8 ids 1..6; psf_fwhm_arcsec_L: float32,
    NaN unknown; diff_flux_njy_L and diff_flux_err_njy_L: float32 as the packets state them, NaN unknown.
    source_ids and digests name each frame's source and content (the token cache's key). ra, dec: deg, of the
    newest frame; NaN when there is none.
    """

    survey: str
    object_id: str
    grid_id: str
    ra: float
    dec: float
    source_ids: tuple[str, ...]
    digests: tuple[bytes, ...]
    mjd_L: NDArray[np.float64]
    night_L: NDArray[np.int64]
    band_L: NDArray[np.uint8]
    planes_LPHW: NDArray[np.float32]
    valid_LPHW: NDArray[np.bool_]
    noise_LP: NDArray[np.float32]
    psf_fwhm_arcsec_L: NDArray[np.float32]
    diff_flux_njy_L: NDArray[np.float32]
    diff_flux_err_njy_L: NDArray[np.float32]
    view_digest: str

    def __len__(self) -> int:
        return len(self.source_ids)

    @property
    def num_nights(self) -> int:
        """Distinct site nights."""
        return len(np.unique(self.night_L))

    @property
    def frames_per_band(self) -> dict[str, int]:
        """Number of frames of each of u g r i z y."""
        return {band: int(np.count_nonzero(self.band_L == index)) for index, band in enumerate(BANDS, start=1)}


@dataclass(frozen=True, slots=True, eq=False)
class GridView:
    """One row a site night and one column a band (the picture people look at, and the baselines' input).

    images_TBHW: float32 nJy, 0 where masked; valid_TBHW: bool; observed_TB: bool; mjd_T: float64, of the night's
    newest frame; bands: the column names. Of two frames of one band in a night the later one is shown.
    """

    bands: tuple[str, ...]
    images_TBHW: NDArray[np.float32]
    valid_TBHW: NDArray[np.bool_]
    observed_TB: NDArray[np.bool_]
    mjd_T: NDArray[np.float64]


def build_sequence(
    survey: str,
    object_id: str,
    grid_id: str,
    observations: Sequence[Observation],
    digests: Sequence[bytes],
    *,
    view_digest: str,
) -> StampSequence:
    """Stack the observations of a view, given in time order with their content digests.

    ValueError when they are of another object or grid, out of order, or not as many as the digests.
    """
    if len(observations) != len(digests):
        raise ValueError(f"{len(observations)} observations but {len(digests)} digests")
    num_frames = len(observations)
    shape = (num_frames, len(PLANES), STAMP_SIZE, STAMP_SIZE)
    planes = np.zeros(shape, np.float32)
    valid = np.zeros(shape, np.bool_)
    noise = np.zeros((num_frames, len(PLANES)), np.float32)
    previous: tuple[float, str] | None = None
    for index, observation in enumerate(observations):
        if (observation.survey, observation.object_id, observation.grid_id) != (survey, object_id, grid_id):
            raise ValueError(
                f"observation {observation.source_id} is of {observation.survey}:{observation.object_id} on grid "
                f"{observation.grid_id}, not of {survey}:{object_id} on {grid_id}"
            )
        place = (observation.mjd, observation.source_id)
        if previous is not None and place <= previous:
            raise ValueError(f"observation {observation.source_id} is out of time order")
        previous = place
        for plane_index, plane in enumerate((observation.science, observation.difference)):
            planes[index, plane_index] = plane.pixels
            valid[index, plane_index] = plane.valid
            noise[index, plane_index] = plane.noise_njy
    planes[~valid] = 0.0
    psf = [np.nan if o.psf_fwhm_arcsec is None else o.psf_fwhm_arcsec for o in observations]
    newest = observations[-1] if observations else None
    return StampSequence(
        survey=survey,
        object_id=object_id,
        grid_id=grid_id,
        ra=newest.ra if newest else float("nan"),
        dec=newest.dec if newest else float("nan"),
        source_ids=tuple(o.source_id for o in observations),
        digests=tuple(digests),
        mjd_L=np.array([o.mjd for o in observations], np.float64),
        night_L=np.array([o.night for o in observations], np.int64),
        band_L=np.array([o.band_id for o in observations], np.uint8),
        planes_LPHW=planes,
        valid_LPHW=valid,
        noise_LP=noise,
        psf_fwhm_arcsec_L=np.array(psf, np.float32),
        diff_flux_njy_L=np.array([o.diff_flux_njy for o in observations], np.float32),
        diff_flux_err_njy_L=np.array([o.diff_flux_err_njy for o in observations], np.float32),
        view_digest=view_digest,
    )


def grid_view(sequence: StampSequence, *, plane: str = "science", bands: Sequence[str] = BANDS[:5]) -> GridView:
    """The sequence as nights by bands; bands that a night lacks are 0, masked and not observed."""
    plane_index = PLANES.index(plane)
    nights = np.unique(sequence.night_L)
    shape = (len(nights), len(bands), STAMP_SIZE, STAMP_SIZE)
    images = np.zeros(shape, np.float32)
    valid = np.zeros(shape, np.bool_)
    observed = np.zeros(shape[:2], np.bool_)
    mjd = np.zeros(len(nights), np.float64)
    columns = {BANDS.index(band) + 1: column for column, band in enumerate(bands)}
    for index in range(len(sequence)):  # time order, so the later frame of a night and band overwrites
        row = int(np.searchsorted(nights, sequence.night_L[index]))
        mjd[row] = sequence.mjd_L[index]
        column = columns.get(int(sequence.band_L[index]))
        if column is None:
            continue
        images[row, column] = sequence.planes_LPHW[index, plane_index]
        valid[row, column] = sequence.valid_LPHW[index, plane_index]
        observed[row, column] = True
    return GridView(tuple(bands), images, valid, observed, mjd)
