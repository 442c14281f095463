"""The shipped bundles with their first member alone: a fifth of the work, all the machinery."""

from __future__ import annotations

from pathlib import Path

from model.bundle import load_bundle
from model.bundle_store import shipped_bundles
from model.bundle_writer import save_bundle
from model.novelty import NoveltyModel


def write_slim_bundles(folder: Path) -> list[Path]:
    """One of each shipped bundle, of the same name and version."""
    return [_write(path, folder / path.name) for path in shipped_bundles()]


def _write(bundle: Path, folder: Path) -> Path:
    loaded = load_bundle(bundle)
    of_all = loaded.novelty
    novelty = NoveltyModel(of_all.means_KCF[:1], of_all.directions_KFR[:1], of_all.variance_KR[:1], of_all.rest_K[:1])
    spec = loaded.spec.model_copy(update={"num_members": 1})
    save_bundle(folder, spec, loaded.states[:1], novelty, loaded.golden.sequences)
    return folder
