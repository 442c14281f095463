"""Faults that a stream of alerts suffers, put into a replay on purpose: shuffled, repeated and late packets.

The same stream, faults and seed always give the same result. At most ``window`` packets and the repeated or late ones
among the next ``reach`` are held in memory.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Faults:
    """window: packets among which the order is random, 0 or 1 for none; duplicate, delay: the chance that a packet
    comes a second time, or late; reach: at most so many packets after its own place. ValueError when out of range."""

    window: int = 0
    duplicate: float = 0.0
    delay: float = 0.0
    reach: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.window < 0 or self.reach < 1 or not (0 <= self.duplicate <= 1 and 0 <= self.delay <= 1):
            raise ValueError("faults: window from 0, reach from 1, duplicate and delay from 0 to 1")

    @property
    def none(self) -> bool:
        """Whether the stream stays as it is."""
        return self.window < 2 and not self.duplicate and not self.delay


def disturb(stream: Iterable[Item], faults: Faults) -> Iterator[Item]:
    """The stream with its faults; every packet comes at least once."""
    if faults.none:
        yield from stream
        return
    chance = random.Random(faults.seed)
    yield from _shuffled(_late(stream, faults, chance), faults.window, chance)


def _late(stream: Iterable[Item], faults: Faults, chance: random.Random) -> Iterator[Item]:
    """Repeats and delays. An item that waits is due once so many others of the stream went by."""
    waiting: list[tuple[int, int, Item]] = []  # (due place, order of arrival, item): items are never compared
    num_waited = 0
    for place, item in enumerate(stream):
        while waiting and waiting[0][0] <= place:
            yield heapq.heappop(waiting)[2]
        late = chance.random() < faults.delay
        again = chance.random() < faults.duplicate
        if not late:
            yield item
        for _ in range(late + again):
            heapq.heappush(waiting, (place + chance.randint(1, faults.reach), num_waited, item))
            num_waited += 1
    while waiting:
        yield heapq.heappop(waiting)[2]


def _shuffled(stream: Iterable[Item], window: int, chance: random.Random) -> Iterator[Item]:
    held: list[Item] = []
    for item in stream:
        if window < 2:
            yield item
            continue
        held.append(item)
        if len(held) >= window:
            place = chance.randrange(len(held))
            held[place], held[-1] = held[-1], held[place]
            yield held.pop()
    chance.shuffle(held)
    yield from held
