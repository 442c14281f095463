"""Which bundle is in use: a store is a directory of bundles with a pointer file to the promoted one. No torch here.

The pointer is replaced in one step, so a reader sees the old or the new bundle, never half of one. A worker polls it
between batches. Roll-back is promoting the older bundle, which is still there.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final
from uuid import uuid4

from model.bundle_spec import BundleSpec
from schemas.errors import BundleError

SHIPPED: Final = Path(__file__).parent / "bundles"
POINTER_FILE: Final = "promoted.json"
_SPEC_FILE: Final = "bundle.json"


def is_bundle(folder: Path) -> bool:
    """Whether a directory looks like a bundle (its checks come at load)."""
    return (folder / _SPEC_FILE).is_file()


def read_spec(folder: Path) -> BundleSpec:
    """What a bundle's ``bundle.json`` says; nothing else of the bundle is read. BundleError when it is not valid."""
    return BundleSpec.from_json((folder / _SPEC_FILE).read_bytes(), where=str(folder))


def shipped_bundles() -> list[Path]:
    """The bundles that come with the package, by name."""
    return list_bundles(SHIPPED)


def list_bundles(store: Path) -> list[Path]:
    """The bundles of a store, by name. BundleError when it is not a directory."""
    if not store.is_dir():
        raise BundleError(f"{store}: no such bundle store: not a directory")
    return sorted(path for path in store.iterdir() if not path.name.startswith(".") and is_bundle(path))


def resolve_bundle(path: Path | str) -> Path:
    """The bundle directory that is meant: itself, a store's promoted one, or a shipped one by name.

    BundleError when it is none of these, or the store's pointer is broken.
    """
    folder = Path(path)
    if is_bundle(folder):
        return folder
    if (folder / POINTER_FILE).is_file():
        return _pointed(folder)
    if folder.name == str(path) and is_bundle(SHIPPED / folder.name):
        return SHIPPED / folder.name
    if folder.is_dir() and list_bundles(folder):
        raise BundleError(f"{folder}: a bundle store without a promoted bundle; promote one first")
    raise BundleError(f"{folder}: no such bundle: neither a bundle, nor a store, nor the name of a shipped bundle")


def promoted_name(store: Path) -> str | None:
    """Directory name of the promoted bundle, None when none is."""
    return _pointed(store).name if (store / POINTER_FILE).is_file() else None


def promote(bundle: Path, store: Path) -> Path:
    """Point the store at ``bundle``, which is copied into it first when it is elsewhere; returns its place there.

    The caller has verified the bundle. BundleError when another bundle of that directory name is in the store.
    """
    store.mkdir(parents=True, exist_ok=True)
    target = store / bundle.resolve().name
    if not target.exists():
        scratch = Path(tempfile.mkdtemp(prefix=".copy-", dir=store))
        try:
            shutil.copytree(bundle, scratch / "bundle")
            (scratch / "bundle").rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else somebody else has just copied it
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if not _same_manifest(bundle, target):
        raise BundleError(f"{target}: the store holds another bundle under this name; a bundle is never rewritten")
    pointer = store / f".{POINTER_FILE}.{uuid4().hex}"
    pointer.write_text(json.dumps({"bundle": target.name}) + "\n")
    os.replace(pointer, store / POINTER_FILE)
    return target


class BundleWatcher:
    """Tells when a path means another bundle than before: a store's pointer moved. A plain bundle never changes."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.current = resolve_bundle(path)
        self._seen = self._stamp()

    def poll(self) -> Path | None:
        """The new bundle's directory once after each change, else None. A stat call when nothing has changed.

        BundleError when the pointer is broken; it is told once, and the bundle in use stays the current one.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        found = resolve_bundle(self.path)
        if found == self.current:
            return None
        self.current = found
        return found

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = (Path(self.path) / POINTER_FILE).stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_ino, status.st_size)


def _pointed(store: Path) -> Path:
    try:
        name = json.loads((store / POINTER_FILE).read_text())["bundle"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{store}: {POINTER_FILE} cannot be read: {error}") from error
    if not isinstance(name, str) or name != Path(name).name or name in ("", ".", ".."):
        raise BundleError(f"{store}: path check: {POINTER_FILE} names {name!r}, which is not in the store")
    if not is_bundle(store / name):
        raise BundleError(f"{store}: {POINTER_FILE} names {name}, which is not a bundle of the store")
    return store / name


def _same_manifest(first: Path, second: Path) -> bool:
    name = "MANIFEST.sha256"
    try:
        return (first / name).read_bytes() == (second / name).read_bytes()
    except OSError:
        return False
