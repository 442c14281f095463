"""ClassifyEngine: what becomes of each offset, records and headers, faults, coalescing, shadow scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from broker_plugin.messages import TRIGGERED, BatchResult, ClassifyOutcome, LogMessage
from broker_plugin.settings.sections import ClassifySettings
from broker_plugin.store.stamp_store import StampStore
from broker_plugin.testing.scorers import FailingScorer, HashScorer, make_rule
from broker_plugin.worker.classify_engine import ClassifyEngine
from model.scores import Eligibility, Scorer
from schemas.classification import Classification
from schemas.errors import InferenceError
from schemas.observation import Observation, Withdrawal, log_key
from schemas.view import view_digest
from tests.broker_plugin.stamp_log import RULE, make_observation, make_withdrawal, open_store, to_log


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StampStore]:
    found = open_store(tmp_path)
    yield found
    found.close()


def make_engine(*scorers: Scorer, challengers: Sequence[Scorer] = (), **settings: object) -> ClassifyEngine:
    return ClassifyEngine(
        scorers or (HashScorer(view_rule=RULE),),
        ClassifySettings(**settings),
        log_topic="stamps",
        plugin_version="1.0",
        challengers=challengers,
    )


def run(
    engine: ClassifyEngine,
    store: StampStore,
    messages: Sequence[LogMessage],
    *,
    committed: int = 0,
    coalesce: bool = False,
) -> BatchResult:
    """One batch, committed."""
    marks = {0: committed}
    result = engine.process(messages, {0: store}, marks, restore_below=marks, coalesce_now=coalesce)
    store.commit()
    return result


def outcomes(result: BatchResult) -> list[tuple[str, str | None]]:
    assert [o.offset for o in result.outcomes[0]] == sorted(o.offset for o in result.outcomes[0])
    return [(o.outcome.value, o.reason) for o in result.outcomes[0]]


def test_every_kind_of_offset(store: StampStore) -> None:
    """Each message of a mixed batch ends in one outcome, in offset order, and only triggers make records."""
    first = make_observation(source=0)
    facts: list[Observation | Withdrawal] = [
        first,
        make_observation(source=1, band="i"),
        make_observation(source=2, grid_id="other"),
        make_withdrawal(make_observation("B")),
        make_withdrawal(first),
        make_withdrawal(make_observation(source=1, band="i")),
    ]
    messages = to_log(facts)
    messages.append(replace(messages[0], offset=6))
    messages.append(LogMessage(0, 7, b"ztf:A", b"garbage"))
    engine = make_engine(HashScorer(view_rule=RULE, eligibility=Eligibility(min_frames=1)))
    result = run(engine, store, messages)
    said = outcomes(result)
    assert said[0][0] in ("classified", "abstained")
    assert said[1:] == [
        ("stored_only", "band"),
        ("stored_only", "grid"),
        ("stored_only", "no_frames"),
        ("too_short", "frames"),
        ("stored_only", "band"),
        ("duplicate", None),
        ("unreadable", None),
    ]
    assert [record.offset for record in result.records] == [0, 4]
    assert [bad.message.offset for bad in result.unreadable] == [7]
    assert len(store.facts(b"ztf:A")) == 5


def test_a_frame_without_pixels_is_kept_and_never_seen(store: StampStore) -> None:
    """A packet without cutouts is stored, triggers nothing, and is in no view; its whole reading replaces it."""
    masked, whole = make_observation(source=1, num_valid=0), make_observation(source=1)
    result = run(
        make_engine(), store, to_log([make_observation(source=0), masked, make_observation(source=2), whole])
    )
    assert outcomes(result)[1] == ("stored_only", "no_pixels")
    assert [r.classification.num_frames for r in result.records] == [1, 2, 3]


def test_record_and_headers(store: StampStore) -> None:
    """The value speaks of the view, the headers of the delivery; the key is the object's."""
    messages = to_log([make_observation(source=s) for s in (3, 1)], start=10)
    result = run(make_engine(), store, messages)
    record = result.records[1]
    assert record.key == log_key("ztf", "A")
    assert record.value == record.classification.to_bytes()
    assert Classification.from_bytes(record.value) == record.classification
    said = record.classification
    assert (said.newest_source_id, said.num_frames, said.bundle_id, said.plugin_version) == (
        "3",
        2,
        "hash-1-00000000",
        "1.0",
    )
    keys = [key for key, _ in store.view(record.key, RULE, at_offset=11)]
    assert said.view_digest == view_digest(keys)
    assert dict(record.headers) == {
        "input-offset": b"11",
        "trigger-source-id": b"1",
        "log-topic": b"stamps",
        "log-partition": b"0",
        "log-offset": b"11",
    }


