"""Packets for the fuzz test: sound ones of every framing, what a mutation makes of them, and explicit attacks."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.fits_writer import primary_hdu
from schemas.surveys.lsst_wire import bundled_schema
from schemas.writers.alert import AlertFields, Stamps
from schemas.writers.lsst import Pointing, lsst_packet
from schemas.writers.ugriz import ugriz_packet
from schemas.writers.ztf import ztf_packet
from tests.schemas import hostile

GIGABYTE: Final = 1 << 30
NUMBERS: Final = (0, 1, -1, 2**31 - 1, -(2**31), 2**32, 2**62, -(2**62), 2**63 - 1, -(2**63))
CARDS: Final = (b"NAXIS", b"NAXIS1", b"NAXIS2", b"BITPIX", b"BSCALE", b"BZERO", b"PCOUNT", b"GCOUNT", b"BLANK")
WCS_CARDS: Final = (b"CRPIX1", b"CRPIX2", b"PC1_1", b"PC2_1", b"CDELT1", b"ROTPA", b"CUTMINX", b"XTENSION")
VALUES: Final = (b"0", b"-1", b"1", b"3", b"8", b"-64", b"999", b"2147483648", b"1E400", b"NaN", b"'text'", b"T", b"")


def _fields(survey: str, **more: Any) -> AlertFields:
    object_id = "ZTF20aaaaaaa" if survey == "ztf" else "4611686018427387905"
    return AlertFields(object_id, "1234567890123", 60100.25, "r", 150.0, 2.0, 5e3, 50.0, 1.1, 0.9, **more)


def _image(side: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 100, (side, side)).astype(np.float32)


def sound_packets() -> list[bytes]:
    """One or more of each framing: ZTF, LSST wire of several versions, ugriz, a deflated container."""
    stamps = Stamps(_image(63, 1), _image(63, 2), _image(63, 3))
    ztf = ztf_packet(_fields("ztf"), stamps)
    small = Stamps(_image(31, 1), _image(31, 2), _image(31, 3))
    pointing = Pointing(30.0, 15.0, 15.0)
    kernel = np.full((5, 5), 0.04)
    variance = np.full((31, 31), 1e4, np.float32)

    def lsst(schema_id: int, **more: Any) -> bytes:
        return lsst_packet(
            _fields("lsst", **more), small, pointing, variance=variance, psf=kernel, schema_id=schema_id
        )

    return [
        ztf,
        ztf_packet(_fields("ztf"), Stamps(_image(40, 4), None), position=(5.0, 2000.0)),
        deflated(ztf),
        lsst(900),
        lsst(1000),
        lsst(1101),
        lsst(1000, withdrawn_mjd=60101.0),
        with_histories(lsst(1000)),
        ugriz_packet(_fields("ugriz"), small),
    ]


def deflated(packet: bytes) -> bytes:
    """The same record in a deflated container."""
    reader = fastavro.reader(io.BytesIO(packet))
    buffer = io.BytesIO()
    fastavro.writer(buffer, reader.writer_schema, list(reader), codec="deflate", sync_marker=hostile.SYNC)
    return buffer.getvalue()


def with_histories(packet: bytes) -> bytes:
    """The same LSST packet with twenty earlier detections, and without its template, so that all of it is walked."""
    schema = fastavro.parse_schema(bundled_schema(int.from_bytes(packet[1:5], "big")))
    record: Any = fastavro.schemaless_reader(io.BytesIO(packet[5:]), schema, None)
    record["prvDiaSources"] = [record["diaSource"]] * 20
    record["cutoutTemplate"] = None
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, record)
    return packet[:5] + buffer.getvalue()


Mutation = Callable[[random.Random, bytearray, list[bytes]], None]


def _place(chance: random.Random, packet: bytearray) -> int:
    """Anywhere, though as often within the first 300 bytes as after them."""
    return chance.randrange(min(len(packet), chance.choice((300, len(packet)))))


def _flip(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    for _ in range(chance.randint(1, 8)):
        packet[_place(chance, packet)] ^= 1 << chance.randrange(8)


def _overwrite(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    start = _place(chance, packet)
    size = chance.randint(1, 30)
    value = chance.choice((0x00, 0x01, 0x02, 0x7F, 0x80, 0xFE, 0xFF))
    packet[start : start + size] = bytes([value]) * len(packet[start : start + size])


def _number(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    number = hostile.long(chance.choice(NUMBERS))
    start = _place(chance, packet)
    packet[start : start + chance.choice((0, 1, len(number)))] = number


def _cut(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    del packet[_place(chance, packet) :]


def _remove(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    start = _place(chance, packet)
    del packet[start : start + chance.randint(1, 200)]


def _repeat(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    start = _place(chance, packet)
    packet[start:start] = packet[start : start + chance.randint(1, 2000)] * chance.randint(1, 3)


def _splice(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    other = chance.choice(others)
    start = _place(chance, packet)
    packet[start:] = other[chance.randrange(len(other)) :]


def _card(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    """Another value on a FITS card, where the packet has one in plain sight."""
    start = packet.find(chance.choice(CARDS + WCS_CARDS).ljust(8) + b"=")
    if start >= 0:
        packet[start + 10 : start + 30] = chance.choice(VALUES).rjust(20)


def _schema_word(chance: random.Random, packet: bytearray, others: list[bytes]) -> None:
    """Another word in the schema that a container states."""
    names = ("int", "long", "float", "double", "string", "bytes", "null", "record", "array")
    words = [b'"%s"' % name.encode() for name in names]
    word = chance.choice(words)
    places = [at for at in range(min(len(packet), 9000)) if packet.startswith(word, at)]
    if places:
        start = chance.choice(places)
        packet[start : start + len(word)] = chance.choice(words).ljust(len(word))[: len(word)]


MUTATIONS: Final[tuple[Mutation, ...]] = (
    _flip,
    _overwrite,
    _number,
    _cut,
    _remove,
    _repeat,
    _splice,
    _card,
    _schema_word,
)


def mutated_packets(seed: int, count: int) -> Iterator[bytes]:
    """``count`` packets, each one to three mutations away from a sound one; every third of ZTF's below its gzip."""
    chance = random.Random(seed)
    sound = sound_packets()
    for _ in range(count):
        packet = bytearray(chance.choice(sound))
        if packet.startswith(b"Obj\x01") and chance.random() < 0.3:
            packet = bytearray(_below_gzip(chance, bytes(packet)))
        else:
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                if packet:
                    chance.choice(MUTATIONS)(chance, packet, sound)
        yield bytes(packet)


