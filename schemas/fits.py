"""A fast reader of the FITS images that alert packets carry; astropy is its oracle in tests and its fallback.

FITS standard 4.0: cards of 80 bytes in blocks of 2,880, big-endian data. Read here: images, primary or extension,
of BITPIX -32 or -64 without scaling, gzipped or not. Anything else goes to astropy, which is 5 to 10 times slower.
"""

from __future__ import annotations

import io
import math
import re
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DeadLetterReason, PacketError, Stage

BLOCK: Final = 2880
CARD: Final = 80
MAX_SIDE: Final = 512
# three planes of float64 at the largest side, and headers
MAX_BYTES: Final = 3 * 8 * MAX_SIDE * MAX_SIDE + 16 * BLOCK
GZIP_MAGIC: Final = b"\x1f\x8b"
MAX_HEADER_BLOCKS: Final = 4
NUM_CACHED_HEADERS: Final = 256
IMAGE_EXTENSION: Final = "IMAGE"
_DTYPES: Final = {"-32": ">f4", "-64": ">f8"}

_MANY_AXES: Final = re.compile(rb"NAXIS *= *\+?0*[1-9]\d", re.IGNORECASE)
_ASTROPY_ERRORS: Final = (OSError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError)


def _fault(reason: DeadLetterReason, detail: str) -> PacketError:
    return PacketError(reason, Stage.CUTOUT, detail)


def gunzip(data: bytes, *, limit: int = MAX_BYTES) -> bytes:
    """A gzip member's content, checked (CRC and length) and bounded; PacketError bad_gzip or too_large."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        content = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise _fault(DeadLetterReason.BAD_GZIP, str(error)) from error
    if len(content) > limit:
        raise _fault(DeadLetterReason.TOO_LARGE, f"gzip member of more than {limit} bytes")
    if not inflater.eof:
        raise _fault(DeadLetterReason.BAD_GZIP, "gzip member is cut short")
    return content


@dataclass(frozen=True, slots=True)
class ImageHdu:
    """One image. pixels: float32 or float64 [rows, columns], native byte order; cards: keyword -> value as stored."""

    pixels: NDArray[Any]
    cards: Mapping[str, str]

    def number(self, keyword: str) -> float | None:
        """A card's finite number; None when it is absent or is none."""
        text = self.cards.get(keyword, "").replace("D", "E")
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) else None


def read_image(data: bytes) -> NDArray[np.float32]:
    """The primary image as float32 [rows, columns], native byte order; PacketError when there is none.

    ``data`` may be gzipped. NaN pixels stay NaN.
    """
    return read_hdus(data, limit=1)[0].pixels.astype(np.float32, copy=False)


def read_hdus(data: bytes, *, limit: int) -> list[ImageHdu]:
    """The first images of a FITS file, at least the primary one and at most ``limit``; PacketError when damaged.

    ``data`` may be gzipped. NaN pixels stay NaN.
    """
    if data[:2] == GZIP_MAGIC:
        data = gunzip(data)
    elif len(data) > MAX_BYTES:
        raise _fault(DeadLetterReason.TOO_LARGE, f"FITS of {len(data)} bytes")
    if data[:6] != b"SIMPLE":
        raise _fault(DeadLetterReason.NOT_FITS, f"starts with {data[:8].hex() or 'nothing'}")
    hdus = _read_plain(data, limit)
    return _read_with_astropy(data, limit) if hdus is None else hdus


@dataclass(frozen=True, slots=True)
class _Header:
    """Of the plain kind: what the data are, and the cards."""

    dtype: str
    rows: int
    columns: int
    cards: Mapping[str, str]


