"""What ``bundle.json`` says: the parts of a bundle that are not tensors. No torch here.

Unknown keys, a class order other than ``model.scores.CLASSES``, probabilities that do not sum to 1 and the like are
refused when the text is read, so that what follows can rely on it.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from model.scores import CLASSES, Eligibility
from model.spec_faults import faults_of
from schemas.bands import BANDS, band_id
from schemas.errors import BundleError
from schemas.sequence import PLANES
from schemas.view import ViewRule

FORMAT: Final = 1
MAX_MEMBERS: Final = 100
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _plain(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise ValueError(f"{value!r} is not made of a-z, 0-9, '_', '.', '-' (at most 63)")
    return value


def _in_order(value: tuple[str, ...]) -> tuple[str, ...]:
    ids = [band_id(band) for band in value]
    if ids != sorted(set(ids)):
        raise ValueError(f"bands {', '.join(value)} are not distinct and in the order {', '.join(BANDS)}")
    return value


PlainName = Annotated[str, AfterValidator(_plain)]
"""Of a bundle and its version: a folder and a topic's key may be called so."""
BandNames = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_in_order)]
"""Distinct bands, in the order of ``schemas.bands``."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkSpec(_Part):
    """Registered name and settings of the network: ``model.create(name, **config)``."""

    name: str
    config: dict[str, JsonValue] = {}


class ViewSpec(_Part):
    """Bounds of the view, see ``schemas.view.ViewRule``."""

    max_frames: int = Field(default=99, ge=1, le=10_000)
    max_days: float = Field(default=1100.0, gt=0)


class EligibilitySpec(_Part):
    """When a sequence is long enough, see ``model.scores.Eligibility``."""

    min_frames: int = Field(default=1, ge=1)
    min_nights: int = Field(default=1, ge=1)
    min_bands: int = Field(default=1, ge=1, le=len(BANDS))


class CalibrationSpec(_Part):
    """log T(n) = sum_i coefficients[i] * ln(1 + n)^i for n frames; see ``model.calibration``."""

    log_temperature: tuple[float, ...] = Field(default=(0.0,), min_length=1, max_length=4)


class ThresholdSpec(_Part):
    """When the ensemble abstains.

    min_probability: below it the largest probability is ``low_confidence``. max_novelty: above it the sequence is
    ``novel``; None to give no such answer.
    """

    min_probability: Fraction = 0.0
    max_novelty: float | None = None


class BundleSpec(_Part):
    """All of ``bundle.json``.

    planes: the planes the network reads. class_prior: the class shares that the probabilities assume.
    preprocessing: statistics that the network's input needs beyond its config. training: where the weights come
    from. metrics: figures on data that no choice has seen. distributions: counts of held-out
    data to tell drift by, see ``model.distributions``; empty where there are none. notes: sentences for the card,
    limits above all.
    """

    format: Literal[1] = FORMAT
    name: PlainName
    version: PlainName
    network: NetworkSpec
    num_members: int = Field(ge=1, le=MAX_MEMBERS)
    bands: BandNames
    grid_id: str = Field(min_length=1)
    planes: tuple[str, ...] = PLANES
    classes: tuple[str, ...] = CLASSES
    class_prior: tuple[Fraction, ...]
    view: ViewSpec = ViewSpec()
    eligibility: EligibilitySpec = EligibilitySpec()
    calibration: CalibrationSpec = CalibrationSpec()
    thresholds: ThresholdSpec = ThresholdSpec()
    preprocessing: dict[str, JsonValue] = {}
    training: dict[str, JsonValue] = {}
    metrics: dict[str, JsonValue] = {}
    distributions: dict[str, list[int]] = {}
    notes: tuple[str, ...] = ()

    @field_validator("classes")
    @classmethod
    def _class_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value != CLASSES:
            raise ValueError(f"class order is {', '.join(value)}, expected {', '.join(CLASSES)}")
        return value

    @field_validator("planes")
    @classmethod
    def _known_planes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any(plane not in PLANES for plane in value):
            raise ValueError(f"planes are {value}, expected some of {', '.join(PLANES)}")
        return value

    @model_validator(mode="after")
    def _prior(self) -> BundleSpec:
        if len(self.class_prior) != len(CLASSES) or min(self.class_prior) <= 0:
            raise ValueError("class_prior needs one positive share a class")
        if abs(sum(self.class_prior) - 1.0) > 1e-6:
            raise ValueError(f"class_prior sums to {sum(self.class_prior)}, not 1")
        return self

    @property
    def view_rule(self) -> ViewRule:
        """Which facts the bundle wants to see."""
        return ViewRule(
            max_frames=self.view.max_frames,
            max_days=self.view.max_days,
            band_ids=frozenset(band_id(band) for band in self.bands),
            grid_id=self.grid_id,
        )

    @property
    def eligibility_rule(self) -> Eligibility:
        """When a sequence is long enough."""
        return Eligibility(**self.eligibility.model_dump())

    def to_json(self) -> bytes:
        """The file's bytes: sorted keys, so that equal specs are equal files."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, *, where: str) -> BundleSpec:
        """The spec in ``content``; BundleError, naming ``where`` and every fault, when it is not one."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise BundleError(f"{where}: spec check: {faults_of(cls, error)}") from error
