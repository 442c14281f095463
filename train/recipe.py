"""A recipe: everything that decides what a training run makes, in one file that anyone can run again.

Shipped recipes are ``train/recipes/NAME.toml``; a path to another TOML file serves as well. Values may be overridden
with ``section.key=value``. Unknown keys are errors. The resolved recipe is written into the run's folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt, ValidationError, model_validator

from model.bundle_spec import BandNames, PlainName
from model.spec_faults import faults_of
from schemas.bands import band_id
from schemas.errors import SettingsError
from schemas.view import ViewRule
from train.toml_files import read_toml, shipped_names

Share = Field(ge=0.0, le=1.0)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Simulation(_Part):
    """What is simulated where no set is given; see ``convention-broker simulate --help``."""

    survey: Literal["sdss", "ztf", "lsst"] = "sdss"
    num_objects: PositiveInt = 8000
    seed: int = Field(default=20230401, ge=0)
    form: Literal["matched", "natural"] = "matched"
    mix: Literal["published", "equal"] = "published"
    label_noise: float = Field(default=0.57, ge=0.0, le=1.0)
    num_novel: int = Field(default=0, ge=0)
    split: Literal["", "train", "calibration", "test"] = ""


class NetworkPart(_Part):
    """Registered name and config; ``bands`` are the bundle's too. input: what of a sequence the network is shown, see
    ``train.inputs``; anything but ``all`` is a control, which no bundle can carry."""

    name: str = "convention"
    input: Literal["all", "newest", "median", "shuffled"] = "all"
    bands: BandNames = ("u", "g", "r", "i", "z")
    config: dict[str, JsonValue] = {}

    @property
    def full_config(self) -> dict[str, Any]:
        """The config with the bands in it."""
        return {**self.config, "bands": list(self.bands)}

    @property
    def trees(self) -> int:
        """Rounds of boosted trees that the members get, 0 for none."""
        rounds = self.config.get("trees", 0)
        return rounds if isinstance(rounds, int) else 0  # anything else the network refuses by name


class View(_Part):
    """What a trigger sees, and from how many frames on it is classified."""

    max_frames: PositiveInt = 99
    max_days: float = Field(default=1100.0, gt=0)
    min_frames: PositiveInt = 3

    @model_validator(mode="after")
    def _can_be_met(self) -> View:
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames {self.min_frames} is more than max_frames {self.max_frames}")
        return self


class Augmentation(_Part):
    """Of training samples only. turns: rotations by 90 degrees and mirror images; angle_deg: further rotation,
    uniform up to this, in half of the samples (pixels move, none is averaged, so the noise stays what it is);
    frame_drop: largest share of frames left out, uniform from 0; band_drop: chance to lose all frames of one band."""

    turns: bool = True
    angle_deg: float = Field(default=15.0, ge=0.0, le=45.0)
    frame_drop: float = Field(default=0.3, ge=0.0, lt=1.0)
    band_drop: float = Field(default=0.1, ge=0.0, le=1.0)


class Optimiser(_Part):
    """AdamW (amsgrad) with warm-up and cosine. validate_every, patience: steps, and validations without an
    improvement after which a member stops (the best is kept).
    precision: of steps and of the validations that stop them; bfloat16 is autocast: weights, loss and optimiser stay
    float32, calibration and scores too. On the CPU it pays for ``convention_2023`` where the processor multiplies
    bfloat16 matrices (AMX); ``convention`` is no faster by it."""

    steps: PositiveInt = 4000
    batch: PositiveInt = 16
    learning_rate: float = Field(default=1.2e-3, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    warm_up_steps: int = Field(default=50, ge=0)
    clip: float = Field(default=5.0, gt=0)
    focal_gamma: float = Field(default=2.0, ge=0)
    balance: bool = True
    validate_every: PositiveInt = 250
    patience: PositiveInt = 8
    precision: Literal["float32", "bfloat16"] = "float32"


class Transfer(_Part):
    """The second stage, on confirmed objects. steps 0: none. Its rate is ``rate`` times the first's; normalisation
    statistics stay as they are; ``old_share`` of every epoch are objects of the first stage; frozen: only the head
    learns.
    """

    steps: int = Field(default=0, ge=0)
    rate: float = Field(default=0.1, gt=0)
    old_share: float = Field(default=0.5, ge=0.0, lt=1.0)
    frozen_backbone: bool = False


class Trees(_Part):
    """The boosted trees of a network whose config says ``trees`` (rounds); see ``train.trees``. triggers: random
    prefixes of each object, in training and validation; samples: share of them that each tree sees; features: that
    each split may choose from; min_samples: of a leaf."""

    triggers: PositiveInt = 8
    learning_rate: float = Field(default=0.08, gt=0)
    samples: float = Field(default=0.5, gt=0.0, le=1.0)
    features: PositiveInt = 24
    min_samples: PositiveInt = 20


class EnsemblePart(_Part):
    """folds: how many of the five hold members; members: of each fold."""

    folds: int = Field(default=5, ge=1, le=5)
    members: PositiveInt = 3


class Calibration(_Part):
    """triggers: random prefixes of each calibration object; accuracy: what the answers given must reach;
    novelty_quantile: share of calibration sequences that are not novel; temperature_degree: of log T in ln(1 + n).
    prior: ``natural``, the class shares of the training objects, or ``balanced``: what the probabilities assume."""

    triggers: PositiveInt = 4
    accuracy: float = Field(default=0.9, ge=0.0, le=1.0)
    novelty_quantile: float = Field(default=0.99, gt=0.0, lt=1.0)
    temperature_degree: int = Field(default=1, ge=0, le=3)
    prior: Literal["natural", "balanced"] = "natural"


class BundlePart(_Part):
    """Name, version and notes of the bundle."""

    name: PlainName = "convention"
    version: PlainName = "1.0"
    notes: tuple[str, ...] = ()


class Recipe(_Part):
    """All of a recipe. seed: of networks, order and augmentation; members add their place."""

    seed: int = Field(default=20230401, ge=0)
    simulation: Simulation = Simulation()
    network: NetworkPart = NetworkPart()
    view: View = View()
    augmentation: Augmentation = Augmentation()
    optimiser: Optimiser = Optimiser()
    transfer: Transfer = Transfer()
    trees: Trees = Trees()
    ensemble: EnsemblePart = EnsemblePart()
    calibration: Calibration = Calibration()
    bundle: BundlePart = BundlePart()

    @property
    def decisive(self) -> dict[str, Any]:
        """All that a training follows from: without the trees' settings where there are no trees."""
        return self.model_dump(mode="json", exclude=set() if self.network.trees else {"trees"})

    def rule(self, grid_id: str) -> ViewRule:
        """The view of the bundle to be."""
        band_ids = frozenset(band_id(band) for band in self.network.bands)
        return ViewRule(self.view.max_frames, self.view.max_days, band_ids, grid_id)


RECIPES: Final = "recipes"


def recipe_names() -> tuple[str, ...]:
    """The shipped recipes."""
    return shipped_names(RECIPES)


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or a TOML file by path; SettingsError names the key or the file at fault."""
    values = read_toml(RECIPES, "recipe", name)
    for override in overrides:
        _set(values, override)
    return parse_recipe(values, where=f"recipe {name}")


def parse_recipe(values: dict[str, Any], *, where: str) -> Recipe:
    """The recipe of nested values; SettingsError names every key at fault."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"{where}: {faults_of(Recipe, error)}") from error


def _set(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise SettingsError(f"--with {override}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise SettingsError(f"--with {override}: {section} is no section")
    values[last] = value
