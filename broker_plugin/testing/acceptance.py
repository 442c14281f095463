"""The acceptance stream: simulated packets with every disorder that surveys have, and what must come of them.

``build_stream`` draws it from a seed. ``expected_views`` and ``expected_values`` say what it must lead to, computed
in memory from the packets alone (decode, facts, view, ensemble): no Kafka, no store, no order of arrival.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker_plugin.messages import LogMessage
from broker_plugin.store.facts import StoredFact, read_stored_fact
from broker_plugin.store.triggers import LoadedBundle
from schemas.classification import Status, build
from schemas.decode import PacketDecoder
from schemas.errors import RecordError
from schemas.observation import Observation, log_key, read_fact
from schemas.outcome import Stamped
from schemas.sequence import StampSequence, build_sequence
from schemas.synthetic import SMALL, SimulatedObject, draw_object
from schemas.view import FactKey, select_view, view_digest

NUM_PARTITIONS: Final = 8
# of all that is drawn, so that every night a site can have is covered: five bands a night for ugriz, one for others
NUM_NIGHTS: Final = {"ugriz": (5, 26), "lsst": (20, 140), "ztf": (20, 140)}
WITHDRAWS: Final = frozenset({"ugriz", "lsst"})
WITHDRAWN_AFTER_DAYS: Final = 30.0
SCORE_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What is drawn. num_objects: by survey; frames: an object's fewest and most; shares are of all frames.

    poison: so many copies of packets come damaged, besides the sound ones.
    """

    num_objects: Mapping[str, int]
    seed: int = 20230401
    frames: tuple[int, int] = (20, 120)
    duplicated: float = 0.05
    late: float = 0.05
    withdrawn: float = 0.01
    poison: float = 0.01


@dataclass(frozen=True, slots=True)
class StreamPacket:
    """One message of the stream: its input partition, its bytes, whose it is."""

    partition: int
    payload: bytes
    key: bytes
    is_duplicate: bool
    is_poison: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """The messages in the order they are sent; frames and withdrawn source ids by object key.

    payloads: the bytes of those that can be read; poison: of the others.
    """

    packets: tuple[StreamPacket, ...]
    num_frames: dict[bytes, int]
    withdrawn: dict[bytes, frozenset[str]]

    @property
    def payloads(self) -> Iterator[bytes]:
        return (packet.payload for packet in self.packets if not packet.is_poison)

    @property
    def poison(self) -> Iterator[bytes]:
        return (packet.payload for packet in self.packets if packet.is_poison)


def build_stream(plan: StreamPlan) -> Stream:
    """Shuffled as a whole; the late frames come after all others, duplicates anywhere, a withdrawal even before its
    frame. No survey keys its packets by object: partitions are drawn for each packet."""
    order = random.Random(plan.seed)
    objects = [_draw(plan, survey, index) for survey, count in plan.num_objects.items() for index in range(count)]
    frames = [(target, frame) for target in objects for frame in range(len(target.exposures))]
    order.shuffle(frames)
    num_late = round(plan.late * len(frames))
    late, on_time = frames[:num_late], frames[num_late:]
    able = [pair for pair in frames if pair[0].survey in WITHDRAWS]
    taken_back = order.sample(able, round(plan.withdrawn * len(frames)))
    twice = order.sample(frames, round(plan.duplicated * len(frames)))
    first = [(*pair, False, False) for pair in on_time]
    first += [(*pair, True, False) for pair in twice] + [(*pair, False, True) for pair in taken_back]
    order.shuffle(first)
    messages = first + [(*pair, False, False) for pair in late]
    sound = [
        StreamPacket(order.randrange(NUM_PARTITIONS), _payload(target, frame, withdrawn), key_of(target), again)
        for target, frame, again, withdrawn in messages
    ]
    packets = _with_poison(sound, round(plan.poison * len(frames)), order)
    withdrawn_of: dict[bytes, set[str]] = {}
    for target, frame in taken_back:
        withdrawn_of.setdefault(key_of(target), set()).add(target.fields(frame).source_id)
    return Stream(
        tuple(packets),
        {key_of(target): len(target.exposures) for target in objects},
        {key: frozenset(sources) for key, sources in withdrawn_of.items()},
    )


def _with_poison(sound: Sequence[StreamPacket], count: int, order: random.Random) -> list[StreamPacket]:
    """Damaged copies of some packets anywhere between them: cut short, of a foreign start, or empty."""
    packets = list(sound)
    for packet in order.sample(sound, count):
        whole = packet.payload
        damaged = order.choice((whole[: order.randrange(1, len(whole))], bytes([whole[0] ^ 0xFF]) + whole[1:], b""))
        poison = StreamPacket(order.randrange(NUM_PARTITIONS), damaged, packet.key, False, is_poison=True)
        packets.insert(order.randrange(len(packets) + 1), poison)
    return packets


