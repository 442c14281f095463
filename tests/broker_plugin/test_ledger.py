"""The ledger's audit and its writer, restores, and the window of dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from broker_plugin.accounts.dead_letters import DeadLetterWindow
from broker_plugin.accounts.ledger import ABSENT, EXPIRED, REDRIVE, LedgerWriter, audit, entry_key
from broker_plugin.settings.sections import IngestSettings
from broker_plugin.telemetry.classify_metrics import ClassifyMetrics
from broker_plugin.telemetry.metrics import IngestMetrics
from broker_plugin.worker.restores import Restores
from broker_plugin.worker.starting import Start
from schemas.errors import DeadLetterReason, TooManyDeadLetters
from schemas.ledger import LedgerEntry, Run

OUTCOMES = st.sampled_from([("stamped", None), ("filtered", "sky"), ("dead_letter", "bad_gzip")])
ENTRIES = st.lists(
    st.tuples(st.integers(0, 40), st.lists(OUTCOMES, min_size=1, max_size=12)), min_size=1, max_size=12
)


def entry(
    first: int, outcomes: Sequence[tuple[str, str | None]], *, role: str = "ingest", topic_id: str = "one"
) -> LedgerEntry:
    return LedgerEntry.of_outcomes(
        outcomes,
        role=role,
        group="g",
        topic="alerts",
        partition=0,
        first_offset=first,
        instance="i",
        topic_id=topic_id,
    )


@given(entries=ENTRIES)
def test_the_audit_counts_each_offset_once(entries: list[tuple[int, list[tuple[str, str | None]]]]) -> None:
    """However entries overlap, counts and gaps are those of a table with the first outcome of each offset."""
    table: dict[int, tuple[str, str | None]] = {}
    for first, outcomes in entries:
        for place, outcome in enumerate(outcomes):
            table.setdefault(first + place, outcome)
    (account,) = audit(entry(first, outcomes) for first, outcomes in entries).values()
    assert account.counts == Counter(table.values())
    assert (account.first_offset, account.last_offset) == (min(table), max(table))
    in_gaps = {offset for first, last in account.gaps for offset in range(first, last + 1)}
    assert in_gaps == set(range(min(table), max(table) + 1)) - set(table)
    assert account.balanced == (not in_gaps)


def test_a_recreated_topic_has_an_account_of_its_own() -> None:
    """The newest topic of a name has the name; the former one keeps its counts beside it."""
    stamped = ("stamped", None)
    accounts = audit([entry(0, [stamped] * 5), entry(0, [stamped] * 3, topic_id="two")])
    counts = {topic: account.counts[stamped] for (_, topic, _), account in accounts.items()}
    assert counts == {"alerts@one": 5, "alerts": 3}


def test_what_was_not_redriven_is_no_gap() -> None:
    """Entries over the dead-letter topic name the letters that were redriven, and no others."""
    accounts = audit(entry(first, [("redriven", "bad_gzip")], role=REDRIVE) for first in (3, 9))
    (account,) = accounts.values()
    assert account.balanced
    assert account.counts == {("redriven", "bad_gzip"): 2}


class Sent:
    """Stands for an AckedProducer."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []
        self.keys: list[bytes] = []

    def produce(self, topic: str, *, key: bytes, value: bytes) -> None:
        self.keys.append(key)
        self.entries.append(LedgerEntry.from_bytes(value))


def writer() -> tuple[LedgerWriter, Sent, CollectorRegistry]:
    sent, registry = Sent(), CollectorRegistry()
    metrics = IngestMetrics(registry, surveys=("ztf",), version="1")
    return LedgerWriter(sent, "ledger", "ingest", "g", "i", metrics), sent, registry  # type: ignore[arg-type]


def test_offsets_that_the_broker_skipped_are_absent() -> None:
    """A hole in a batch and one before it are entered, so that the account balances; the metrics add up."""
    ledger, sent, registry = writer()
    ledger.start("alerts", 0, 10, topic_id="one")
    ledger.write("alerts", 0, [(12, "stamped", None), (15, "stamped", None)])
    (found,) = sent.entries
    assert sent.keys == [entry_key("ingest", "g", "alerts", 0)]
    assert (found.first_offset, found.last_offset, found.topic_id) == (10, 15, "one")
    stamped, absent = Run("stamped", None, 1), Run(ABSENT, None, 2)
    assert found.runs == (absent, stamped, absent, stamped)
    labels = {"role": "ingest"}
    assert registry.get_sample_value("convention_ledger_offsets_total", labels) == 6
    assert registry.get_sample_value("convention_ledger_absent_offsets_total", labels) == 4
    assert registry.get_sample_value("convention_ledger_imbalance_offsets_total", labels) == 0


