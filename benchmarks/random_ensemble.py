"""Ensembles of full-size ``convention`` networks of random weights: what an answer costs does not depend on them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model import registry
from model.bundle_spec import BundleSpec
from model.novelty import NoveltyModel
from model.scores import CLASSES


def random_ensemble(
    members: int, *, bands: tuple[str, ...], grid_id: str
) -> tuple[BundleSpec, list[dict[str, Tensor]], NoveltyModel]:
    """Spec, weights and novelty of a bundle. Every sequence is long enough, and nothing is abstained."""
    networks = []
    for seed in range(members):
        torch.manual_seed(seed)
        networks.append(registry.create("convention", bands=bands).eval())
    size = networks[0].pooled_size
    spec = BundleSpec.model_validate(
        {
            "name": "bench",
            "version": "1.0",
            "network": {"name": "convention", "config": networks[0].config_dict()},
            "num_members": members,
            "bands": bands,
            "grid_id": grid_id,
            "class_prior": (1.0 / len(CLASSES),) * len(CLASSES),
            "notes": ("Random weights, for a benchmark.",),
        }
    )
    novelty = NoveltyModel(
        np.zeros((members, len(CLASSES), size), np.float32),
        np.repeat(np.eye(size, 4, dtype=np.float32)[None], members, axis=0),
        np.ones((members, 4), np.float32),
        np.ones(members, np.float32),
    )
    return spec, [network.state_dict() for network in networks], novelty
