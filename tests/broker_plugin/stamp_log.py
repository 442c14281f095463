"""Stamp-log messages and stores for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from broker_plugin.messages import HEADER_INPUT_OFFSET, LogMessage
from broker_plugin.store.stamp_store import StampStore
from broker_plugin.store.store_file import StoreIdentity
from broker_plugin.testing.scorers import make_rule
from schemas.observation import Observation, Plane, Withdrawal, log_key

GRID = "ztf-1.01-32"
IDENTITY = StoreIdentity(cluster_id="c", topic_id="t", topic="stamps", partition=0, num_partitions=4)
RULE = make_rule(max_frames=4, max_days=50.0)


def make_plane(seed: int, num_valid: int = 1024) -> Plane:
    """Noise with the first ``num_valid`` pixels unmasked."""
    valid = (np.arange(1024) < num_valid).reshape(32, 32)
    pixels = np.random.default_rng(seed).normal(0, 50, (32, 32)).astype(np.float32)
    return Plane(np.where(valid, pixels, np.float32(0)), valid, 50.0 if num_valid else 0.0)


def make_observation(
    object_id: str = "A",
    source: int = 0,
    *,
    mjd: float | None = None,
    band: str | None = None,
    num_valid: int = 1024,
    grid_id: str = GRID,
) -> Observation:
    """One exposure; what is not given follows from ``source``."""
    mjd = 59000.0 + source if mjd is None else mjd
    return Observation(
        survey="ztf",
        object_id=object_id,
        source_id=str(source),
        mjd=mjd,
        night=int(mjd),
        band="gr"[source % 2] if band is None else band,
        ra=10.0 + source * 1e-5,
        dec=-5.0,
        diff_flux_njy=100.0 + source,
        diff_flux_err_njy=5.0,
        reliability=0.5,
        programid=1,
        grid_id=grid_id,
        resampler="none-1",
        rotation_deg=0.0,
        psf_fwhm_arcsec=2.0,
        science=make_plane(source, num_valid),
        difference=make_plane(source + 1000, num_valid),
    )


def make_withdrawal(observation: Observation) -> Withdrawal:
    """The survey takes ``observation`` back."""
    return Withdrawal(
        survey=observation.survey,
        object_id=observation.object_id,
        source_id=observation.source_id,
        mjd=observation.mjd,
        band=observation.band,
        withdrawn_mjd=observation.mjd + 1,
    )


def to_log(facts: Sequence[Observation | Withdrawal], *, start: int = 0, partition: int = 0) -> list[LogMessage]:
    """The facts as messages at consecutive offsets."""
    return [
        LogMessage(
            partition,
            start + place,
            log_key(fact.survey, fact.object_id),
            fact.to_bytes(),
            ((HEADER_INPUT_OFFSET, str(start + place).encode()),),
        )
        for place, fact in enumerate(facts)
    ]


def open_store(folder: Path, *, partition: int = 0, holder: str = "test") -> StampStore:
    """The store of one partition, under ``folder``."""
    identity = replace(IDENTITY, partition=partition)
    return StampStore(folder / f"{partition}.sqlite", identity, rules=[RULE], holder=holder)
