"""A bundle's files: a closed layout, a SHA-256 manifest, and tensors that are never unpickled.

Every file is read once; the bytes that were hashed are the bytes that are parsed. The manifest is in the form of
``sha256sum``, so ``sha256sum -c MANIFEST.sha256`` checks a bundle without this project.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from schemas.errors import BundleError

SPEC_FILE: Final = "bundle.json"
CARD_FILE: Final = "CARD.md"
GOLDEN_FILE: Final = "golden.safetensors"
NOVELTY_FILE: Final = "novelty.safetensors"
MANIFEST_FILE: Final = "MANIFEST.sha256"
MEMBERS_FOLDER: Final = "members"
MAX_FILE_BYTES: Final = 1 << 28
MAX_FILES: Final = 128
_MEMBER: Final = re.compile(r"members/\d{3}\.safetensors")
_REQUIRED: Final = frozenset({SPEC_FILE, CARD_FILE, GOLDEN_FILE, NOVELTY_FILE})
_MANIFEST_LINE: Final = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<path>\S.*)")
# A pickle of protocol 2 and later starts so; torch.save writes a zip of one, older torch a bare one.
_PICKLE_STARTS: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
_PICKLE_SUFFIXES: Final = frozenset({".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"})


def member_path(index: int) -> str:
    """Place of a member's weights in a bundle."""
    return f"{MEMBERS_FOLDER}/{index:03d}.safetensors"


def read_bundle_files(folder: Path) -> tuple[dict[str, bytes], str]:
    """Every file of a bundle by its path in it, and the hex SHA-256 of the manifest.

    BundleError, naming the check, when the folder is not a bundle, a path leaves it or is a link, a file is
    missing, unlisted, foreign (a pickle above all) or too large, or a hash differs.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle: not a directory")
    present = _list_files(folder)
    if MANIFEST_FILE not in present:
        raise BundleError(f"{folder}: manifest check: {MANIFEST_FILE} is missing")
    manifest = _read(folder, MANIFEST_FILE)
    digests = _parse_manifest(folder, manifest)
    for path in sorted(set(present) - set(digests) - {MANIFEST_FILE}):
        _refuse_pickle(folder, path)
        raise BundleError(f"{folder}: manifest check: {path} is not listed in {MANIFEST_FILE}")
    for path in sorted(set(digests) - set(present)):
        raise BundleError(f"{folder}: manifest check: {path} is listed but missing")
    for path in sorted(_REQUIRED - set(digests)):
        raise BundleError(f"{folder}: layout check: {path} is missing")
    files: dict[str, bytes] = {}
    for path, digest in digests.items():
        _refuse_foreign(folder, path)
        content = _read(folder, path)
        if sha256(content).hexdigest() != digest:
            raise BundleError(
                f"{folder}: hash check: {path} is not the file that the manifest lists (SHA-256 differs)"
            )
        files[path] = content
    return files, sha256(manifest).hexdigest()


def parse_tensors(folder: Path, path: str, content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, floating ones as float32. BundleError when it is anything else."""
    # a safetensors file starts with the length of its JSON header, whose bytes may look like a pickle's first ones
    if content.startswith(_PICKLE_STARTS) and content[8:9] != b"{":
        raise BundleError(f"{folder}: pickle check: {path} holds a pickle; only safetensors are read")
    try:
        tensors = parse_safetensors(content)
    except SafetensorError as error:
        raise BundleError(f"{folder}: tensor check: {path} is not a safetensors file: {error}") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def compact_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as it is stored: kernels (two and more dimensions) float16, the rest as it is.

    Biases, norms and running statistics stay float32: they are small, and a running variance may be out of
    float16's range. BundleError when a kernel holds a value that float16 cannot.
    """
    compact: dict[str, Tensor] = {}
    for name, tensor in state.items():
        value = tensor.detach().cpu().contiguous()
        if value.is_floating_point() and value.ndim >= 2:
            half = value.half()
            if not bool(torch.isfinite(half).all()):
                raise BundleError(f"weight {name} holds values that are not finite in float16")
            value = half
        compact[name] = value.clone()
    return compact


def write_bundle_files(folder: Path, files: Mapping[str, bytes]) -> str:
    """Write files and manifest as a new bundle, all at once; returns the hex SHA-256 of the manifest.

    The folder appears complete or not at all. BundleError when it exists or the layout is not a bundle's.
    """
    if folder.exists():
        raise BundleError(f"{folder}: already there; a bundle is never rewritten, give it another name or version")
    for path in files:
        _refuse_foreign(folder, path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for path, content in files.items():
            target = scratch / path
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        lines = (f"{sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
        manifest = "".join(lines).encode()
        (scratch / MANIFEST_FILE).write_bytes(manifest)
        scratch.chmod(0o755)  # mkdtemp makes it private
        os.rename(scratch, folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return sha256(manifest).hexdigest()


def _list_files(folder: Path) -> list[str]:
    paths: list[str] = []
    for parent, subfolders, names in os.walk(folder):
        for name in [*subfolders, *names]:
            path = Path(parent) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BundleError(f"{folder}: path check: {path.relative_to(folder)} is a link or not a plain file")
        paths += [(Path(parent) / name).relative_to(folder).as_posix() for name in names]
        if len(paths) > MAX_FILES:
            raise BundleError(f"{folder}: layout check: more than {MAX_FILES} files")
    return paths


def _parse_manifest(folder: Path, manifest: bytes) -> dict[str, str]:
    digests: dict[str, str] = {}
    try:
        lines = manifest.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise BundleError(f"{folder}: manifest check: {MANIFEST_FILE} is not ASCII text") from error
    for number, line in enumerate(lines, start=1):
        match = _MANIFEST_LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{folder}: manifest check: line {number} of {MANIFEST_FILE} is not 'sha256  path'")
        path = match["path"]
        parts = PurePosixPath(path).parts
        if path.startswith("/") or "\\" in path or ".." in parts or PurePosixPath(path).as_posix() != path:
            raise BundleError(f"{folder}: path check: the manifest names {path!r}, which is not inside the bundle")
        if path in digests:
            raise BundleError(f"{folder}: manifest check: {path} is listed twice")
        digests[path] = match["digest"]
    return digests


def _refuse_pickle(folder: Path, path: str) -> None:
    if PurePosixPath(path).suffix.lower() in _PICKLE_SUFFIXES:
        raise BundleError(f"{folder}: pickle check: {path} is a pickle by its name; only safetensors are read")


def _refuse_foreign(folder: Path, path: str) -> None:
    _refuse_pickle(folder, path)
    if path not in _REQUIRED and _MEMBER.fullmatch(path) is None:
        raise BundleError(f"{folder}: layout check: {path} has no place in a bundle")


def _read(folder: Path, path: str) -> bytes:
    target = folder / path
    try:
        size = target.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BundleError(f"{folder}: layout check: {path} has {size} bytes, more than {MAX_FILE_BYTES}")
        return target.read_bytes()
    except OSError as error:
        raise BundleError(f"{folder}: {path} cannot be read: {error.strerror}") from error
