"""The bundles that the settings name, loaded as scorers: the same for a worker and for a replay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from broker_plugin.settings.sections import ClassifySettings
from model.bundle_store import shipped_bundles
from model.runtime import Runtime, load_scorer
from schemas.errors import SettingsError


def bundle_paths(classify: ClassifySettings) -> list[Path]:
    """The bundle or bundle-store directories in use; SettingsError when there is none."""
    paths = [Path(path) for path in classify.bundles or shipped_bundles()]
    if not paths:
        raise SettingsError("classify.bundles is empty and no bundle is shipped: name a bundle directory")
    return paths


def bundle_loader(classify: ClassifySettings) -> Callable[[Path], Runtime]:
    """What loads one bundle as the settings ask."""

    def load(path: Path) -> Runtime:
        return load_scorer(
            path,
            device=classify.device,
            threads=classify.threads,
            prior=classify.class_prior,
            cache_bytes=int(classify.token_cache_mb * 1e6),
        )

    return load
