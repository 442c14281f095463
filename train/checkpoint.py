"""Where a stage stands, on disk. Written beside and renamed, so that a cut leaves the one before; never unpickled."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemas.errors import SettingsError


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """step: steps done; network, optimiser: their state; best: weights of the best validation so far; curves:
    JSON."""

    step: int
    network: dict[str, Tensor]
    optimiser: dict[str, Any]
    best: dict[str, Tensor]
    curves: str


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in one step."""
    scratch = path.with_suffix(".part")
    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    torch.save(fields, scratch)
    os.replace(scratch, path)


def load_checkpoint(path: Path) -> Checkpoint:
    """SettingsError when the file is no checkpoint; tensors and plain values only are read."""
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**fields)
    except (RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise SettingsError(f"{path}: not a checkpoint, remove it to train anew: {error}") from error
