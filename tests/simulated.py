"""Simulated alerts of objects that no bundle was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from model.scores import CLASSES
from schemas.decode import PacketDecoder
from schemas.observation import Observation
from schemas.outcome import Stamped
from train.simulator.objects import unseen
from train.simulator.production import observe
from train.simulator.survey_description import SURVEYS

SEED = 8181


@dataclass(frozen=True)
class Simulated:
    """label: index into CLASSES; packets in time order."""

    label: int
    packets: list[bytes]

    def observations(self) -> list[Observation]:
        """As decoded, in float32."""
        decoder = PacketDecoder()
        outcomes = [decoder.decode(packet) for packet in self.packets]
        facts = [outcome.fact for outcome in outcomes if isinstance(outcome, Stamped)]
        return [fact for fact in facts if isinstance(fact, Observation)]


def simulated_objects(survey: str, count: int, *, max_frames: int = 24) -> list[Simulated]:
    """Objects in equal mix, of templates of the test split, each cut at ``max_frames``."""
    settings = unseen(SURVEYS[survey], count, seed=SEED)
    drawn = []
    for index in range(count):
        item, alerts = observe(settings, index)
        packets = [payload for _, payload in alerts[:max_frames]]
        drawn.append(Simulated(CLASSES.index(item.source.true_class), packets))
    return drawn