def test_restored_offsets_trigger_nothing(store: StampStore) -> None:
    """Below the group's position facts only fill the store; the first offset past it sees them all."""
    messages = to_log([make_observation(source=s) for s in range(4)])
    messages[1] = replace(messages[1], payload=b"garbage")
    result = run(make_engine(), store, messages, committed=3)
    assert outcomes(result)[:3] == [("redelivered", None)] * 3
    assert [(r.offset, r.classification.num_frames) for r in result.records] == [(3, 3)]
    assert result.unreadable == []


def test_a_redelivered_trigger_repeats_its_bytes(store: StampStore) -> None:
    """A batch whose offsets were not committed gives the same records again, from a store that is ahead."""
    engine = make_engine()
    messages = to_log([make_observation(source=s) for s in range(30)])
    once = [
        record for start in range(0, 30, 10) for record in run(engine, store, messages[start : start + 10]).records
    ]
    again = run(make_engine(), store, messages)
    assert again.records == once
    assert {outcome for outcome, _ in outcomes(again)} <= {o.value for o in TRIGGERED}


@pytest.mark.parametrize("setting", ["min_frames", "min_nights", "min_bands"])
def test_eligibility_overrides(store: StampStore, setting: str) -> None:
    """A setting replaces the bundle's rule, and the record says which rule was missed."""
    engine = make_engine(publish_too_short=False, **{setting: 2})  # type: ignore[arg-type]
    result = run(engine, store, to_log([make_observation(source=0), make_observation(source=1)]))
    assert outcomes(result)[0] == ("too_short", setting.removeprefix("min_"))
    assert outcomes(result)[1][0] in ("classified", "abstained")
    assert [record.publish for record in result.records] == [False, True]
    assert result.records[0].classification.probabilities is None


def test_view_overrides(store: StampStore) -> None:
    """max_frames and max_days of the settings bound the view."""
    engine = make_engine(max_frames=2, max_days=1.5)
    result = run(engine, store, to_log([make_observation(source=s, mjd=float(s * s)) for s in range(4)]))
    assert [record.classification.num_frames for record in result.records] == [1, 2, 1, 1]
    assert engine.view_rules[0].max_frames == 2


def test_coalescing_keeps_the_last_record(tmp_path: Path) -> None:
    """Under lag only each object's newest trigger is scored, and it gives the record it would have given anyway."""
    facts = [make_observation(name, source) for source in range(6) for name in "ABC"]
    plain, coalesced = open_store(tmp_path / "a"), open_store(tmp_path / "b")
    every = run(make_engine(), plain, to_log(facts))
    last = run(make_engine(), coalesced, to_log(facts), coalesce=True)
    assert last.records == every.records[-3:]
    assert outcomes(last)[:-3] == [("superseded", None)] * 15
    plain.close()
    coalesced.close()


def test_a_scorer_short_of_memory_is_asked_by_halves(store: StampStore) -> None:
    """What does not fit at once is scored in smaller calls, to the same records."""
    messages = to_log([make_observation(f"O{n}") for n in range(30)])
    small = FailingScorer(view_rule=RULE, max_sequences=4)
    result = run(make_engine(small), store, messages)
    assert max(n for n in small.calls if n <= 4) > 1
    assert len(result.records) == 30
    assert result.records == run(make_engine(), store, messages).records


def test_a_broken_bundle_stops_and_leaves_the_store(store: StampStore) -> None:
    """When even one sequence cannot be scored the error names bundle and object, and the batch is rolled back."""
    broken = FailingScorer(view_rule=RULE, fail_from=1)
    engine = make_engine(broken)
    messages = to_log([make_observation(source=s) for s in range(4)])
    run(engine, store, messages[:2])
    with pytest.raises(InferenceError, match="hash-1-00000000 cannot score ztf:A"):
        engine.process(messages[2:], {0: store}, {0: 2}, restore_below={0: 2})
    assert not store.in_transaction
    assert (store.position, store.counts()["facts"]) == (2, 2)


