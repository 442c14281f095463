"""StampStore: identity, lock, crash safety, deletion and expiry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from broker_plugin.messages import LogMessage
from broker_plugin.store.facts import read_stored_fact
from broker_plugin.store.stamp_store import CLOCK_OBJECTS, PRUNE_STEP, StampStore
from broker_plugin.testing.scorers import make_rule
from schemas.errors import RecordError, StoreError
from schemas.observation import log_key
from schemas.view import SPARE_FRAMES, ViewRule
from tests.broker_plugin.stamp_log import (
    IDENTITY,
    RULE,
    make_observation,
    make_withdrawal,
    open_store,
    to_log,
)

KEY = log_key("ztf", "A")


def apply(store: StampStore, messages: Sequence[LogMessage]) -> list[int]:
    return store.apply([read_stored_fact(m) for m in messages], position=messages[-1].offset + 1)


def write(store: StampStore, messages: Sequence[LogMessage]) -> None:
    store.begin()
    apply(store, messages)
    store.commit()


def reopen(path: Path, rules: Sequence[ViewRule] = (RULE,), **changes: object) -> StampStore:
    identity = replace(IDENTITY, **changes)  # type: ignore[arg-type]
    return StampStore(path / "0.sqlite", identity, rules=rules, holder="again")


def test_facts_and_position_survive_together(tmp_path: Path) -> None:
    """A commit keeps payloads, first offsets and the position; a duplicate gets the first offset of its content."""
    messages = to_log([make_observation(source=s) for s in range(3)])
    with_repeat = [*messages, replace(messages[1], offset=3)]
    store = open_store(tmp_path)
    assert store.position is None
    store.begin()
    assert apply(store, with_repeat) == [0, 1, 2, 1]
    store.commit()
    store.close()
    again = open_store(tmp_path)
    assert again.position == 4
    assert [payload for _, payload in again.view(KEY, RULE, at_offset=9)] == [m.payload for m in messages]
    assert (again.counts()["objects"], again.counts()["facts"]) == (1, 3)
    again.close()


def test_rollback_leaves_the_last_commit(tmp_path: Path) -> None:
    """A dropped batch leaves neither facts nor position, nor does a close with an open transaction."""
    messages = to_log([make_observation(source=s) for s in range(4)])
    store = open_store(tmp_path)
    write(store, messages[:2])
    for drop in (store.rollback, store.close):
        store.begin()
        apply(store, messages[2:])
        assert store.position == 4
        drop()
    again = open_store(tmp_path)
    assert again.position == 2
    assert len(again.facts(KEY)) == again.counts()["facts"] == 2
    again.close()


def test_a_view_is_bound_to_its_offset(tmp_path: Path) -> None:
    """A trigger sees facts up to its own offset only, whatever else the store already holds."""
    store = open_store(tmp_path)
    first = make_observation(source=0)
    write(store, to_log([first, make_observation(source=1), make_withdrawal(first)]))
    seen = [[key.source_id for key, _ in store.view(KEY, RULE, at_offset=offset)] for offset in range(3)]
    assert seen == [["0"], ["0", "1"], ["1"]]
    store.close()


def test_two_holders_are_refused(tmp_path: Path) -> None:
    """A second opener gets an error that names the file and the holder; the first goes on."""
    store = open_store(tmp_path, holder="worker-7")
    with pytest.raises(StoreError, match=r"0\.sqlite is held by process \d+ on .*worker-7"):
        open_store(tmp_path)
    write(store, to_log([make_observation()]))
    store.close()
    open_store(tmp_path).close()


def test_another_process_is_refused(tmp_path: Path) -> None:
    """The lock holds between processes, and a process that dies lets go of it."""
    code = (
        "import sys; from pathlib import Path; from tests.broker_plugin.stamp_log import open_store\n"
        "store = open_store(Path(sys.argv[1]), holder='other'); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StoreError, match=f"held by process {other.pid} .*other"):
            open_store(tmp_path)
        other.kill()
        other.wait()
        open_store(tmp_path).close()


@pytest.mark.parametrize(
    "changes", [{"topic_id": "new"}, {"cluster_id": "new"}, {"topic": "new"}, {"partition": 3}], ids=str
)
def test_a_foreign_file_is_set_aside(tmp_path: Path, changes: dict[str, object]) -> None:
    """A recreated topic, another cluster or partition: the file is kept aside and an empty one replaces it."""
    for number in (1, 2):
        store = reopen(tmp_path)
        write(store, to_log([make_observation()]))
        store.close()
        new = reopen(tmp_path, **changes)  # type: ignore[arg-type]
        assert new.position is None
        assert new.facts(KEY) == []
        new.close()
        assert (tmp_path / f"0.sqlite.aside-{number}").exists()


def test_a_changed_partition_count_is_refused(tmp_path: Path) -> None:
    """Keys have moved: the store refuses and says what to do, and leaves the file alone."""
    store = open_store(tmp_path)
    write(store, to_log([make_observation()]))
    store.close()
    with pytest.raises(StoreError, match="had 4 partitions and now has 8"):
        reopen(tmp_path, num_partitions=8)
    again = open_store(tmp_path)
    assert again.position == 1
    again.close()


@pytest.mark.parametrize("damage", ["garbage", "cut"])
def test_a_corrupt_file_is_replaced_at_opening(tmp_path: Path, damage: str) -> None:
    """A file that SQLite cannot read is kept aside and an empty one takes its place."""
    store = open_store(tmp_path)
    write(store, to_log([make_observation(source=s) for s in range(40)]))
    store.close()
    path = tmp_path / "0.sqlite"
    content = path.read_bytes()
    path.write_bytes(b"not a database" * 1000 if damage == "garbage" else content[: len(content) // 2])
    again = reopen(tmp_path)
    assert (tmp_path / "0.sqlite.aside-1").exists()
    assert again.position is None
    again.close()


def test_damage_found_by_a_read_is_an_error_once(tmp_path: Path) -> None:
    """A payload that is not what was stored (here one flipped bit) is never handed out: the file is set aside, the
    error says so, and the next start is empty."""
    store = open_store(tmp_path)
    messages = to_log([make_observation(source=s) for s in range(4)])
    write(store, messages)
    store.close()
    path = tmp_path / "0.sqlite"
    content = bytearray(path.read_bytes())
    pixels = messages[2].payload[200:260]
    content[content.index(pixels)] ^= 1
    path.write_bytes(content)
    found = reopen(tmp_path)
    with pytest.raises(StoreError, match="offset 2 is not what was stored"):
        found.view(KEY, RULE, at_offset=99)
    found.close()
    assert (tmp_path / "0.sqlite.aside-1").exists()
    again = reopen(tmp_path)
    assert again.position is None
    again.close()


def test_pruning_keeps_every_view(tmp_path: Path) -> None:
    """A long object stays bounded, and views at and past the committed position are those of an unpruned store."""
    messages = to_log([make_observation(source=s) for s in range(100)])
    pruned, whole = open_store(tmp_path / "a"), open_store(tmp_path / "b")
    assert pruned.adopt([RULE])
    for start in range(0, 100, 10):
        write(whole, messages[start : start + 10])
        pruned.begin()
        apply(pruned, messages[start : start + 10])
        pruned.prune(committed=start)
        pruned.commit()
        for offset in range(start, start + 10):
            assert pruned.view(KEY, RULE, at_offset=offset) == whole.view(KEY, RULE, at_offset=offset)
    assert len(pruned.facts(KEY)) == pruned.counts()["facts"]
    assert len(pruned.facts(KEY)) <= RULE.max_frames + SPARE_FRAMES + PRUNE_STEP + 10
    assert len(whole.facts(KEY)) == 100
    pruned.close()
    whole.close()


def test_nothing_is_deleted_before_it_is_committed(tmp_path: Path) -> None:
    """While the group has committed nothing, every redelivered trigger still finds its view."""
    store = open_store(tmp_path)
    store.adopt([RULE])
    store.begin()
    apply(store, to_log([make_observation(source=s) for s in range(100)]))
    assert store.prune(committed=0) == 0
    store.commit()
    store.close()


def test_wider_rules_rebuild_a_pruned_store(tmp_path: Path) -> None:
    """A bundle that wants more than was kept gets a rebuilt store at the next start, and no deletion until then."""
    store = open_store(tmp_path)
    assert store.adopt([RULE])
    store.begin()
    apply(store, to_log([make_observation()]))
    store.commit()
    wider = make_rule(max_frames=40, max_days=50.0)
    assert not store.adopt([wider])
    store.close()
    same = reopen(tmp_path, [RULE])
    assert same.position == 1
    same.close()
    rebuilt = reopen(tmp_path, [wider])
    assert rebuilt.position is None
    rebuilt.close()


def test_expiry_by_the_partitions_own_clock(tmp_path: Path) -> None:
    """Objects far behind the partition's newest go, whole; one absurd MJD expires nothing."""
    store = open_store(tmp_path)
    store.adopt([RULE])
    old, new = make_observation("old", mjd=59000.0), make_observation("absurd", mjd=99000.0)
    crowd = [make_observation(f"N{n}", mjd=59200.0) for n in range(CLOCK_OBJECTS)]
    write(store, to_log([old, new]))
    assert store.expire(80.0, committed=2) == 0
    write(store, to_log(crowd, start=2))
    store.begin()
    assert store.expire(80.0, committed=0) == 0
    assert store.expire(300.0, committed=2) == 0
    assert store.expire(80.0, committed=2) == 1
    store.commit()
    assert store.facts(log_key("ztf", "old")) == []
    assert store.counts()["facts"] == CLOCK_OBJECTS + 1 == store.counts()["objects"]
    assert log_key("ztf", "old") not in set(store.object_keys())
    store.close()


