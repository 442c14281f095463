"""Simulated stamps of the objects that tests evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from broker_plugin.evaluation.record_files import open_rows, part_path
from broker_plugin.evaluation.records import DeliveredRecord
from broker_plugin.evaluation.stamp_archive import STAMP_STEM, StampLogValue, stamp_schema
from schemas.observation import STAMP_SIZE, Observation, Plane, log_key

GRID_ID = "test-grid"


def make_observation(object_id: str, mjd: float, band: str, flux_njy: float, seed: int) -> Observation:
    """A point source in noise; the science plane has a host beside it and, now and then, a masked corner."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:STAMP_SIZE, :STAMP_SIZE] - (STAMP_SIZE - 1) / 2
    star = flux_njy / 20.0 * np.exp(-(rows**2 + columns**2) / 8.0)
    host = 3e4 * np.exp(-((rows - 3) ** 2 / 40.0 + (columns + 4) ** 2 / 20.0))
    valid = np.ones((STAMP_SIZE, STAMP_SIZE), np.bool_)
    if seed % 5 == 0:
        valid[:, 24:] = False

    def plane(signal: np.ndarray) -> Plane:
        pixels = (signal + rng.normal(0, 800.0, signal.shape)).astype(np.float32)
        return Plane(np.where(valid, pixels, np.float32(0)), valid, 800.0)

    return Observation(
        survey="ztf",
        object_id=object_id,
        source_id=f"{object_id}-{seed}",
        mjd=mjd,
        night=int(mjd),
        band=band,
        ra=150.0,
        dec=2.0,
        diff_flux_njy=flux_njy,
        diff_flux_err_njy=4000.0,
        reliability=None,
        programid=1,
        grid_id=GRID_ID,
        resampler="none",
        rotation_deg=0.0,
        psf_fwhm_arcsec=2.0,
        science=plane(star + host),
        difference=plane(star),
    )


def write_stamps(folder: Path, records: list[DeliveredRecord]) -> None:
    """Stamps of every record's trigger: g and r by turns, flux up and down over the series."""
    with open_rows(part_path(folder, STAMP_STEM, 0, ".avro"), schema=stamp_schema()) as writer:
        for offset, record in enumerate(records):
            said = record.classification
            age = record.delivery.trigger_mjd - 60000.0
            flux = 2e5 * float(np.exp(-(((age - 8.0) / 7.0) ** 2)))
            observation = make_observation(
                said.object_id, record.delivery.trigger_mjd, "gr"[said.num_frames % 2], flux, said.num_frames
            )
            value = StampLogValue(log_key(said.survey, said.object_id), offset, observation.to_bytes())
            writer.write(value.to_row())