def key_of(target: SimulatedObject) -> bytes:
    """The object's key on the stamp log and in the output."""
    return log_key(target.survey, target.object_id)


def _draw(plan: StreamPlan, survey: str, index: int) -> SimulatedObject:
    """At most a number of frames between the plan's bounds, most often a small one."""
    fewest, most = plan.frames
    share = random.Random(f"{plan.seed}:{survey}:{index}").random() ** 2
    return draw_object(
        survey,
        seed=plan.seed,
        index=index,
        min_frames=fewest,
        max_frames=int(fewest * math.pow((most + 1) / fewest, share)),
        num_nights=NUM_NIGHTS[survey],
    )


def _payload(target: SimulatedObject, frame: int, withdrawn: bool) -> bytes:
    back = target.exposures[frame].mjd + WITHDRAWN_AFTER_DAYS if withdrawn else None
    return target.packet(frame, form=SMALL, withdrawn_mjd=back)


def expected_facts(payloads: Iterable[bytes]) -> dict[bytes, list[StoredFact]]:
    """Every fact that the packets state, by object key; RecordError when one of them states none."""
    decoder = PacketDecoder()
    facts: dict[bytes, list[StoredFact]] = {}
    for offset, payload in enumerate(payloads):
        outcome = decoder.decode(payload)
        if not isinstance(outcome, Stamped):
            raise RecordError(f"packet {offset} of the stream is {outcome}")
        key = log_key(outcome.fact.survey, outcome.fact.object_id)
        stored = read_stored_fact(LogMessage(0, offset, key, outcome.fact.to_bytes()))
        facts.setdefault(key, []).append(stored)
    return facts


def expected_values(
    facts: Mapping[bytes, Sequence[StoredFact]], bundles: Collection[LoadedBundle], *, plugin_version: str
) -> dict[bytes, bytes]:
    """The value of every object's last record, by object key."""
    values: dict[bytes, bytes] = {}
    for bundle in bundles:
        views = expected_views(facts, bundle)
        keys = list(views)
        for start in range(0, len(keys), SCORE_CHUNK):
            chunk = {key: _sequence(key, views[key], bundle) for key in keys[start : start + SCORE_CHUNK]}
            values |= _values(chunk, bundle, plugin_version)
    return values


def expected_views(
    facts: Mapping[bytes, Sequence[StoredFact]], bundle: LoadedBundle
) -> dict[bytes, list[tuple[FactKey, bytes]]]:
    """The view of every object with a frame on the bundle's grid once all its facts are in, with payloads."""
    views: dict[bytes, list[tuple[FactKey, bytes]]] = {}
    for object_key, stored in facts.items():
        if not any(fact.key.grid_id == bundle.rule.grid_id for fact in stored):
            continue
        last = max(fact.key.first_offset for fact in stored)
        payloads = {fact.key.digest: fact.payload for fact in stored}
        view = select_view([fact.key for fact in stored], bundle.rule, at_offset=last)
        views[object_key] = [(key, payloads[key.digest]) for key in view]
    return views


def _sequence(object_key: bytes, view: Sequence[tuple[FactKey, bytes]], bundle: LoadedBundle) -> StampSequence:
    survey, _, object_id = object_key.decode().partition(":")
    observations = [fact for _, payload in view if isinstance(fact := read_fact(payload), Observation)]
    keys = [key for key, _ in view]
    return build_sequence(
        survey,
        object_id,
        bundle.rule.grid_id,
        observations,
        [key.digest for key in keys],
        view_digest=view_digest(keys),
    )


def _values(
    sequences: Mapping[bytes, StampSequence], bundle: LoadedBundle, plugin_version: str
) -> dict[bytes, bytes]:
    shortfalls = {key: bundle.eligibility.shortfall(sequence) for key, sequence in sequences.items()}
    eligible = [key for key, shortfall in shortfalls.items() if shortfall is None]
    scores = dict(zip(eligible, bundle.scorer.score([sequences[key] for key in eligible]), strict=True))
    values: dict[bytes, bytes] = {}
    for key, sequence in sequences.items():
        scored = scores.get(key)
        reason = shortfalls[key] if scored is None else scored.abstain_reason
        status = Status.TOO_SHORT if scored is None else Status.CLASSIFIED if reason is None else Status.ABSTAINED
        record = build(
            sequence,
            status=status,
            reason=reason,
            scores=scored,
            bundle_id=bundle.scorer.bundle_id,
            plugin_version=plugin_version,
        )
        values[key] = record.to_bytes()
    return values
