"""Bundles that answer otherwise than a shipped one, and what an object's last record must be under a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from broker_plugin.settings.sections import ClassifySettings
from broker_plugin.store.triggers import LoadedBundle
from broker_plugin.testing.acceptance import expected_facts, expected_values
from broker_plugin.version import plugin_version
from model.bundle import load_bundle
from model.bundle_writer import save_bundle
from model.runtime import load_scorer

SHARE = 0.3


def write_rival(bundle: Path, folder: Path, **changes: str) -> Path:
    """The same bundle with every weight matrix changed by a third of itself; ``changes``: its name or version."""
    loaded = load_bundle(bundle)
    torch.manual_seed(11)
    states = [{key: _moved(value) for key, value in state.items()} for state in loaded.states]
    spec = loaded.spec.model_copy(update=changes)
    save_bundle(folder, spec, states, loaded.novelty, loaded.golden.sequences)
    return folder


def _moved(value: Tensor) -> Tensor:
    return value * (1 + SHARE * torch.randn_like(value)) if value.is_floating_point() and value.dim() > 1 else value


def last_values(payloads: Sequence[bytes], bundle: Path, settings: ClassifySettings) -> dict[bytes, bytes]:
    """The value of each object's last record, computed in memory."""
    loaded = LoadedBundle.of(load_scorer(bundle, threads=settings.threads), settings)
    return expected_values(expected_facts(payloads), [loaded], plugin_version=plugin_version())