def _read_plain(data: bytes, limit: int) -> list[ImageHdu] | None:
    """The images when all headers are of the plain kind, None when astropy should look at them."""
    hdus: list[ImageHdu] = []
    start = 0
    while len(hdus) < limit and (start < len(data) or not hdus):
        header, start = _header_at(data, start)
        if header is None:
            return None
        count = header.rows * header.columns
        size = count * np.dtype(header.dtype).itemsize
        if len(data) < start + size:
            detail = f"{len(data) - start} bytes of data for {header.columns} x {header.rows} pixels"
            raise _fault(DeadLetterReason.BAD_FITS, detail)
        stored = np.frombuffer(data, header.dtype, count, start).reshape(header.rows, header.columns)
        hdus.append(ImageHdu(stored.astype(stored.dtype.newbyteorder("=")), header.cards))
        start += -(-size // BLOCK) * BLOCK
    return hdus


def _header_at(data: bytes, start: int) -> tuple[_Header | None, int]:
    """The header that begins at ``start``, None when it is not plain; and where its data begin."""
    for num_blocks in range(1, MAX_HEADER_BLOCKS + 1):
        end = start + num_blocks * BLOCK
        cards = _cards(data[start:end])
        if cards is not None:
            return _plain_header(cards), end
    return None, start


@lru_cache(maxsize=NUM_CACHED_HEADERS)
def _cards(header: bytes) -> Mapping[str, str] | None:
    """keyword -> value up to END; None when there is no END. A packet's cutouts repeat headers, hence the cache."""
    cards: dict[str, str] = {}
    for start in range(0, len(header), CARD):
        card = header[start : start + CARD].decode("latin-1")
        keyword = card[:8].rstrip()
        if keyword == "END":
            return cards
        cards[keyword] = card[10:].partition("/")[0].strip()
    return None


def _plain_header(cards: Mapping[str, str]) -> _Header | None:
    dtype = _DTYPES.get(cards.get("BITPIX", ""))
    if dtype is None or cards.get("NAXIS") != "2" or "BSCALE" in cards or "BZERO" in cards:
        return None
    if cards.get("XTENSION", IMAGE_EXTENSION).strip("' ") != IMAGE_EXTENSION or cards.get("PCOUNT", "0") != "0":
        return None
    try:
        columns, rows = int(cards["NAXIS1"]), int(cards["NAXIS2"])
    except (KeyError, ValueError):
        return None
    if not (1 <= columns <= MAX_SIDE and 1 <= rows <= MAX_SIDE):
        raise _fault(DeadLetterReason.TOO_LARGE, f"image of {columns} x {rows} pixels, at most {MAX_SIDE} a side")
    return _Header(dtype, rows, columns, cards)


def _read_with_astropy(data: bytes, limit: int) -> list[ImageHdu]:
    from astropy.io import fits

    if _MANY_AXES.search(data):  # astropy asks for each axis in turn, a billion of them if so told
        raise _fault(DeadLetterReason.BAD_FITS, "ten or more axes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what astropy can mend, it mends; what it cannot, it raises
            with fits.open(io.BytesIO(data), memmap=False, disable_image_compression=True) as hdus:
                return [_from_astropy(hdu) for hdu in hdus[:limit]]
    except (*_ASTROPY_ERRORS, fits.VerifyError) as error:
        raise _fault(DeadLetterReason.BAD_FITS, f"{type(error).__name__}: {error}") from error


def _from_astropy(hdu: Any) -> ImageHdu:
    header = hdu.header
    if not hdu.is_image:
        raise _fault(DeadLetterReason.BAD_FITS, f"a {type(hdu).__name__} where an image is expected")
    shape = tuple(header.get(f"NAXIS{axis}", 0) for axis in range(1, int(header.get("NAXIS", 0)) + 1))
    if len(shape) != 2 or not all(1 <= side <= MAX_SIDE for side in shape):
        raise _fault(DeadLetterReason.BAD_FITS, f"image axes {shape}, expected two of 1 to {MAX_SIDE}")
    kind = np.float64 if header.get("BITPIX") == -64 else np.float32
    return ImageHdu(np.array(hdu.data, kind), {key: str(header[key]) for key in header if key})