def _below_gzip(chance: random.Random, packet: bytes) -> bytes:
    """The container with damage inside a cutout, compressed again, so that no checksum catches it."""
    reader = fastavro.reader(io.BytesIO(packet))
    record: Any = next(reader)
    cutout = record.get("cutoutScience") or record.get("science")
    field = "stampData" if "stampData" in cutout else "pixels"
    zipped = field == "stampData"
    image = bytearray(gzip.decompress(cutout[field]) if zipped else cutout[field])
    chance.choice((_card, _card, _flip, _cut, _remove, _overwrite))(chance, image, [])
    cutout[field] = gzip.compress(bytes(image), 1) if zipped else bytes(image)
    return _written(reader.writer_schema, record)


def _written(schema: Any, record: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, [record], sync_marker=hostile.SYNC)
    return buffer.getvalue()


def explicit_packets() -> dict[str, bytes]:
    """Attacks by name: hostile Avro, decompression bombs, lying lengths."""
    found = {name: packet for name, (packet, _) in hostile.PACKETS.items()}
    ztf, wire = sound_packets()[0], sound_packets()[4]
    found["gzip bomb"] = _with_stamp(ztf, gzip_bomb(GIGABYTE))
    found["gzip bomb that starts as FITS"] = _with_stamp(ztf, gzip_bomb(GIGABYTE, start=primary_hdu(_image(63, 1))))
    for card in CARDS:
        for value in VALUES:
            image = primary_hdu(_image(63, 1))
            image = with_card(image[:2880], card, value) + image[2880:]
            found[f"{card.decode()} is {value.decode()!r}"] = _with_stamp(ztf, gzip.compress(image, 1))
    for number in NUMBERS:
        found[f"wire body of {number}"] = wire[:5] + hostile.long(number) * 3
        found[f"wire lengths of {number}"] = wire[:200] + hostile.long(number) + wire[200:]
    found["wire without body"] = wire[:5]
    found["wire of four bytes"] = wire[:4]
    found["wire of zeros"] = wire[:5] + bytes(1_000_000)
    found["wire of ones"] = wire[:5] + b"\xff" * 1_000_000
    found["wire of another version"] = b"\x00" + (900).to_bytes(4, "big") + wire[5:]
    found["wire of no known version"] = b"\x00" + (1999).to_bytes(4, "big") + wire[5:]
    found["nothing"] = b""
    found["table of a billion columns"] = _with_extension(wire, {"XTENSION": b"'BINTABLE'", "TFIELDS": b"999999999"})
    tile = {"XTENSION": b"'BINTABLE'", "ZIMAGE": b"T", "ZTILE1": b"999999999", "ZNAXIS": b"999999999"}
    found["compressed image of a billion axes"] = _with_extension(wire, tile)
    found["extension of a billion axes"] = _with_extension(wire, {"NAXIS": b"999999999"})
    found["extension of a billion groups"] = _with_extension(wire, {"PCOUNT": b"999999999", "GCOUNT": b"999999999"})
    return found


def _with_stamp(packet: bytes, stamp: bytes) -> bytes:
    reader = fastavro.reader(io.BytesIO(packet))
    record: Any = next(reader)
    record["cutoutScience"]["stampData"] = stamp
    return _written(reader.writer_schema, record)


def with_card(block: bytes, card: bytes, value: bytes) -> bytes:
    """A header of one block with another value on a card, or with that card before END."""
    written = (b"%-8s= " % card + value.rjust(20)).ljust(80)
    place = block.find(written[:10])
    if place >= 0:
        return block[:place] + written + block[place + 80 :]
    end = block.find(b"END".ljust(80))
    return block[:end] + written + block[end:-80]


def _with_extension(packet: bytes, cards: dict[str, bytes]) -> bytes:
    """The LSST packet with other or more cards in the first extension's header of its science cutout."""
    schema = fastavro.parse_schema(bundled_schema(int.from_bytes(packet[1:5], "big")))
    record: Any = fastavro.schemaless_reader(io.BytesIO(packet[5:]), schema, None)
    image = record["cutoutScience"]
    start = image.find(b"XTENSION")
    block = image[start : start + 2880]
    for card, value in cards.items():
        block = with_card(block, card.encode(), value)
    record["cutoutScience"] = image[:start] + block + image[start + 2880 :]
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, record)
    return packet[:5] + buffer.getvalue()


def gzip_bomb(num_bytes: int, *, start: bytes = b"") -> bytes:
    """A gzip member of ``start`` and zeros: one compressed megabyte, repeated."""
    deflater = zlib.compressobj(9, wbits=31)
    head = deflater.compress(start) + deflater.flush(zlib.Z_FULL_FLUSH)
    piece = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return head + piece * (num_bytes >> 20)
