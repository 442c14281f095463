"""RecordTable: delivered records as columns, objects numbered, with what curves need worked out once.

Dimension letters: R records in delivery order, O objects in order of first appearance, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker_plugin.evaluation.records import DeliveredRecord
from broker_plugin.evaluation.truth import TruthTable
from schemas.bands import BANDS
from schemas.classification import CLASS_NAMES, Status
from schemas.errors import EvaluationError

STATUSES: Final = tuple(Status)
NUM_CLASSES: Final = len(CLASS_NAMES)
NO_TRUTH: Final = -1
OUTSIDE: Final = NUM_CLASSES
# AB magnitude of 1 nJy (Oke & Gunn 1983: 0 mag is 3631 Jy).
ZERO_POINT_NJY: Final = 31.4

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RecordTable:
    """R records of O objects.

    truth_O: 0..K-1, OUTSIDE (a label outside the taxonomy) or NO_TRUTH; status_R: place in STATUSES;
    probabilities_RK: sums to 1, NaN where not scored; mutual_information_R, novelty_R: NaN where not known;
    bands_R: bit b set when band b of ugrizy has a frame; days_R: newest frame minus the object's first detection;
    magnitude_R: AB, of the brightest |difference flux| that triggered the object so far, NaN before any is known;
    log_offset_R: -1 unknown; ingest_R, publish_R: Unix s, NaN unknown.
    """

    objects: tuple[tuple[str, str], ...]
    truth_O: Integers
    object_R: Integers
    status_R: Integers
    probabilities_RK: Floats
    mutual_information_R: Floats
    novelty_R: Floats
    num_frames_R: Integers
    bands_R: Integers
    mjd_R: Floats
    days_R: Floats
    magnitude_R: Floats
    ingest_R: Floats
    publish_R: Floats
    newest_source_R: tuple[str | None, ...]
    reason_R: tuple[str | None, ...]
    bundle_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.object_R)

    @property
    def scored_R(self) -> NDArray[np.bool_]:
        """Whether a record has probabilities (classified or abstained)."""
        return np.isfinite(self.probabilities_RK[:, 0])

    @property
    def answered_R(self) -> NDArray[np.bool_]:
        """Whether a record gives a class."""
        return np.asarray(self.status_R == STATUSES.index(Status.CLASSIFIED))

    @property
    def known_R(self) -> NDArray[np.bool_]:
        """Whether a record's object is truly of a class of the taxonomy."""
        truth = self.truth_O[self.object_R]
        return (truth >= 0) & (truth < NUM_CLASSES)

    def last_of_each(self, mask_R: NDArray[np.bool_]) -> Integers:
        """Places of the last record, in delivery order, of each object that has one in the mask; ascending."""
        places = np.flatnonzero(mask_R)
        _, backwards = np.unique(self.object_R[places][::-1], return_index=True)
        return np.sort(places[::-1][backwards])


def build_table(records: Iterable[DeliveredRecord], truth: TruthTable | None) -> RecordTable:
    """Columns of the records, joined with the truth by object id.

    EvaluationError when there is no record, or when one object id is of two surveys (the truth could not tell which).
    """
    numbers: dict[tuple[str, str], int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for record in records:
        said, delivery = record.classification, record.delivery
        key = (said.survey, said.object_id)
        unknown = np.nan
        columns["object"].append(numbers.setdefault(key, len(numbers)))
        columns["status"].append(STATUSES.index(said.status))
        columns["probabilities"].append(said.probabilities or (unknown,) * NUM_CLASSES)
        columns["mutual_information"].append(unknown if said.mutual_information is None else said.mutual_information)
        columns["novelty"].append(unknown if said.novelty is None else said.novelty)
        columns["num_frames"].append(said.num_frames)
        columns["bands"].append(sum(1 << i for i, band in enumerate(BANDS) if said.frames_per_band.get(band, 0)))
        columns["first"].append(unknown if said.first_mjd is None else said.first_mjd)
        columns["mjd"].append(delivery.trigger_mjd if said.last_mjd is None else said.last_mjd)
        columns["flux"].append(unknown if delivery.trigger_flux_njy is None else abs(delivery.trigger_flux_njy))
        columns["ingest"].append(unknown if delivery.ingest_time is None else delivery.ingest_time)
        columns["publish"].append(unknown if delivery.publish_time is None else delivery.publish_time)
        columns["newest_source"].append(said.newest_source_id)
        columns["reason"].append(said.reason)
        columns["bundle"].append(said.bundle_id)
    if not numbers:
        raise EvaluationError("no record: the file or folder holds none")
    return _assemble(tuple(numbers), columns, truth)


_COLUMNS: Final = (
    *("object", "status", "probabilities", "mutual_information", "novelty", "num_frames", "bands"),
    *("first", "mjd", "flux", "ingest", "publish", "newest_source", "reason", "bundle"),
)


def _assemble(
    objects: tuple[tuple[str, str], ...], columns: dict[str, list[Any]], truth: TruthTable | None
) -> RecordTable:
    def numbers(name: str) -> Integers:
        return np.array(columns[name], np.int64)

    def values(name: str) -> Floats:
        return np.array(columns[name], np.float64)

    probabilities = values("probabilities").reshape(-1, NUM_CLASSES)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 rounding away
    place = numbers("object")
    first = np.full(len(objects), np.inf)
    mjd = values("mjd")
    np.fmin.at(first, place, values("first"))
    np.fmin.at(first, place, mjd)
    return RecordTable(
        objects=objects,
        truth_O=_truth_codes(objects, truth),
        object_R=place,
        status_R=numbers("status"),
        probabilities_RK=probabilities,
        mutual_information_R=values("mutual_information"),
        novelty_R=values("novelty"),
        num_frames_R=numbers("num_frames"),
        bands_R=numbers("bands"),
        mjd_R=mjd,
        days_R=mjd - first[place],
        magnitude_R=_brightest_so_far(place, values("flux"), len(objects)),
        ingest_R=values("ingest"),
        publish_R=values("publish"),
        newest_source_R=tuple(columns["newest_source"]),
        reason_R=tuple(columns["reason"]),
        bundle_ids=tuple(dict.fromkeys(columns["bundle"])),
    )


def _truth_codes(objects: tuple[tuple[str, str], ...], truth: TruthTable | None) -> Integers:
    if truth is None:
        return np.full(len(objects), NO_TRUTH, np.int64)
    surveys: dict[str, str] = {}
    codes = np.full(len(objects), NO_TRUTH, np.int64)
    for number, (survey, object_id) in enumerate(objects):
        label = truth.labels.get(object_id)
        if label is None:
            continue
        if surveys.setdefault(object_id, survey) != survey:
            raise EvaluationError(
                f"{truth.path}: object {object_id} is in the records of {surveys[object_id]} and of {survey}; "
                "evaluate the surveys apart"
            )
        codes[number] = CLASS_NAMES.index(label) if label in CLASS_NAMES else OUTSIDE
    return codes


def _brightest_so_far(object_R: Integers, flux_R: Floats, num_objects: int) -> Floats:
    """Running AB magnitude of each object's largest flux (nJy); NaN before one is known or while it is 0."""
    largest = np.zeros(num_objects)
    running = np.empty(len(object_R))
    for place, (number, flux) in enumerate(zip(object_R, flux_R, strict=True)):
        largest[number] = np.fmax(largest[number], flux)
        running[place] = largest[number]
    with np.errstate(divide="ignore"):
        magnitude = ZERO_POINT_NJY - 2.5 * np.log10(running)
    return np.where(running > 0.0, magnitude, np.nan)
