"""Time order in bounded memory, and faults on purpose."""

from __future__ import annotations

import gzip
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.archive.faults import Faults, disturb
from schemas.archive.packet import ArchivePacket, Damage
from schemas.archive.reader import ArchiveReader
from schemas.archive.time_order import TimeIndex
from tests.archive.archives import container, kcat, packets, tar

FAULTS = st.builds(
    Faults,
    window=st.integers(0, 20),
    duplicate=st.floats(0, 1),
    delay=st.floats(0, 1),
    reach=st.integers(1, 30),
    seed=st.integers(0, 5),
)


@given(st.integers(0, 60), FAULTS)
def test_faults_lose_nothing(num_items: int, faults: Faults) -> None:
    """Every item comes, once, or twice where duplicates are asked for; the same seed gives the same order."""
    items = list(range(num_items))
    found = list(disturb(items, faults))
    counts = Counter(found)
    assert set(counts) == set(items)
    assert set(counts.values()) <= ({1, 2} if faults.duplicate else {1})
    assert found == list(disturb(items, faults))
    if faults.none:
        assert found == items


@given(FAULTS)
def test_faults_hold_few(faults: Faults) -> None:
    """At most a window and the waiting ones are held, of a stream without end."""

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    found = list(islice(disturb(endless(), faults), 200))
    assert max(found) < 200 + faults.window + 2 * faults.reach + 1


def test_a_late_item_is_at_most_reach_late() -> None:
    """With delays alone an item comes at most ``reach`` places after its own."""
    found = list(disturb(range(1000), Faults(delay=0.3, reach=10, seed=2)))
    late = [place - item for place, item in enumerate(found)]
    assert max(late) > 3
    assert max(late) <= 10


@pytest.mark.parametrize("faults", [{"window": -1}, {"duplicate": 1.5}, {"delay": -0.1}, {"reach": 0}])
def test_impossible_faults_are_refused(faults: dict[str, float]) -> None:
    """A chance outside 0 to 1 or a negative window is a ValueError."""
    with pytest.raises(ValueError, match="faults"):
        Faults(**faults)  # type: ignore[arg-type]


def write_archives(folder: Path) -> tuple[list[Path], list[bytes]]:
    """Packets spread over a tar, a container, a compressed dump and plain files; the packets in time order."""
    payloads = packets(4, 6)
    parts = [payloads[start::4] for start in range(4)]
    (folder / "a.tar").write_bytes(tar({f"{n}.avro": payload for n, payload in enumerate(parts[0])}))
    (folder / "b.avro").write_bytes(container(parts[1], codec="deflate"))
    (folder / "c.kcat.gz").write_bytes(gzip.compress(kcat(parts[2])))
    for number, payload in enumerate(parts[3]):
        (folder / f"d{number}.avro").write_bytes(payload)
    return sorted(folder.iterdir()), payloads


def test_time_order_is_by_mjd_then_place(tmp_path: Path) -> None:
    """Every packet comes back with its own bytes, in the order of the times given, those without one last."""
    (tmp_path / "in").mkdir()
    paths, payloads = write_archives(tmp_path / "in")
    found = list(ArchiveReader(paths, pytest.fail))
    times: dict[int, float | None] = {place: float((place * 7) % 5) for place in range(len(found))}
    times[3] = None
    with TimeIndex(tmp_path / "work") as index:
        assert not index.complete
        index.build(((times[n], p) for n, p in enumerate(found)), damage=[Damage("x", "y")], num_left_out=lambda: 2)
    with TimeIndex(tmp_path / "work") as index:
        assert index.complete
        assert (len(index), index.num_left_out, index.damage()) == (len(payloads), 2, [Damage("x", "y")])
        ordered = list(index)
    expected = sorted(range(len(found)), key=lambda n: (times[n] is None, times[n] or 0.0, n))
    assert [mjd for mjd, _ in ordered] == [times[n] for n in expected]
    assert [(p.path, p.index, p.payload) for _, p in ordered] == [
        (found[n].path, found[n].index, found[n].payload) for n in expected
    ]


def test_an_index_that_was_interrupted_is_built_anew(tmp_path: Path) -> None:
    """An error midway leaves no half index behind."""
    payload = packets(1, 1)[0]

    def broken() -> Iterator[tuple[float, ArchivePacket]]:
        yield 1.0, ArchivePacket("a", 0, payload)
        raise KeyboardInterrupt

    with TimeIndex(tmp_path) as index, pytest.raises(KeyboardInterrupt):
        index.build(broken(), damage=[], num_left_out=lambda: 0)
    with TimeIndex(tmp_path) as index:
        assert not index.complete
        index.build([(1.0, ArchivePacket("a", 0, payload))], damage=[], num_left_out=lambda: 0)
        assert [packet.payload for _, packet in index] == [payload]


def test_time_order_holds_one_packet_at_a_time(tmp_path: Path) -> None:
    """Memory does not grow with the archive, when it is indexed as when it is read."""
    payloads = packets(3, 2) * 60
    (tmp_path / "night.tar").write_bytes(tar({f"{n}.avro": payload for n, payload in enumerate(payloads)}))
    size = (tmp_path / "night.tar").stat().st_size
    tracemalloc.start()
    with TimeIndex(tmp_path / "work") as index:
        reader = ArchiveReader([tmp_path / "night.tar"], pytest.fail)
        index.build(((float(n % 17), p) for n, p in enumerate(reader)), damage=[], num_left_out=lambda: 0)
        assert sum(1 for _ in index) == len(payloads)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000 < size
