"""Archives as streams of packets, whatever their form and whatever is damaged."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.archive.packet import ArchivePacket, Damage
from schemas.archive.reader import ArchiveReader
from schemas.avro import read_container
from schemas.errors import SettingsError
from tests.archive.archives import container, kcat, packets, tar

PACKETS = packets()


def read(*paths: Path) -> tuple[list[ArchivePacket], list[Damage]]:
    damage: list[Damage] = []
    reader = ArchiveReader(list(paths), damage.append)
    found = list(reader)
    assert reader.bytes_read == reader.num_bytes
    return found, damage


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def members(payloads: list[bytes]) -> dict[str, bytes]:
    return {f"night/{number:03d}.avro": payload for number, payload in enumerate(payloads)}


@pytest.mark.parametrize("form", ["folder", "tar", "tar.gz", "tgz", "kcat", "kcat.gz"])
def test_every_form_gives_the_same_bytes(tmp_path: Path, form: str) -> None:
    """Whatever the archive's form, the packets come back byte for byte and in order."""
    if form == "folder":
        for name, payload in members(PACKETS).items():
            write(tmp_path / name, payload)
    elif form.startswith("kcat"):
        write(tmp_path / f"dump.{form}", gzip.compress(kcat(PACKETS)) if form.endswith("gz") else kcat(PACKETS))
    else:
        write(tmp_path / f"night.{form}", tar(members(PACKETS), mode="w" if form == "tar" else "w:gz"))
    found, damage = read(tmp_path)
    assert [packet.payload for packet in found] == PACKETS
    assert damage == []
    for packet in found:
        if packet.extent is not None:
            where = packet.extent
            assert where.path.read_bytes()[where.offset : where.offset + where.size] == packet.payload
    assert all((packet.extent is None) == form.endswith("gz") for packet in found)


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("block_bytes", [1, 60_000, 10_000_000])
def test_records_of_a_container_are_packets(tmp_path: Path, codec: str, block_bytes: int) -> None:
    """A container of many records gives one-record containers of the same records, the same at each reading."""
    path = write(tmp_path / "many.avro", container(PACKETS, codec=codec, block_bytes=block_bytes))
    found, damage = read(path)
    assert damage == []
    assert [packet.index for packet in found] == list(range(len(PACKETS)))
    expected = [read_container(payload) for payload in PACKETS]
    assert [read_container(packet.payload) for packet in found] == expected
    assert read(path)[0] == found


def test_a_message_in_wire_format_is_one_packet(tmp_path: Path) -> None:
    """A file that begins with Confluent's magic byte and schema id is handed on as it is."""
    payload = b"\x00\x00\x00\x03\xe8" + b"body"
    found, damage = read(write(tmp_path / "message", payload))
    assert [packet.payload for packet in found] == [payload]
    assert damage == []


def test_a_damaged_tar_header_costs_one_member(tmp_path: Path) -> None:
    """A member whose header is damaged is reported and skipped; all others are read."""
    data = bytearray(tar(members(PACKETS)))
    place = data.index(b"night/002.avro")
    data[place : place + 4] = b"\xff\xff\xff\xff"
    found, damage = read(write(tmp_path / "night.tar", bytes(data)))
    assert [packet.payload for packet in found] == PACKETS[:2] + PACKETS[3:]
    assert len(damage) == 1
    assert "no tar member" in damage[0].detail


def test_a_damaged_packet_of_a_tar_is_handed_on(tmp_path: Path) -> None:
    """A member that is no sound packet is still a packet, for decoding to say what is wrong; its neighbours stay."""
    broken = [*PACKETS]
    broken[1] = broken[1][:-60]
    broken[3] = b"not a packet"
    found, damage = read(write(tmp_path / "night.tar.gz", tar(members(broken), mode="w:gz")))
    assert [packet.payload for packet in found] == broken
    assert damage == []


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_a_tar_that_is_cut_short_gives_what_it_has(tmp_path: Path, form: str) -> None:
    """The whole members before the cut are read, the cut is reported, and the next file is read."""
    data = tar(members(PACKETS), mode="w" if form == "tar" else "w:gz")
    path = write(tmp_path / f"a.{form}", data[: len(data) // 2])
    after = write(tmp_path / "b.avro", PACKETS[0])
    found, damage = read(path, after)
    assert 0 < len(found) - 1 < len(PACKETS)
    assert [packet.payload for packet in found] == [*PACKETS[: len(found) - 1], PACKETS[0]]
    assert len(damage) == 1


def test_a_damaged_block_costs_its_records_only(tmp_path: Path) -> None:
    """A container with a damaged block gives the records of all others, and says where it was damaged."""
    data = bytearray(container(PACKETS, block_bytes=1))
    sync = data[-16:]
    first = data.index(sync)
    second = data.index(sync, first + 16)  # the end of the first block
    data[second : second + 4] = b"\0\0\0\0"
    found, damage = read(write(tmp_path / "many.avro", bytes(data)))
    records = [read_container(packet.payload).record["candid"] for packet in found]
    whole = [read_container(payload).record["candid"] for payload in PACKETS]
    assert 0 < len(records) < len(whole)
    assert records == whole[-len(records) :]
    assert damage
    assert "block" in damage[0].detail


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(["tar", "kcat", "avro"]), place=st.floats(0, 1), value=st.integers(0, 255))
def test_any_damaged_byte_ends_in_packets_or_damage(
    tmp_path_factory: pytest.TempPathFactory, form: str, place: float, value: int
) -> None:
    """Whatever byte of an archive is damaged, reading ends; nothing but packets and damage comes of it."""
    makers = {"tar": lambda: tar(members(PACKETS[:3])), "kcat": lambda: kcat(PACKETS[:3])}
    data = bytearray(makers.get(form, lambda: container(PACKETS[:3], block_bytes=1))())
    data[int(place * (len(data) - 1))] = value
    read(write(tmp_path_factory.mktemp("damaged") / f"archive.{form}", bytes(data)))


def test_a_large_archive_is_a_stream(tmp_path: Path) -> None:
    """Memory does not grow with the archive: reading 50 times as many packets holds no more of them at once."""
    path = write(tmp_path / "night.tar", tar(members(PACKETS * 50)))
    many = write(tmp_path / "many.avro", container(PACKETS * 60))
    for archive in (path, many):
        tracemalloc.start()
        num_packets = sum(1 for _ in ArchiveReader([archive], pytest.fail))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert num_packets >= 240
        assert peak < 6_000_000 < archive.stat().st_size


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    """A path that does not exist is the caller's error."""
    with pytest.raises(SettingsError, match="absent"):
        ArchiveReader([tmp_path / "absent"], pytest.fail)


@pytest.mark.data
def test_the_two_night_stream_has_285_packets(sample_data: Path) -> None:
    """The sample stream, a container whose schema is a union, gives its 285 records."""
    stream = sample_data / "ztf/astrolabsoftware+fink-broker/converted/stream_20231017_18.v4_02.avro"
    found, damage = read(stream)
    assert len(found) == 285
    assert damage == []
    assert all("candidate" in read_container(packet.payload).record for packet in found)
