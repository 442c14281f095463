"""Classification: what the ensemble says of one object's sequence, and its bytes.

The value is a pure function of (view, bundle, plugin version). What belongs to the delivery (the trigger's source id,
offsets, times) travels in Kafka headers, so that a redelivered trigger gives the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike

from schemas.bands import BANDS
from schemas.records import HEADER_SIZE, codec
from schemas.sequence import StampSequence

CLASS_NAMES: Final[tuple[str, ...]] = ("AGN", "SNIa", "SNOther", "Variable")


class Status(StrEnum):
    """How a trigger ended. Not classified, abstained and probability 0 are three different things."""

    CLASSIFIED = "classified"
    ABSTAINED = "abstained"
    TOO_SHORT = "too_short"


class ScoreArrays(Protocol):
    """The ensemble's result for one sequence, as ``build`` needs it; arrays in the order of CLASS_NAMES."""

    @property
    def probabilities_K(self) -> ArrayLike:
        """Sums to 1."""

    @property
    def spread_K(self) -> ArrayLike:
        """Standard deviation over the members."""

    @property
    def mutual_information(self) -> float:
        """nat; NaN when there is none."""

    @property
    def novelty(self) -> float:
        """Larger is stranger; NaN when the bundle has no novelty score."""


@dataclass(frozen=True, slots=True)
class Classification:
    """Fields as documented in ``avsc/classification.avsc``; probabilities and spread in the order of CLASS_NAMES,
    rounded to float32; None means not scored, which is not the same as 0."""

    survey: str
    object_id: str
    ra: float | None
    dec: float | None
    newest_source_id: str | None
    status: Status
    reason: str | None
    predicted_class: str | None
    probabilities: tuple[float, ...] | None
    spread: tuple[float, ...] | None
    mutual_information: float | None
    novelty: float | None
    num_frames: int
    frames_per_band: dict[str, int]
    first_mjd: float | None
    last_mjd: float | None
    view_digest: str
    bundle_id: str
    plugin_version: str

    def to_bytes(self) -> bytes:
        """Avro single-object encoding (plain Avro output); the same classification always gives the same bytes."""
        return codec("classification").encode(self._to_record())

    def to_body(self) -> bytes:
        """The bare Avro body, for framings that carry their own schema id (Confluent wire format)."""
        return self.to_bytes()[HEADER_SIZE:]

    @classmethod
    def from_bytes(cls, payload: bytes) -> Classification:
        """Inverse of ``to_bytes``; RecordError when it is not one."""
        record = codec("classification").decode(payload)
        record["status"] = Status(record["status"])
        for field in ("probabilities", "spread"):
            if record[field] is not None:
                record[field] = tuple(record[field][name] for name in CLASS_NAMES)
        return cls(**record)

    @classmethod
    def from_body(cls, body: bytes) -> Classification:
        """Inverse of ``to_body``; RecordError when it is not one."""
        return cls.from_bytes(codec("classification").header + body)

    def _to_record(self) -> dict[str, Any]:
        def per_class(values: tuple[float, ...] | None) -> dict[str, float] | None:
            return None if values is None else dict(zip(CLASS_NAMES, values, strict=True))

        record: dict[str, Any] = {field: getattr(self, field) for field in self.__slots__}
        record["status"] = self.status.value
        record["probabilities"] = per_class(self.probabilities)
        record["spread"] = per_class(self.spread)
        return record


def build(
    sequence: StampSequence,
    *,
    status: Status,
    reason: str | None,
    scores: ScoreArrays | None,
    bundle_id: str,
    plugin_version: str,
) -> Classification:
    """The record of one trigger: a pure function of its arguments.

    ``sequence`` may be empty (a view whose every frame was withdrawn), never None: it names the object.

    ValueError when the scores do not fit the status: ``classified`` needs scores and no reason, ``abstained`` needs
    scores and a reason, ``too_short`` a reason and no scores.
    """
    if (scores is None) != (status is Status.TOO_SHORT) or (reason is None) != (status is Status.CLASSIFIED):
        raise ValueError(f"status {status} with reason {reason!r} and {'no ' if scores is None else ''}scores")
    probabilities = None if scores is None else _per_class(scores.probabilities_K)
    num_frames = len(sequence)
    return Classification(
        survey=sequence.survey,
        object_id=sequence.object_id,
        ra=_known(sequence.ra),
        dec=_known(sequence.dec),
        newest_source_id=sequence.source_ids[-1] if num_frames else None,
        status=status,
        reason=reason,
        predicted_class=CLASS_NAMES[int(np.argmax(probabilities))]
        if probabilities is not None and status is Status.CLASSIFIED
        else None,
        probabilities=probabilities,
        spread=None if scores is None else _per_class(scores.spread_K),
        mutual_information=None if scores is None else _single(scores.mutual_information),
        novelty=None if scores is None else _single(scores.novelty),
        num_frames=num_frames,
        frames_per_band={band: sequence.frames_per_band[band] for band in BANDS},
        first_mjd=float(sequence.mjd_L[0]) if num_frames else None,
        last_mjd=float(sequence.mjd_L[-1]) if num_frames else None,
        view_digest=sequence.view_digest,
        bundle_id=bundle_id,
        plugin_version=plugin_version,
    )


def _per_class(values: ArrayLike) -> tuple[float, ...]:
    array = np.asarray(values, np.float32)
    if array.shape != (len(CLASS_NAMES),) or not np.isfinite(array).all():
        raise ValueError(f"expected {len(CLASS_NAMES)} finite values, got {array!r}")
    return tuple(float(value) for value in array)


def _single(value: float) -> float | None:
    """Rounded as the record carries it; None for NaN, which compares unequal to itself and so never round-trips."""
    return None if math.isnan(value) else float(np.float32(value))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
