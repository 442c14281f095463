"""ZTF packets, from bytes to calibrated stamps, on real alerts."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from schemas.cuts import Cuts
from schemas.decode import PacketDecoder
from schemas.errors import DeadLetterReason, FilterReason, PacketError
from schemas.fits import gunzip, read_image
from schemas.observation import Observation
from schemas.outcome import Filtered, Stamped

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
def test_aperture_flux_reproduces_magpsf(supernova: list[bytes]) -> None:
    """The median over SN 2021rhu of aperture flux over the packet's flux is within 0.1 mag."""
    rows, columns = np.mgrid[:32, :32]
    aperture = (rows - 16) ** 2 + (columns - 16) ** 2 < 8**2
    observations = [observe(payload) for payload in supernova]
    assert len(observations) == 34
    assert sorted(o.band for o in observations) == ["g"] * 18 + ["r"] * 16
    ratios = [o.difference.pixels[aperture].sum() / o.diff_flux_njy for o in observations]
    assert abs(2.5 * math.log10(float(np.median(ratios)))) < 0.1


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
