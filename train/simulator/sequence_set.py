"""Sequences on disk, memory-mapped: any number of objects trains in bounded memory.

A set is a folder:
    set.json          format, survey, grid, planes, counts, how it was made
    objects.npy       one row an object (OBJECT): truth and its range of frames
    frames.rec        one row a frame (FRAME), objects one after the other, frames in time order
    science.f2, science.valid          [frames, 32, 32] float16 in units of the row's scale; [frames, 128] mask bits
    difference.f2, difference.valid    likewise, absent where packets carry no difference image
Planes are rounded as the stamp log rounds them, so training sees what a worker sees.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SettingsError
from schemas.observation import STAMP_SIZE, Observation, content_digest
from schemas.sequence import PLANES, StampSequence
from train.json_files import PART, write_json

FORMAT: Final = "convention-sequences-1"
PIXELS: Final = (STAMP_SIZE, STAMP_SIZE)
SET_FILES: Final = (
    *("set.json", "set.json" + PART, "objects.npy", "frames.rec"),
    *(f"{plane}.{kind}" for plane in PLANES for kind in ("f2", "valid")),
)
MASK_BYTES: Final = STAMP_SIZE * STAMP_SIZE // 8
OBJECT: Final = np.dtype(
    [
        ("object_id", "S32"),
        ("true_class", "S16"),
        ("label", "S16"),
        ("confirmed", "?"),
        ("split", "S16"),
        ("kind", "S32"),
        ("template", "S32"),
        ("redshift", "f4"),
        ("peak_r", "f4"),
        ("host_r", "f4"),
        ("separation_arcsec", "f4"),
        ("ra", "f8"),
        ("dec", "f8"),
        ("first_frame", "i8"),
        ("num_frames", "i4"),
    ]
)
FRAME: Final = np.dtype(
    [
        ("source_id", "S24"),
        ("digest", "u1", 16),
        ("mjd", "f8"),
        ("night", "i4"),
        ("band", "u1"),
        ("psf_fwhm_arcsec", "f4"),
        ("diff_flux_njy", "f4"),
        ("diff_flux_err_njy", "f4"),
        ("noise_njy", "f4", 2),
        ("scale_njy", "f4", 2),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class PackedFrames:
    """Frames of one or more objects as the files hold them; pixels and masks by plane name."""

    rows: NDArray[Any]
    pixels: dict[str, bytes]
    masks: dict[str, bytes]


def pack(observations: Sequence[Observation], planes: Sequence[str]) -> PackedFrames:
    """Observations of one object in time order."""
    rows = np.zeros(len(observations), FRAME)
    pixels: dict[str, list[bytes]] = {plane: [] for plane in planes}
    masks: dict[str, list[bytes]] = {plane: [] for plane in planes}
    for row, observation in zip(rows, observations, strict=True):
        psf = observation.psf_fwhm_arcsec
        row["source_id"] = observation.source_id
        row["digest"] = np.frombuffer(content_digest(observation.to_bytes()), np.uint8)
        row["mjd"], row["night"], row["band"] = observation.mjd, observation.night, observation.band_id
        row["psf_fwhm_arcsec"] = np.nan if psf is None else psf
        row["diff_flux_njy"], row["diff_flux_err_njy"] = observation.diff_flux_njy, observation.diff_flux_err_njy
        for plane in planes:
            record = getattr(observation, plane).to_record()
            place = PLANES.index(plane)
            row["noise_njy"][place], row["scale_njy"][place] = record["noise_njy"], record["scale_njy"]
            pixels[plane].append(record["pixels"] or bytes(2 * STAMP_SIZE * STAMP_SIZE))
            masks[plane].append(record["valid"] or bytes(MASK_BYTES))
    return PackedFrames(
        rows,
        {plane: b"".join(parts) for plane, parts in pixels.items()},
        {plane: b"".join(parts) for plane, parts in masks.items()},
    )


class SequenceWriter:
    """Appends objects to a new set; the set is complete, and readable, once ``finish`` has been called."""

    def __init__(self, folder: Path, *, survey: str, grid_id: str, planes: Sequence[str]) -> None:
        """SettingsError when the folder holds a set already."""
        if (folder / "set.json").exists():
            raise SettingsError(f"{folder} holds a set of sequences already: name another folder or remove it")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._survey, self._grid_id, self._planes = folder, survey, grid_id, tuple(planes)
        self._objects: list[NDArray[Any]] = []
        self._num_frames = 0
        names = ["frames.rec", *(f"{plane}.{kind}" for plane in planes for kind in ("f2", "valid"))]
        self._files: dict[str, IO[bytes]] = {name: (folder / name).open("wb") for name in names}

    def add(self, truth: Mapping[str, Any], frames: PackedFrames) -> None:
        """One object: the columns of OBJECT but for its range of frames, and its frames."""
        row = np.zeros(1, OBJECT)
        for name, value in truth.items():
            row[name] = value
        row["first_frame"], row["num_frames"] = self._num_frames, len(frames.rows)
        self._objects.append(row)
        self._num_frames += len(frames.rows)
        self._files["frames.rec"].write(frames.rows.tobytes())
        for plane in self._planes:
            self._files[f"{plane}.f2"].write(frames.pixels[plane])
            self._files[f"{plane}.valid"].write(frames.masks[plane])

    def finish(self, made: Mapping[str, Any]) -> None:
        """Write the index; ``made`` says how the set came to be."""
        self.close()
        objects = np.concatenate(self._objects) if self._objects else np.zeros(0, OBJECT)
        np.save(self._folder / "objects.npy", objects)
        about = {
            "format": FORMAT,
            "survey": self._survey,
            "grid_id": self._grid_id,
            "planes": list(self._planes),
            "num_objects": len(objects),
            "num_frames": self._num_frames,
            "made": dict(made),
        }
        write_json(self._folder / "set.json", about)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SequenceSet:
    """A set read through memory maps. ``objects``: structured array of OBJECT; ``about``: the set.json."""

    def __init__(self, folder: Path) -> None:
        """SettingsError when there is no complete set of this format, or a file is not what the index says."""
        self.about = _index(folder)
        num_frames = int(self.about["num_frames"])
        self.objects = _objects(folder / "objects.npy", num_frames)
        self._frames = _mapped(folder / "frames.rec", FRAME, (num_frames,))
        self._pixels = {}
        self._masks = {}
        for plane in self.about["planes"]:
            self._pixels[plane] = _mapped(folder / f"{plane}.f2", np.dtype("<f2"), (num_frames, *PIXELS))
            self._masks[plane] = _mapped(folder / f"{plane}.valid", np.dtype("u1"), (num_frames, MASK_BYTES))

    def __len__(self) -> int:
        return len(self.objects)

    def text(self, column: str) -> list[str]:
        """A text column of ``objects``."""
        return [value.decode() for value in self.objects[column]]

    def frames(self, index: int) -> NDArray[Any]:
        """The rows of FRAME of one object, in time order."""
        row = self.objects[index]
        first = int(row["first_frame"])
        return np.asarray(self._frames[first : first + int(row["num_frames"])])

    def sequence(self, index: int, start: int = 0, stop: int | None = None) -> StampSequence:
        """Frames ``start`` up to ``stop`` (default: all) of one object, as a trigger at frame stop - 1 sees them."""
        return self.take(index, np.arange(*slice(start, stop).indices(int(self.objects[index]["num_frames"]))))

    def take(self, index: int, chosen: NDArray[np.integer]) -> StampSequence:
        """The ``chosen`` frames (0 the oldest, ascending) of one object."""
        row = self.objects[index]
        place = int(row["first_frame"]) + chosen.astype(np.int64)
        frames = self._frames[place]
        shape = (len(frames), len(PLANES), *PIXELS)
        planes, valid = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        for plane, pixels in self._pixels.items():
            number = PLANES.index(plane)
            planes[:, number] = pixels[place].astype(np.float32) * frames["scale_njy"][:, number, None, None]
            valid[:, number] = np.unpackbits(self._masks[plane][place], axis=1).view(np.bool_).reshape(-1, *PIXELS)
        digests = tuple(digest.tobytes() for digest in frames["digest"])
        return StampSequence(
            survey=self.about["survey"],
            object_id=row["object_id"].decode(),
            grid_id=self.about["grid_id"],
            ra=float(row["ra"]) if len(frames) else float("nan"),
            dec=float(row["dec"]) if len(frames) else float("nan"),
            source_ids=tuple(source.decode() for source in frames["source_id"]),
            digests=digests,
            mjd_L=frames["mjd"].astype(np.float64),
            night_L=frames["night"].astype(np.int64),
            band_L=frames["band"].astype(np.uint8),
            planes_LPHW=planes,
            valid_LPHW=valid,
            noise_LP=frames["noise_njy"].astype(np.float32),
            psf_fwhm_arcsec_L=frames["psf_fwhm_arcsec"].astype(np.float32),
            diff_flux_njy_L=frames["diff_flux_njy"].astype(np.float32),
            diff_flux_err_njy_L=frames["diff_flux_err_njy"].astype(np.float32),
            view_digest=digests[-1].hex() if digests else "",
        )


def _index(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / "set.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{folder} holds no complete set of sequences (set.json): {error}") from error
    stated = about.get("format") if isinstance(about, dict) else about
    if stated != FORMAT:
        raise SettingsError(f"{folder}/set.json has format {stated!r:.40}, expected {FORMAT!r}")
    kinds = {"survey": str, "grid_id": str, "planes": list, "num_frames": int, "made": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(about.get(key), kind)]
    wrong += ["planes"] if "planes" not in wrong and not all(plane in PLANES for plane in about["planes"]) else []
    if wrong or about["num_frames"] < 0:
        raise SettingsError(f"{folder}/set.json is damaged ({', '.join(wrong) or 'num_frames'}): make the set again")
    return dict(about)


def _objects(path: Path, num_frames: int) -> NDArray[Any]:
    try:
        objects = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SettingsError(f"{path} is damaged, make the set again: {error}") from error
    if not isinstance(objects, np.ndarray) or objects.dtype != OBJECT or objects.ndim != 1:
        raise SettingsError(f"{path} is no table of objects: make the set again")
    first, number = objects["first_frame"], objects["num_frames"]
    if ((first < 0) | (number < 0) | (first + number > num_frames)).any():
        raise SettingsError(f"{path} names frames that the set has not, of {num_frames}: make the set again")
    return objects


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    expected = dtype.itemsize * int(np.prod(shape))
    size = path.stat().st_size if path.exists() else -1
    if size < 0:
        raise SettingsError(f"{path} is missing: the set is damaged")
    if size != expected:
        raise SettingsError(f"{path} has {size} bytes, the index says {expected}: the set is damaged")
    return np.zeros(shape, dtype) if expected == 0 else np.memmap(path, dtype, "r", shape=shape)
