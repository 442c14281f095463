"""Sequences and small bundles for the tests of bundles and runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model import registry
from model.bundle_spec import BundleSpec
from model.bundle_writer import save_bundle
from model.novelty import NoveltyModel
from model.scores import CLASSES
from schemas.observation import Observation, Plane, content_digest
from schemas.sequence import StampSequence, build_sequence

GRID = "ztf-1.01-32"


def make_observations(seed: int, num_frames: int) -> list[Observation]:
    """A brightening point source on noise, one to three frames a night, bands g r i."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:32, :32] - 15.5
    night, observations = 59000, []
    for index in range(num_frames):
        night += int(random.integers(0, 3))
        noise = float(random.uniform(60, 140))
        source = 300.0 * (1 + index % 7) * np.exp(-(rows**2 + columns**2) / 6.0)
        planes = []
        for share in (1.0, 0.4):
            pixels = (share * source + random.normal(0, noise, (32, 32))).astype(np.float32)
            valid = random.random((32, 32)) > 0.01
            planes.append(Plane(np.where(valid, pixels, np.float32(0)), valid, noise))
        observations.append(
            Observation(
                survey="ztf",
                object_id=f"ZTF{seed}",
                source_id=f"{seed}-{index:04d}",
                mjd=night + 0.2 + 1e-4 * index,
                night=night,
                band="gri"[int(random.integers(3))],
                ra=10.0,
                dec=-5.0,
                diff_flux_njy=1000.0,
                diff_flux_err_njy=30.0,
                reliability=0.9,
                programid=1,
                grid_id=GRID,
                resampler="test",
                rotation_deg=0.0,
                psf_fwhm_arcsec=1.8,
                science=planes[0],
                difference=planes[1],
            )
        )
    return observations


def as_sequence(observations: list[Observation]) -> StampSequence:
    """The sequence of these observations, digests as in the stamp log."""
    first = observations[0]
    digests = [content_digest(observation.to_bytes()) for observation in observations]
    return build_sequence(
        first.survey, first.object_id, first.grid_id, observations, digests, view_digest=digests[-1].hex()
    )


def make_sequence(seed: int, num_frames: int) -> StampSequence:
    """A sequence of ``make_observations``."""
    return as_sequence(make_observations(seed, num_frames))


def make_states(name: str, config: dict[str, Any], num_members: int) -> list[dict[str, torch.Tensor]]:
    """Seeded random weights, running statistics included, of ``num_members`` networks."""
    states = []
    for member in range(num_members):
        torch.manual_seed(1000 + member)
        network = registry.create(name, **config)
        with torch.no_grad():
            for key, value in network.state_dict().items():
                if key.endswith("running_mean"):
                    value.normal_(0.0, 0.1)
                elif key.endswith("running_var"):
                    value.uniform_(0.5, 1.5)
                elif value.is_floating_point() and value.dim() > 1 and not value.any():
                    value.normal_(0.0, 0.05)  # layers that start at zero would hide a fault of what feeds them
        states.append(network.state_dict())
    return states


def make_novelty(num_members: int, num_features: int) -> NoveltyModel:
    """A novelty model about the origin."""
    random = np.random.default_rng(5)
    basis = np.linalg.qr(random.normal(size=(num_features, 4)))[0]
    return NoveltyModel(
        random.normal(0, 0.1, (num_members, len(CLASSES), num_features)).astype(np.float32),
        np.repeat(basis[None], num_members, axis=0).astype(np.float32),
        np.full((num_members, 4), 2.0, np.float32),
        np.full(num_members, 1.0, np.float32),
    )


def make_spec(name: str, config: dict[str, Any], num_members: int, **changes: Any) -> BundleSpec:
    """A spec for grid GRID and bands g r i."""
    fields: dict[str, Any] = {
        "name": "sample",
        "version": "1.0",
        "network": {"name": name, "config": config},
        "num_members": num_members,
        "bands": ("g", "r", "i"),
        "grid_id": GRID,
        "class_prior": (0.25, 0.25, 0.25, 0.25),
        "calibration": {"log_temperature": (0.2, -0.05)},
        "notes": ("Random weights, for tests.",),
    }
    return BundleSpec.model_validate(fields | changes)


def write_sample(
    folder: Path, name: str = "convention_2023", *, num_members: int = 2, config: Any = None, **changes: Any
) -> str:
    """A small bundle of random weights; returns its id."""
    config = {"max_frames": 9, "bands": ["g", "r", "i"]} if config is None else config
    spec = make_spec(name, config, num_members, **changes)
    size = registry.create(name, **config).pooled_size
    golden = [make_sequence(1, 2), make_sequence(2, 7)]
    return save_bundle(folder, spec, make_states(name, config, num_members), make_novelty(num_members, size), golden)


def renamed(sequence: StampSequence, object_id: str) -> StampSequence:
    """The same frames under another object id."""
    return replace(sequence, object_id=object_id)
