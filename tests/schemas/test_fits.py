"""The FITS reader: astropy is its oracle, and what it does not know goes to astropy."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DeadLetterReason, PacketError
from schemas.fits import read_hdus, read_image
from tests.schemas.lsst_packets import cutout

PIXELS = np.random.default_rng(3).normal(size=(30, 31))


def written(*hdus: fits.PrimaryHDU | fits.ImageHDU) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer)
    return buffer.getvalue()


@settings(deadline=None, max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    bits=st.sampled_from([np.float32, np.float64, np.int16, np.uint8]),
    extension_bits=st.sampled_from([np.float32, np.float64, np.int32]),
    num_cards=st.integers(0, 80),
    zipped=st.booleans(),
)
def test_images_are_astropys(
    shape: tuple[int, int], bits: type, extension_bits: type, num_cards: int, *, zipped: bool
) -> None:
    """Whatever the pixel types, header lengths and compression, the images are those astropy reads, as floats."""
    images = [np.arange(shape[0] * shape[1]).reshape(shape).astype(kind) for kind in (bits, extension_bits)]
    primary, extension = fits.PrimaryHDU(images[0]), fits.ImageHDU(images[1], name="UNCERT")
    primary.header.update({f"CARD{index}": index / 7 for index in range(num_cards)})
    data = written(primary, extension)
    found = read_hdus(gzip.compress(data) if zipped else data, limit=3)
    assert len(found) == 2
    for hdu, image in zip(found, images, strict=True):
        np.testing.assert_array_equal(hdu.pixels, image)
        assert hdu.pixels.dtype.isnative
    assert [found[0].number(f"CARD{index}") for index in range(num_cards)] == [
        pytest.approx(index / 7) for index in range(num_cards)
    ]
    np.testing.assert_array_equal(read_image(data), images[0].astype(np.float32))


def test_a_cutouts_three_images() -> None:
    """Image, variance and PSF of a cutout come in this order, the PSF in double precision."""
    image, variance, psf = read_hdus(cutout(PIXELS, column=14.0, row=15.0), limit=3)
    np.testing.assert_array_equal(image.pixels, PIXELS.astype(np.float32))
    assert (variance.pixels.dtype, psf.pixels.dtype) == (np.float32, np.float64)
    assert (image.number("CRPIX1"), image.number("BUNIT"), image.number("NONE")) == (15.0, None, None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", DeadLetterReason.NOT_FITS),
        (cutout(PIXELS, column=1.0, row=1.0)[:3000], DeadLetterReason.BAD_FITS),
        (cutout(PIXELS, column=1.0, row=1.0)[:-3000], DeadLetterReason.BAD_FITS),
        (b"SIMPLE  =                    T", DeadLetterReason.BAD_FITS),
        (written(fits.PrimaryHDU()), DeadLetterReason.BAD_FITS),
        (written(fits.PrimaryHDU(np.zeros((2, 600), np.float32))), DeadLetterReason.TOO_LARGE),
        (b"SIMPLE" + bytes(20_000_000), DeadLetterReason.TOO_LARGE),
    ],
    ids=["nothing", "cut image", "cut psf", "cut header", "no image", "wide", "long"],
)
def test_damage_is_named(data: bytes, reason: DeadLetterReason) -> None:
    """Each kind of damage ends in a PacketError of its reason."""
    with pytest.raises(PacketError) as caught:
        read_hdus(data, limit=3)
    assert caught.value.reason is reason
