"""Networks, ensembles and bundles (PyTorch). Knows no Kafka and no command line.

Reading order: ``scores`` (what callers get), ``batch`` and ``preprocess`` (sequences to tensors), ``network`` (what
every network does), ``registry`` (their names), then one file a network.
Importing this package does not import torch: the names below are looked up when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.published import check_golden, load_published_weights
    from model.registry import create, network_names

__all__ = ["check_golden", "create", "load_published_weights", "network_names"]

_LAZY = {
    "check_golden": "model.published",
    "load_published_weights": "model.published",
    "create": "model.registry",
    "network_names": "model.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