def test_an_entry_out_of_order_is_an_imbalance() -> None:
    """Outcomes that go back in a batch do not add up to the offsets they cover, and the metric says so."""
    ledger, _, registry = writer()
    ledger.start("alerts", 0, 10)
    ledger.write("alerts", 0, [(10, "stamped", None), (11, "stamped", None), (10, "stamped", None)])
    assert registry.get_sample_value("convention_ledger_imbalance_offsets_total", {"role": "ingest"}) == 2


def test_expired_offsets_are_entered_before_what_follows() -> None:
    """However many there are, they are one run; given up when the partition starts anew before it was written."""
    ledger, sent, _ = writer()
    ledger.start("alerts", 0, 5, topic_id="one")
    ledger.expired("alerts", 0, 5, 10**12)
    ledger.write("alerts", 0, [(5 + 10**12, "stamped", None)])
    assert sent.entries[0].runs == (Run(ABSENT, EXPIRED, 10**12),)
    (account,) = audit(sent.entries).values()
    assert account.balanced
    assert account.counts[ABSENT, EXPIRED] == 10**12
    ledger.expired("alerts", 0, 0, 5)
    ledger.start("alerts", 0, 7)
    ledger.write("alerts", 0, [(7, "stamped", None)])
    assert sent.entries[-1].first_offset == 7


def start(position: int | None, *, log_start: int = 0, log_end: int = 100) -> Start:
    return Start("stamps", 3, "cluster", "topic", position, log_start, log_end)


@pytest.mark.parametrize(
    ("position", "log_start", "applied", "first", "num_missing", "restoring"),
    [
        (50, 0, None, 0, 0, True),  # no store: built from the log's beginning
        (50, 20, None, 20, 0, True),  # what expired before there was a store is the retention's doing
        (50, 0, 30, 30, 0, True),  # a store that is behind
        (50, 40, 30, 40, 10, True),  # and lacks records that are gone
        (50, 0, 50, 50, 0, False),
        (50, 0, 80, 50, 0, False),  # a store that is ahead: the group decides
        (50, 60, 30, 60, 20, False),  # the group's own ten are reported with its start
    ],
)
def test_where_a_restore_begins(
    position: int, log_start: int, applied: int | None, first: int, num_missing: int, restoring: bool
) -> None:
    """Consumption begins at the smaller of group and store, not before the log; facts that are gone are counted."""
    registry = CollectorRegistry()
    restores = Restores(ClassifyMetrics(registry, version="1"))
    found = start(position, log_start=log_start)
    assert found.num_expired == max(0, log_start - position)
    assert restores.begin(found, applied) == first
    assert restores.done is not restoring
    assert registry.get_sample_value("convention_log_gap_records_total", {"role": "classify"}) == num_missing


def test_a_restore_tells_how_far_it_is() -> None:
    """Progress grows with what is applied, is done at the group's position, and ends with the partition."""
    registry = CollectorRegistry()
    restores = Restores(ClassifyMetrics(registry, version="1"))

    def progress() -> float | None:
        return registry.get_sample_value("convention_restore_progress_ratio", {"role": "classify"})

    restores.begin(start(50), None)
    restores.applied({3: 20, 7: 5})
    assert (restores.done, progress()) == (False, 0.4)
    restores.applied({3: 55})
    assert (restores.done, progress()) == (True, 1.0)
    restores.begin(start(50), 10)
    restores.drop(3)
    assert restores.done


def test_an_unknown_position_is_left_to_the_configured_reset() -> None:
    """Neither group nor ledger knows: the consumer's own reset decides, and nothing counts as expired."""
    assert start(None, log_start=30).num_expired == 0
    assert start(None, log_start=30).place.offset < 0
    assert start(10, log_start=30).place.offset == 30


def test_only_a_full_window_stops_the_worker() -> None:
    """Up to the share, or before the window is full, dead letters are borne; one more is not, and the error names
    share, limit and newest reason."""
    window = DeadLetterWindow(IngestSettings(dead_letter_window=10, max_dead_letter_share=0.3))
    window.check()
    for _ in range(3):
        window.letter(DeadLetterReason.BAD_GZIP)
    window.check()
    for _ in range(7):
        window.sound()
    window.check()
    for _ in range(4):
        window.letter(DeadLetterReason.NOT_FITS)
    with pytest.raises(TooManyDeadLetters, match=r"4 of the last 10 .* = 0.3 \(newest reason: not_fits\)"):
        window.check()
