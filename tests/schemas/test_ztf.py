"""ZTF packets, from bytes to calibrated stamps, on real alerts."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from schemas.cuts import Cuts
from schemas.decode import PacketDecoder
from schemas.errors import DeadLetterReason, FilterReason, PacketError
from schemas.fits import gunzip, read_image
from schemas.observation import Observation
from schemas.outcome import Filtered, Stamped
from schemas.surveys.ztf import ZTF
from schemas.wire import PacketReader

SN_2021RHU = "ztf/mwvgroup+Pitt-Google-Broker/SuperNNova/ZTF21abiuvdk"


@pytest.fixture
def supernova(sample_data: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((sample_data / SN_2021RHU).iterdir())]


def observe(payload: bytes) -> Observation:
    outcome = PacketDecoder().decode(payload)
    assert isinstance(outcome, Stamped)
    assert isinstance(outcome.fact, Observation)
    return outcome.fact


@pytest.mark.data
def test_damage_is_named(supernova: list[bytes]) -> None:
    """Truncated, foreign and empty messages end in a PacketError with the right reason."""
    expected = {
        b"": DeadLetterReason.EMPTY,
        b"hello": DeadLetterReason.UNKNOWN_FRAMING,
        supernova[0][:-100]: DeadLetterReason.BAD_CONTAINER,
        supernova[0][:40]: DeadLetterReason.BAD_SCHEMA,
    }
    for payload, reason in expected.items():
        with pytest.raises(PacketError) as error:
            PacketDecoder().decode(payload)
        assert error.value.reason is reason


@pytest.mark.data
def test_cuts_are_counted_by_reason(supernova: list[bytes]) -> None:
    """A packet of another program is filtered with its reason, and its cutouts are not touched."""
    outcome = PacketDecoder(cuts=Cuts(programids=frozenset({2}))).decode(supernova[0])
    assert isinstance(outcome, Filtered)
    assert outcome.reason is FilterReason.PROGRAMID


@pytest.mark.data
def test_stamp_log_bytes_repeat(supernova: list[bytes]) -> None:
    """Decoding a packet twice gives the same stamp-log value."""
    assert observe(supernova[0]).to_bytes() == observe(supernova[0]).to_bytes()


def test_gzip_is_bounded_and_checked() -> None:
    """A decompression bomb, a cut member and a flipped bit are refused, each with its reason."""
    data = gzip.compress(bytes(10_000_000))
    with pytest.raises(PacketError, match="too_large"):
        gunzip(data, limit=1_000_000)
    with pytest.raises(PacketError, match="bad_gzip"):
        gunzip(data[:-9], limit=20_000_000)
    damaged = bytearray(data)
    damaged[-6] ^= 1
    with pytest.raises(PacketError, match="bad_gzip"):
        gunzip(bytes(damaged), limit=20_000_000)


def test_no_fits_is_named() -> None:
    """A JPEG in place of a FITS image is not_fits."""
    with pytest.raises(PacketError, match="not_fits"):
        read_image(b"\xff\xd8\xff\xe0" + bytes(100))


@pytest.mark.data
def test_subtraction_of_unknown_sign_is_refused(sample_data: Path) -> None:
    """A candidate that does not say which way it was subtracted is a bad field: a sign is never guessed."""
    path = next(iter(sorted((sample_data / SN_2021RHU).iterdir())))
    record = PacketReader().read(path.read_bytes())
    for value in (None, "x", 2):
        candidate = record.record["candidate"] | {"isdiffpos": value}
        changed = {**record.record, "candidate": candidate}
        with pytest.raises(PacketError, match="isdiffpos") as error:
            ZTF.read_observation(changed, ZTF.read_header(changed, "ztf.alert"), False)  # type: ignore[misc]
        assert error.value.reason is DeadLetterReason.BAD_FIELD
