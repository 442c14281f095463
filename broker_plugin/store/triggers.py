"""Which bundle a new fact triggers, if any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from broker_plugin.messages import LogMessage
from broker_plugin.settings.sections import ClassifySettings
from broker_plugin.store.facts import StoredFact
from model.scores import Eligibility, Scorer
from schemas.view import FactKey, ViewRule

NO_BUNDLE: Final = "grid"
OTHER_BAND: Final = "band"
NO_PIXELS: Final = "no_pixels"  # a packet without cutouts, or with none of their pixels valid
NO_FRAMES: Final = "no_frames"
BACKFILL: Final = "backfill"


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A scorer with the operator's overrides applied."""

    scorer: Scorer
    rule: ViewRule
    eligibility: Eligibility

    @classmethod
    def of(cls, scorer: Scorer, settings: ClassifySettings) -> LoadedBundle:
        """The scorer's own view rule and eligibility, each bound replaced where a setting states one."""
        bounds = {
            name: value for name in ("max_frames", "max_days") if (value := getattr(settings, name)) is not None
        }
        needs = {
            name: value
            for name in ("min_frames", "min_nights", "min_bands")
            if (value := getattr(settings, name)) is not None
        }
        return cls(scorer, replace(scorer.view_rule, **bounds), replace(scorer.eligibility, **needs))


@dataclass(frozen=True, slots=True)
class Trigger:
    """A new fact that a bundle is asked about; ``place`` is its index in its partition's outcomes."""

    message: LogMessage
    fact: StoredFact
    bundle: LoadedBundle
    place: int


def bundle_for(
    fact: StoredFact, held: Iterable[FactKey], bundles: Mapping[str, LoadedBundle]
) -> tuple[LoadedBundle | None, str | None]:
    """The bundle that a new fact triggers, or None and why it triggers none. ``held``: the object's facts."""
    key = fact.key
    grid_id: str | None = key.grid_id
    if key.is_withdrawal:
        grid_id = _grid_of_withdrawal(key, held, bundles)
    if grid_id is None:
        return None, NO_FRAMES
    bundle = bundles.get(grid_id)
    if bundle is None:
        return None, NO_BUNDLE
    if key.band_id not in bundle.rule.band_ids:
        return None, OTHER_BAND
    if not key.is_withdrawal and key.num_valid == 0:
        return None, NO_PIXELS
    return bundle, None


def newest_only(triggers: Sequence[Trigger]) -> list[Trigger]:
    """Each object's trigger with the largest offset."""
    newest = {(trigger.message.partition, trigger.fact.object_key): trigger for trigger in triggers}
    return [t for t in triggers if newest[t.message.partition, t.fact.object_key] is t]


def _grid_of_withdrawal(
    withdrawal: FactKey, held: Iterable[FactKey], bundles: Mapping[str, LoadedBundle]
) -> str | None:
    """The grid of the frame taken back, else of the object's newest frame up to here, None without frames.

    Only frames that a bundle wants count: they are what triggers by itself, so that whether an object has a record
    at all does not depend on the order in which its facts came.
    """
    frames = [
        key
        for key in held
        if not key.is_withdrawal
        and key.first_offset <= withdrawal.first_offset
        and key.grid_id in bundles
        and bundles[key.grid_id].rule.admits(key)
    ]
    if not frames:
        return None
    return max(frames, key=lambda key: (key.source_id == withdrawal.source_id, *key.time_order, key.digest)).grid_id
