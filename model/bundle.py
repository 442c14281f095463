"""Loading a model bundle: ``bundle.json``, members, novelty model, golden tensors, card, SHA-256 manifest.

``load_bundle`` checks hashes, layout and contents and never unpickles; ``model.runtime.load_scorer`` goes on to build
the networks and to replay the golden tensors. ``model.bundle_writer.save_bundle`` writes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from model.bundle_files import (
    CARD_FILE,
    GOLDEN_FILE,
    MEMBERS_FOLDER,
    NOVELTY_FILE,
    SPEC_FILE,
    member_path,
    parse_tensors,
    read_bundle_files,
)
from model.bundle_spec import BundleSpec
from model.golden import Golden
from model.novelty import NoveltyModel
from schemas.errors import BundleError

ID_HASH_LENGTH: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose files are sound. states: a state dict a member, float32."""

    folder: Path
    bundle_id: str
    spec: BundleSpec
    states: tuple[dict[str, Tensor], ...]
    novelty: NoveltyModel
    golden: Golden
    card: str
    num_bytes: int


def bundle_id(spec: BundleSpec, manifest_digest: str) -> str:
    """name-version-hash: the hash is the first 16 hex digits of the manifest's SHA-256, which covers every file."""
    return f"{spec.name}-{spec.version}-{manifest_digest[:ID_HASH_LENGTH]}"


def load_bundle(folder: Path, *, grid_id: str | None = None) -> Bundle:
    """Read and check a bundle; BundleError says which check failed. grid_id: refuse a bundle of another grid."""
    files, manifest_digest = read_bundle_files(folder)
    spec = BundleSpec.from_json(files[SPEC_FILE], where=str(folder))
    if grid_id is not None and spec.grid_id != grid_id:
        raise BundleError(f"{folder}: grid check: the bundle is for grid {spec.grid_id}, not {grid_id}")
    expected = [member_path(index) for index in range(spec.num_members)]
    present = sorted(path for path in files if path.startswith(f"{MEMBERS_FOLDER}/"))
    if present != expected:
        raise BundleError(
            f"{folder}: layout check: {len(present)} member files, bundle.json names {spec.num_members}"
        )
    try:
        card = files[CARD_FILE].decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{folder}: layout check: {CARD_FILE} is not UTF-8 text") from error
    return Bundle(
        folder=folder,
        bundle_id=bundle_id(spec, manifest_digest),
        spec=spec,
        states=tuple(parse_tensors(folder, path, files[path]) for path in expected),
        novelty=NoveltyModel.from_tensors(parse_tensors(folder, NOVELTY_FILE, files[NOVELTY_FILE])),
        golden=Golden.from_tensors(parse_tensors(folder, GOLDEN_FILE, files[GOLDEN_FILE]), grid_id=spec.grid_id),
        card=card,
        num_bytes=sum(map(len, files.values())),
    )
