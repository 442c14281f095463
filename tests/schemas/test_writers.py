"""Packets written are packets read: every writer against its survey's decoder and against real packets' structure."""

from __future__ import annotations

import gzip
import io
import struct
from dataclasses import replace
from pathlib import Path

import fastavro
import numpy as np
import pytest
from astropy.io import fits

from schemas.avro import read_container
from schemas.decode import PacketDecoder
from schemas.observation import Observation, Withdrawal
from schemas.outcome import Stamped
from schemas.surveys.lsst_wire import BUNDLED, bundled_schema
from schemas.surveys.ugriz import SCHEMA_NAME, UGRIZ
from schemas.timescales import tai_to_utc_mjd, utc_to_tai_mjd
from schemas.wire import PacketReader
from schemas.writers.alert import AlertFields, Stamps
from schemas.writers.lsst import Pointing, lsst_packet
from schemas.writers.ugriz import ugriz_packet
from schemas.writers.ztf import ztf_packet

FIELDS = AlertFields(
    object_id="313985345528004656",
    source_id="170112044635258891",
    mjd=61109.145,
    band="g",
    ra=149.0066,
    dec=1.4058,
    flux_njy=55473.0,
    flux_err_njy=655.0,
    psf_fwhm_arcsec=1.3,
    reliability=0.75,
)
REAL_LSST = "lsst/astrolabsoftware+fink-tutorials/converted/ftransfer_lsst_2026-03-10.v10_0.avro"


def stamps(side: int, *, seed: int = 1) -> Stamps:
    random = np.random.default_rng(seed)
    science, difference, template = random.normal(100.0, 20.0, (3, side, side)).astype(np.float32)
    return Stamps(science=science, difference=difference, template=template)


def lsst_bytes(
    fields: AlertFields = FIELDS, *, side: int = 31, schema_id: int = 1000, images: Stamps | None = None
) -> bytes:
    pointing = Pointing(rotation_deg=44.579, column=15.337, row=14.839)
    variance = np.full((side, side), 400.0, np.float32)
    psf = np.full((15, 15), 1 / 225)
    return lsst_packet(fields, images or stamps(side), pointing, variance=variance, psf=psf, schema_id=schema_id)


def stamped(payload: bytes) -> Observation:
    outcome = PacketDecoder().decode(payload)
    assert isinstance(outcome, Stamped)
    assert isinstance(outcome.fact, Observation)
    return outcome.fact


def test_ztf_round_trip() -> None:
    """A ZTF packet says on decoding what was written: identity, time, flux, and the pixels around the middle."""
    fields = replace(FIELDS, object_id="ZTF21abiuvdk", psf_fwhm_arcsec=2.02)
    images = stamps(63)
    seen = stamped(ztf_packet(fields, images))
    assert (seen.object_id, seen.source_id, seen.band) == (fields.object_id, fields.source_id, "g")
    assert seen.mjd == pytest.approx(fields.mjd, abs=1e-8)
    assert seen.diff_flux_njy == pytest.approx(fields.flux_njy, rel=1e-6)
    assert seen.diff_flux_err_njy == pytest.approx(fields.flux_err_njy, rel=1e-6)
    assert seen.psf_fwhm_arcsec == pytest.approx(2.02)
    assert images.difference is not None
    np.testing.assert_allclose(seen.difference.pixels, images.difference[15:47, 15:47], rtol=1e-5)


def test_ztf_negative_subtraction_is_written_as_ztf_does() -> None:
    """A faded source's packet holds reference minus science, positive; decoded, plane and flux are negative."""
    source = np.zeros((63, 63), np.float32)
    source[31, 31] = -500.0
    payload = ztf_packet(replace(FIELDS, flux_njy=-500.0), Stamps(-source, source))
    (record,) = fastavro.reader(io.BytesIO(payload))
    assert record["candidate"]["isdiffpos"] == "f"
    pixels = fits.getdata(io.BytesIO(gzip.decompress(record["cutoutDifference"]["stampData"])))
    assert pixels[31, 31] > 0
    seen = stamped(payload)
    assert seen.diff_flux_njy == pytest.approx(-500.0)
    assert seen.difference.pixels[16, 16] == pytest.approx(-500.0)
    assert seen.science.pixels[16, 16] == pytest.approx(500.0)


