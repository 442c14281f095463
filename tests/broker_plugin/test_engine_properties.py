"""Properties of the engine with its store: order-free, idempotent, and indifferent to where it is interrupted."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plugin.messages import ClassifyOutcome, LogMessage
from broker_plugin.settings.sections import ClassifySettings
from broker_plugin.store.facts import read_stored_fact
from broker_plugin.store.stamp_store import StampStore
from broker_plugin.testing.scorers import HashScorer
from broker_plugin.worker.classify_engine import ClassifyEngine
from model.scores import Eligibility
from schemas.observation import Observation, Withdrawal, log_key
from schemas.view import SPARE_FRAMES
from tests.broker_plugin.stamp_log import RULE, make_observation, make_withdrawal, open_store, to_log

# Enough sources of one object that the store deletes: RULE keeps 4 frames and 32 in reserve.
NUM_SOURCES = 64
MOST_WITHDRAWN = SPARE_FRAMES // 4


@cache
def packet(object_id: str, source: int, reading: str) -> LogMessage:
    """A source's good or worse reading, or its withdrawal, as a message without a place in the log."""
    whole = make_observation(object_id, source, mjd=59000.0 + source * 37 % 71, band="gri"[source % 3])
    worse = replace(whole, difference=make_observation(num_valid=0).difference)
    facts: dict[str, Observation | Withdrawal] = {"good": whole, "worse": worse, "withdrawn": make_withdrawal(whole)}
    (message,) = to_log([facts[reading]])
    return message


@st.composite
def packets(draw: st.DrawFn) -> list[LogMessage]:
    """What one or two objects' surveys send, each packet once."""
    found: list[LogMessage] = []
    for object_id, num_sources in (("A", draw(st.sampled_from([64, 40, 5, 0]))), ("B", draw(st.integers(0, 6)))):
        withdrawn = draw(st.sets(st.integers(0, NUM_SOURCES), max_size=MOST_WITHDRAWN))
        worse = draw(st.sets(st.integers(0, NUM_SOURCES), max_size=MOST_WITHDRAWN))
        found += [packet(object_id, source, "good") for source in range(num_sources)]
        found += [packet(object_id, source, "worse") for source in sorted(worse)]
        found += [packet(object_id, source, "withdrawn") for source in sorted(withdrawn)]
    return found