def test_a_challenger_scores_in_shadow(store: StampStore) -> None:
    """The challenger's records are apart, of the same triggers, under its own bundle, view and eligibility."""
    challenger = HashScorer("rival-1-0", make_rule(bands="g", max_frames=3), Eligibility(min_frames=2))
    engine = make_engine(challengers=[challenger])
    facts = [make_observation(source=s) for s in range(5)]
    result = run(engine, store, to_log(facts))
    assert [r.offset for r in result.shadow] == [r.offset for r in result.records]
    assert {r.classification.bundle_id for r in result.shadow} == {"rival-1-0"}
    assert [r.classification.num_frames for r in result.shadow] == [1, 1, 2, 2, 3]
    assert all(outcome != "too_short" for outcome, _ in outcomes(result))
    assert result.shadow[0].classification.status == "too_short"


def test_a_challenger_that_fails_stops_nobody(store: StampStore) -> None:
    """The champion's records come as if there were no challenger, and what it failed to score is counted."""
    engine = make_engine(challengers=[FailingScorer("rival-1-0", RULE, max_sequences=0)])
    messages = to_log([make_observation(source=s) for s in range(5)])
    result = run(engine, store, messages)
    assert [r.offset for r in result.records] == [0, 1, 2, 3, 4]
    assert (result.shadow, result.num_unchallenged) == ([], 5)


def test_a_bundle_is_replaced_between_batches(store: StampStore) -> None:
    """From the next batch on records carry the new bundle; other grids keep theirs."""
    other = HashScorer("other-1-0", make_rule("other"))
    engine = make_engine(HashScorer(view_rule=RULE), other)
    run(engine, store, to_log([make_observation(source=0)]))
    engine.replace_scorer(HashScorer("new-2-0", RULE))
    facts = [make_observation(source=1), make_observation("B", grid_id="other")]
    result = run(engine, store, to_log(facts, start=1))
    assert [r.classification.bundle_id for r in result.records] == ["new-2-0", "other-1-0"]
    assert engine.bundle_ids == {"ztf-1.01-32": "new-2-0", "other": "other-1-0"}


def test_partitions_of_one_batch(tmp_path: Path) -> None:
    """A batch over several partitions applies each to its own store, with its own position."""
    stores = {p: open_store(tmp_path, partition=p) for p in (0, 2)}
    batch = [
        *to_log([make_observation("A", s) for s in range(3)], start=5),
        *to_log([make_observation("B", s) for s in range(2)], partition=2),
    ]
    result = make_engine().process(batch, stores, {0: 5, 2: 0}, restore_below={0: 6, 2: 0})
    for found in stores.values():
        found.commit()
    assert {p: s.position for p, s in stores.items()} == {0: 8, 2: 2}
    assert [o.outcome is ClassifyOutcome.REDELIVERED for o in result.outcomes[0]] == [True, False, False]
    assert len(result.outcomes[2]) == 2
    assert set(result.durations_s) == {"apply", "assemble", "infer", "prune", "challenge"}
    for found in stores.values():
        found.close()


def test_bundles_that_do_not_fit_together() -> None:
    """Two bundles of one grid, or a challenger without a champion, are the caller's mistake."""
    with pytest.raises(ValueError, match="two bundles of one grid"):
        make_engine(HashScorer(), HashScorer())
    with pytest.raises(ValueError, match="without a bundle to challenge on grid other"):
        make_engine(HashScorer(), challengers=[HashScorer(view_rule=make_rule("other"))])
    with pytest.raises(ValueError, match="no bundle to challenge"):
        make_engine().replace_challenger(HashScorer(view_rule=make_rule("other")))


def test_a_withdrawal_alone_makes_no_record(tmp_path: Path) -> None:
    """Whether an object has a record does not depend on the order of a withdrawal and a frame of no wanted band."""
    facts = [make_observation(source=1, band="i"), make_withdrawal(make_observation(source=2, band="g"))]
    for place, order in enumerate((facts, facts[::-1])):
        found = open_store(tmp_path / str(place))
        assert run(make_engine(), found, to_log(order)).records == []
        found.close()