def test_ztf_edge_stamp_is_placed_by_its_position() -> None:
    """A stamp cut short at the chip's low edge, written with its position, is masked where the chip ends."""
    image = np.ones((63, 40), np.float32)
    seen = stamped(ztf_packet(FIELDS, Stamps(image, image), position=(9.0, 500.0)))
    assert seen.difference.valid[:, 8:].all()
    assert not seen.difference.valid[:, :8].any()


def test_ztf_refuses_what_its_packets_cannot_say() -> None:
    """A withdrawal and a band that ZTF lacks are the caller's mistakes, named."""
    with pytest.raises(ValueError, match="no withdrawal"):
        ztf_packet(replace(FIELDS, withdrawn_mjd=61200.0), stamps(63))
    with pytest.raises(ValueError, match="no z band"):
        ztf_packet(replace(FIELDS, band="z"), stamps(63))


def test_ugriz_round_trip() -> None:
    """A ugriz packet says on decoding what was written; NaN pixels are masked."""
    images = stamps(32)
    assert images.difference is not None
    images.difference[:, :5] = np.nan
    packet = read_container(ugriz_packet(FIELDS, images, noise_njy=20.0, night_mjd=61108))
    assert packet.schema_name == SCHEMA_NAME
    seen = UGRIZ.read_observation(packet.record, UGRIZ.read_header(packet.record, SCHEMA_NAME), False)  # type: ignore[misc]
    assert (seen.source_id, seen.mjd, seen.night) == (FIELDS.source_id, FIELDS.mjd, 61108)
    assert (seen.diff_flux_njy, seen.difference.noise_njy) == (FIELDS.flux_njy, 20.0)
    assert seen.difference.num_valid == 32 * 27
    np.testing.assert_array_equal(seen.difference.pixels[:, 5:], images.difference[:, 5:])


def test_ugriz_withdrawal() -> None:
    """The time of a withdrawal reaches the packet's header."""
    record = read_container(ugriz_packet(replace(FIELDS, withdrawn_mjd=61200.5), stamps(32))).record
    assert UGRIZ.read_header(record, SCHEMA_NAME).withdrawn_mjd == 61200.5


@pytest.mark.parametrize("schema_id", [number for number in BUNDLED if number >= 900])
@pytest.mark.parametrize("side", [30, 102])
def test_lsst_packet_is_read_under_its_schema(schema_id: int, side: int) -> None:
    """Whole and by its ends, a packet gives back its fields and, by astropy, its pixels, variance and WCS."""
    fields = replace(FIELDS, withdrawn_mjd=61200.25)
    payload = lsst_bytes(fields, side=side, schema_id=schema_id)
    assert payload[:5] == b"\x00" + struct.pack(">I", schema_id)
    schema = fastavro.parse_schema(bundled_schema(schema_id))  # type: ignore[arg-type]
    whole = fastavro.schemaless_reader(io.BytesIO(payload[5:]), schema, None)
    ends = PacketReader().read(payload).record
    assert isinstance(whole, dict)
    assert ends["diaSource"]["diaSourceId"] == whole["diaSource"]["diaSourceId"] == int(fields.source_id)
    assert whole["diaSource"]["timeWithdrawnMjdTai"] == 61200.25
    for name in ("science", "difference", "template"):
        assert ends[f"cutout{name.capitalize()}"] == whole[f"cutout{name.capitalize()}"]
        with fits.open(io.BytesIO(whole[f"cutout{name.capitalize()}"])) as hdus:
            np.testing.assert_array_equal(hdus[0].data, getattr(stamps(side), name))
            assert (hdus["UNCERT"].data == 400.0).all()
            assert hdus["PSFIMAGE"].data.shape == (15, 15)