def as_log(sent: Sequence[LogMessage], seed: int) -> list[LogMessage]:
    """The packets shuffled, some twice, at consecutive offsets."""
    generator = random.Random(seed)
    shuffled = [*sent, *generator.choices(sent, k=len(sent) // 8)] if sent else []
    generator.shuffle(shuffled)
    return [replace(message, offset=offset) for offset, message in enumerate(shuffled)]


def make_engine() -> ClassifyEngine:
    scorer = HashScorer(view_rule=RULE, eligibility=Eligibility(min_frames=2))
    return ClassifyEngine([scorer], ClassifySettings(), log_topic="stamps", plugin_version="1.0")


@dataclass
class Delivered:
    """What reached the output topic and the ledger, in order."""

    records: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    outcomes: dict[int, ClassifyOutcome] = field(default_factory=dict)

    @property
    def last_records(self) -> dict[bytes, bytes]:
        return {key: value for _, key, value in self.records}


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def consume(log: Sequence[LogMessage], batch_size: int, *, coalesce_seed: int | None = None) -> Delivered:
    """The log from its start to its end without interruption; some batches coalesced when a seed is given."""
    delivered, engine = Delivered(), make_engine()
    generator = None if coalesce_seed is None else random.Random(coalesce_seed)
    with folder() as path:
        store = open_store(path)
        for start in range(0, len(log), batch_size):
            marks = {0: start}
            now = generator is not None and generator.random() < 0.5
            deliver(engine, store, log[start : start + batch_size], marks, delivered, coalesce=now)
            store.commit()
        store.close()
    return delivered


def deliver(
    engine: ClassifyEngine,
    store: StampStore,
    batch: Sequence[LogMessage],
    marks: dict[int, int],
    delivered: Delivered,
    *,
    coalesce: bool = False,
) -> None:
    result = engine.process(batch, {0: store}, marks, restore_below=marks, coalesce_now=coalesce)
    delivered.records += [(record.offset, record.key, record.value) for record in result.records]
    for outcome in result.outcomes[0]:
        if outcome.outcome is not ClassifyOutcome.REDELIVERED:
            delivered.outcomes.setdefault(outcome.offset, outcome.outcome)


@settings(max_examples=60, deadline=None)
@given(
    sent=packets(),
    seeds=st.tuples(st.integers(0, 999), st.integers(0, 999)),
    sizes=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    coalesce_seed=st.none() | st.integers(0, 9),
)
def test_order_repetition_and_batches_do_not_matter(
    sent: list[LogMessage], seeds: tuple[int, int], sizes: tuple[int, int], coalesce_seed: int | None
) -> None:
    """The same packets in two orders, with other duplicates, batch sizes and neighbours, coalesced or not, end in the
    same last record of every object, byte for byte."""
    one = consume(as_log(sent, seeds[0]), sizes[0])
    other = consume(as_log(sent, seeds[1]), sizes[1], coalesce_seed=coalesce_seed)
    assert one.last_records == other.last_records
    wanted = {m.key for m in sent if is_wanted(m)}
    assert set(one.last_records) == wanted


def is_wanted(message: LogMessage) -> bool:
    """Whether the message triggers by itself: an observation of the rule's bands."""
    key = read_stored_fact(message).key
    return not key.is_withdrawal and RULE.admits(key)


DEATHS = ("none", "applied", "produced", "stored", "store lost")


@settings(max_examples=60, deadline=None)
@given(
    sent=packets(),
    seed=st.integers(0, 999),
    steps=st.lists(st.tuples(st.integers(1, 64), st.sampled_from(DEATHS)), min_size=1, max_size=12),
)
def test_death_at_any_point_changes_nothing(sent: list[LogMessage], seed: int, steps: list[tuple[int, str]]) -> None:
    """However often the process dies (before or after producing, after the store's commit, or with its store), an
    offset that is triggered twice gives the same bytes, every offset is accounted for, and the end is the same."""
    log = as_log(sent, seed)
    undisturbed = consume(log, 16)
    delivered = Delivered()
    with folder() as path:
        group = consume_dying(log, steps, path, delivered)
    assert group == len(log)
    assert sorted(delivered.outcomes) == list(range(len(log)))
    by_offset: dict[int, bytes] = {}
    for offset, _, value in delivered.records:
        assert by_offset.setdefault(offset, value) == value
    for offset, _, value in undisturbed.records:
        assert by_offset.get(offset, value) == value
    assert delivered.last_records == undisturbed.last_records


def consume_dying(
    log: Sequence[LogMessage], steps: Sequence[tuple[int, str]], path: Path, delivered: Delivered
) -> int:
    """Batches of the given sizes, each ended by the given death; then to the end. Returns the group's position."""
    group = 0
    engine, store = make_engine(), open_store(path)
    position = 0
    for size, death in [*steps, *[(16, "none")] * (len(log) // 8 + 1 + len(steps))]:
        batch = log[position : position + size]
        if batch:
            seen = Delivered() if death == "applied" else delivered
            deliver(engine, store, batch, {0: group}, seen)
            position += len(batch)
            if death in ("none", "stored"):
                store.commit()
            if death == "none":
                group = max(group, position)
        if death != "none":
            store.close()
            if death == "store lost":
                for file in path.glob("0.sqlite*"):
                    file.unlink()
            engine, store = make_engine(), open_store(path)
            position = min(store.position or 0, group)
    store.close()
    return group


@given(object_id=st.text(st.characters(codec="utf-8"), max_size=8))
def test_keys_are_read_back(object_id: str) -> None:
    """The sequence's survey and object id come from the key, whatever characters the id holds."""
    survey, _, read = log_key("ztf", object_id).decode().partition(":")
    assert (survey, read) == ("ztf", object_id)