def test_a_group_set_back_finds_first_offsets_again(tmp_path: Path) -> None:
    """When deleted content came again at a later offset and the log is then read from the start, the smaller
    offset wins."""
    store = open_store(tmp_path)
    (message,) = to_log([make_observation()], start=500)
    write(store, [message])
    store.begin()
    assert apply(store, [replace(message, offset=5)]) == [5]
    store.commit()
    assert (store.position, store.counts()["facts"]) == (501, 1)
    assert len(store.view(KEY, RULE, at_offset=5)) == 1
    store.close()


def test_unreadable_messages() -> None:
    """Foreign bytes, a key of another object and a fact without a time are no facts."""
    (message,) = to_log([make_observation()])
    (timeless,) = to_log([replace(make_observation(), mjd=float("nan"))])
    for bad in (
        replace(message, payload=b""),
        replace(message, payload=message.payload[:-1]),
        replace(message, key=b"ztf:B"),
        replace(message, key=None),
        timeless,
    ):
        with pytest.raises(RecordError):
            read_stored_fact(bad)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """Closing twice is fine, a rollback then too; using it is a StoreError."""
    store = open_store(tmp_path)
    store.close()
    store.close()
    store.rollback()
    with pytest.raises(StoreError, match="closed"):
        store.begin()