def test_lsst_round_trip() -> None:
    """An LSST packet says on decoding what was written; a source off the middle of a rotated stamp is put back."""
    images = stamps(31)
    assert images.difference is not None
    images.difference[:] = 0.0
    images.difference[14:17, 14:17] = 5000.0
    seen = stamped(lsst_bytes(images=images))
    assert (seen.object_id, seen.source_id, seen.mjd) == (FIELDS.object_id, FIELDS.source_id, FIELDS.mjd)
    assert (seen.diff_flux_njy, seen.diff_flux_err_njy, seen.reliability) == (55473.0, 655.0, 0.75)
    assert seen.rotation_deg == pytest.approx(44.579, abs=1e-3)
    peak = np.argwhere(seen.difference.pixels > 2500.0).mean(axis=0)
    # the block's middle is (15, 15) in native pixels, the source (14.839, 15.337): 0.37 px away, in any direction
    assert np.hypot(*(peak - 15.5)) < 1.0
    assert 0 < seen.science.noise_njy < 20.1


def test_lsst_withdrawal_becomes_one() -> None:
    """The packet that takes a source back decodes to a withdrawal of that source."""
    outcome = PacketDecoder().decode(lsst_bytes(replace(FIELDS, withdrawn_mjd=61200.25)))
    assert isinstance(outcome, Stamped)
    assert isinstance(outcome.fact, Withdrawal)
    assert (outcome.fact.source_id, outcome.fact.withdrawn_mjd) == (FIELDS.source_id, 61200.25)


@pytest.mark.data
def test_lsst_cutout_is_built_as_real_ones(sample_data: Path) -> None:
    """The same HDUs, header keywords in the same order, value types and pixel types as a real packet's cutout."""
    with (sample_data / REAL_LSST).open("rb") as stream:
        real = next(iter(fastavro.reader(stream)))
    ends = PacketReader().read(lsst_bytes()).record
    assert isinstance(real, dict)
    with (
        fits.open(io.BytesIO(real["cutoutScience"])) as theirs,
        fits.open(io.BytesIO(ends["cutoutScience"])) as ours,
    ):
        assert [hdu.name for hdu in ours] == [hdu.name for hdu in theirs]
        for our, their in zip(ours, theirs, strict=True):
            assert list(our.header) == list(their.header)
            assert [type(value) for value in our.header.values()] == [type(value) for value in their.header.values()]
            assert our.data.dtype == their.data.dtype
        real_source, header = real["diaSource"], theirs[0].header
        angle = np.deg2rad(header["ROTPA"])
        # what the writer's docstring says of real packets
        assert header["CRPIX1"] == pytest.approx(real_source["x"] - header["CUTMINX"], abs=1e-3)
        assert header["PC1_2"] == pytest.approx(np.sin(angle) * 0.2 / 3600, rel=0.02)
        assert header["PC1_1"] == pytest.approx(-np.cos(angle) * 0.2 / 3600, rel=0.02)


def test_time_scales_invert_each_other() -> None:
    """UTC to TAI and back, on both sides of every leap second since 1999."""
    for mjd in (51179.5, 53735.9999, 53736.0001, 56108.99, 57204.0, 57753.5, 60000.25):
        assert tai_to_utc_mjd(utc_to_tai_mjd(mjd)) == pytest.approx(mjd, abs=1e-9)


def test_bytes_are_a_function_of_what_is_written() -> None:
    """The same fields and stamps give the same bytes, in all three formats."""
    for write in (
        lsst_bytes,
        lambda: ztf_packet(FIELDS, stamps(63)),
        lambda: ugriz_packet(FIELDS, stamps(32)),
    ):
        assert write() == write()
