"""Networks, ensembles and bundles (PyTorch). Knows no Kafka and no command line.

Reading order: ``scores`` (what callers get), ``batch`` and ``preprocess`` (sequences to tensors), ``network`` (what
every network does), ``registry`` (their names), then one file a network.
Importing this package does not import torch: the names below are looked up when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.registry import create, network_names

__all__ = ["create", "network_names"]

_LAZY = {
    "create": "model.registry",
    "network_names": "model.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
