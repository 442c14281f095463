"""Which observed objects a bundle has been trained, stopped or calibrated on, as its ``bundle.json`` keeps it.

Names are kept as hashes of 48 bits, one after the other in hexadecimal: enough to refuse a comparison on an object
that a bundle knows, in 12 bytes an object. Simulated objects are left out: no survey has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from schemas.errors import SettingsError
from train.dataset import OUTSIDE, DataSet
from train.splits import CALIBRATION, FOLDS

KEY: Final = "known_objects"
DIGITS: Final = 12
SPLIT_RULE: Final = "sky-1"


def object_hash(survey: str, object_id: str) -> str:
    """12 hexadecimal digits."""
    return blake2b(f"{survey}:{object_id}".encode(), digest_size=DIGITS // 2).hexdigest()


def known_objects(data: DataSet, *, earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The record for ``training``: of this data set, and of a bundle that it was fine-tuned from.

    label_cutoff_mjd: date of the newest label, None where none is dated.
    """
    rows = data.rows
    used = np.isin(rows["split"], (*FOLDS, CALIBRATION)) & (rows["label"] != OUTSIDE) & data.observed
    hashes = {object_hash(data.survey_of(row), data.object_id(row)) for row in np.flatnonzero(used).tolist()}
    dates = rows["label_mjd"][used]
    cutoffs = [float(dates[np.isfinite(dates)].max())] if np.isfinite(dates).any() else []
    if earlier is not None:
        hashes |= _split(earlier["hashes"])
        cutoffs += [] if earlier["label_cutoff_mjd"] is None else [float(earlier["label_cutoff_mjd"])]
    return {
        "split_rule": SPLIT_RULE,
        "number": len(hashes),
        "label_cutoff_mjd": max(cutoffs) if cutoffs else None,
        "hashes": "".join(sorted(hashes)),
    }


def record_of(bundle_id: str, training: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle's record; SettingsError when it has none, for then nothing can be said of what it has seen."""
    record = training.get(KEY)
    if not isinstance(record, dict) or record.get("split_rule") != SPLIT_RULE:
        raise SettingsError(
            f"{bundle_id} does not say which objects it was trained on (training.{KEY} of split rule {SPLIT_RULE}): "
            "it cannot be compared fairly; take a bundle made by train as champion"
        )
    return record


def hashes_of(record: Mapping[str, Any]) -> set[str]:
    """The hashes of a record."""
    return _split(record["hashes"])


def _split(text: str) -> set[str]:
    return {text[start : start + DIGITS] for start in range(0, len(text), DIGITS)}
