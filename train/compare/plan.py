"""A comparison's plan: what all rows share, and what each row is. ``train/plans/NAME.toml``, or any such file.

Every row's recipe is the base with the row's values laid over it. Each cell of a row is one member of one fold.
Training lasts as long for every row, in minutes or, for rows that are soon done, in epochs: steps follow from
``minutes``, the row's measured speed and ``epochs``, unless the row states them.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt, ValidationError, model_validator

from model.spec_faults import faults_of
from schemas.errors import SettingsError
from train.members import Place
from train.recipe import Recipe, Simulation, parse_recipe
from train.toml_files import read_toml, shipped_names

PLANS: Final = "plans"
TUNING_MEMBER: Final = 900  # seeds of tuning trials are no cell's


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Trial(_Part):
    """One setting of the tuning budget."""

    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)


class Row(_Part):
    """title: in the table; kind: a network, or features and gradient boosting; like: take the tuned rate and decay
    of that row; values: nested values of the recipe; folds, members: how many cells; steps: None to follow the
    budget."""

    title: str
    kind: Literal["network", "light_curve"] = "network"
    like: str | None = None
    values: dict[str, JsonValue] = {}
    folds: int = Field(default=3, ge=1, le=5)
    members: PositiveInt = 1
    steps: PositiveInt | None = None
    published: str | None = None

    @property
    def places(self) -> list[Place]:
        """Its cells, a member of every fold before the next of any."""
        return [Place(fold, member) for member in range(self.members) for fold in range(self.folds)]


class ComparisonPlan(_Part):
    """base: values of the recipe that all rows share, its simulation the training objects; test: the test objects,
    and the novel ones. lengths: numbers of frames at which every test object is scored, besides a random one and all.
    minutes: of training a cell; epochs: a cell ends after so many if that is sooner, None for no such limit; trials:
    tuning budget of a row, each of ``tuning_share`` of the steps. light_curve_triggers: samples that the light-curve
    control draws of a training object. against: the row that every other is set against. curves: rows
    drawn against the number of frames.
    """

    base: dict[str, JsonValue]
    test: Simulation
    rows: dict[str, Row]
    lengths: tuple[PositiveInt, ...] = (3, 6, 12, 24, 36)
    minutes: float = Field(default=40.0, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    trials: tuple[Trial, ...] = ()
    tuning_share: float = Field(default=0.25, gt=0, le=1)
    light_curve_triggers: PositiveInt = 8
    against: str = "convention"
    resamples: PositiveInt = 2000
    curves: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rows_exist(self) -> ComparisonPlan:
        for name, row in self.rows.items():
            if row.like is not None and row.like not in self.rows:
                raise ValueError(f"row {name} is like {row.like}, which is no row")
        unknown = {self.against, *self.curves} - set(self.rows)
        if unknown:
            raise ValueError(f"against or curves names {', '.join(sorted(unknown))}, which is no row")
        return self

    def recipe(self, name: str) -> Recipe:
        """The recipe of a row, before steps and tuning are filled in."""
        values: dict[str, Any] = json.loads(json.dumps(self.base))
        _lay_over(values, self.rows[name].values)
        return parse_recipe(values, where=f"row {name}")

    def tuner(self, name: str) -> str:
        """The row whose tuning a row uses."""
        like = self.rows[name].like
        return name if like is None else self.tuner(like)

    def digest(self, name: str) -> str:
        """Of all that decides a row's cells, so that a cell made otherwise is noticed."""
        parts: list[JsonValue] = [
            self.recipe(name).decisive,
            self.test.model_dump(mode="json"),
            list(self.lengths),
        ]
        parts += [self.minutes, self.epochs, self.rows[name].steps, self.rows[name].kind, self.light_curve_triggers]
        parts += [[trial.model_dump() for trial in self.trials], self.tuning_share]
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def plan_names() -> tuple[str, ...]:
    """The shipped plans."""
    return shipped_names(PLANS)


def load_plan(name: str) -> ComparisonPlan:
    """A shipped plan by name or a file by path; SettingsError names what is wrong."""
    values = read_toml(PLANS, "plan", name)
    try:
        plan = ComparisonPlan.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"plan {name}: {faults_of(ComparisonPlan, error)}") from error
    for row in plan.rows:
        plan.recipe(row)
    return plan


def _lay_over(values: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _lay_over(values[key], value)
        else:
            values[key] = value
