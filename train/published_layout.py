"""The published SDSS stamp layout: one ``.npz`` an object, named by it, made into memory-mapped sequences.

Arrays of a file, none of them pickled:
    images [N, 32, 32]    float, nanomaggies, sky-subtracted or not; NaN where masked
    filter [N]            names u g r i z, or numbers 0..4
    mjd [N]               UTC days, as SDSS writes them (TAI if ``mjd_scale`` is "tai")
    label                 a name that the class mapping knows
    ra, dec, confirmed    of the object; optional
Frames pass through the packet decoder that the worker uses, so training sees what a worker sees.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.bands import BANDS
from schemas.decode import PacketDecoder
from schemas.errors import PacketError, SettingsError
from schemas.observation import STAMP_SIZE, Observation
from schemas.outcome import Stamped
from schemas.surveys.ugriz import GRID_ID
from schemas.timescales import utc_to_tai_mjd
from schemas.writers.alert import AlertFields, Stamps
from schemas.writers.ugriz import ugriz_packet
from train.label_table import IGNORE, read_mapping
from train.simulator.sequence_set import SequenceSet, SequenceWriter, pack
from train.simulator.survey_description import NANOMAGGY_NJY
from train.splits import split_rows

PLANES: Final = ("science",)
_BANDS: Final = BANDS[:5]
_NO_FIGURE: Final = dict.fromkeys(("redshift", "peak_r", "host_r", "separation_arcsec"), np.nan)


def import_published(
    source: Path, target: Path, *, mapping: Mapping[str, str] | None = None, progress: Callable[[int], None]
) -> SequenceSet:
    """Write a set from a folder of ``.npz`` files; objects whose label maps to ``ignore`` are left out.

    SettingsError names the file and what is wrong with it. ``progress`` is told of each file.
    """
    mapping = read_mapping() if mapping is None else mapping
    paths = sorted(source.glob("*.npz"))
    if not paths:
        raise SettingsError(f"{source}: no .npz file of the published layout")
    decoder = PacketDecoder()
    with SequenceWriter(target, survey="ugriz", grid_id=GRID_ID, planes=PLANES) as writer:
        for path in paths:
            arrays = _load(path)
            truth = _truth(path, arrays, mapping)
            if truth is not None:
                writer.add(truth, pack(_observations(path, arrays, truth, decoder), PLANES))
            progress(1)
        writer.finish({"by": "import of the published layout", "files": len(paths)})
    return SequenceSet(target)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SettingsError(f"{path}: not an .npz file of plain arrays: {error}") from error
    missing = [name for name in ("images", "filter", "mjd", "label") if name not in arrays]
    if missing:
        raise SettingsError(f"{path}: lacks {', '.join(missing)}")
    images = arrays["images"]
    if images.ndim != 3 or images.shape[1:] != (STAMP_SIZE, STAMP_SIZE):
        raise SettingsError(f"{path}: images are {images.shape}, expected [N, {STAMP_SIZE}, {STAMP_SIZE}]")
    for name in ("filter", "mjd"):
        if arrays[name].shape != images.shape[:1]:
            raise SettingsError(f"{path}: {name} is {arrays[name].shape} for {len(images)} images")
    return arrays


def _truth(path: Path, arrays: Mapping[str, NDArray[Any]], mapping: Mapping[str, str]) -> dict[str, Any] | None:
    name = str(arrays["label"].item()) if arrays["label"].size == 1 else ""
    if name not in mapping:
        raise SettingsError(f"{path}: label {name!r} is not in the class mapping")
    if mapping[name] == IGNORE:
        return None
    ra, dec = (float(arrays[key].item()) if key in arrays else float("nan") for key in ("ra", "dec"))
    known = np.isfinite(ra) and np.isfinite(dec)
    split = split_rows([path.stem], np.array([ra]), np.array([dec]))[0]
    return _NO_FIGURE | {
        "object_id": path.stem,
        "true_class": mapping[name],
        "label": mapping[name],
        "confirmed": bool(arrays["confirmed"].item()) if "confirmed" in arrays else False,
        "split": split,
        "kind": name,
        "ra": ra if known else float("nan"),
        "dec": dec if known else float("nan"),
    }


def _observations(
    path: Path, arrays: Mapping[str, NDArray[Any]], truth: Mapping[str, Any], decoder: PacketDecoder
) -> list[Observation]:
    """In time order. Positions that are not given are written as 0, 0 into the packet, and read by nobody."""
    is_tai = str(arrays.get("mjd_scale", np.array("utc")).item()).lower() == "tai"
    bands = [_band(path, value) for value in arrays["filter"].tolist()]
    place = {name: 0.0 if np.isnan(truth[name]) else truth[name] for name in ("ra", "dec")}
    found = []
    for number, (image, band, mjd) in enumerate(zip(arrays["images"], bands, arrays["mjd"].tolist(), strict=True)):
        fields = AlertFields(
            object_id=str(truth["object_id"]),
            source_id=f"{number:06d}",
            mjd=mjd if is_tai else utc_to_tai_mjd(mjd),
            band=band,
            flux_njy=float("nan"),
            flux_err_njy=float("nan"),
            ra=place["ra"],
            dec=place["dec"],
        )
        science = (np.asarray(image, np.float32) * np.float32(NANOMAGGY_NJY)).astype(np.float32)
        try:
            outcome = decoder.decode(ugriz_packet(fields, Stamps(science, None)))
        except PacketError as error:
            raise SettingsError(f"{path}: image {number}: {error}") from error
        assert isinstance(outcome, Stamped), outcome
        assert isinstance(outcome.fact, Observation)
        found.append(outcome.fact)
    return sorted(found, key=lambda observation: (observation.mjd, observation.source_id))


def _band(path: Path, value: object) -> str:
    if isinstance(value, str) and value in _BANDS:
        return value
    if isinstance(value, int) and 0 <= value < len(_BANDS):
        return _BANDS[value]
    raise SettingsError(f"{path}: filter {value!r}: expected one of {' '.join(_BANDS)} or 0..4")
