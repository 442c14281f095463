"""A fast reader of the FITS images that alert packets carry; astropy is its oracle in tests and its fallback.

FITS standard 4.0: cards of 80 bytes in blocks of 2,880, big-endian data. Read here: a primary image of BITPIX -32 or
-64 without scaling, gzipped or not. Anything else goes to astropy, which is 5 to 10 times slower.
"""

from __future__ import annotations

import io
import warnings
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DeadLetterReason, PacketError, Stage

BLOCK: Final = 2880
CARD: Final = 80
MAX_SIDE: Final = 512
# three planes of float64 at the largest side, and headers
MAX_BYTES: Final = 3 * 8 * MAX_SIDE * MAX_SIDE + 16 * BLOCK
GZIP_MAGIC: Final = b"\x1f\x8b"
_DTYPES: Final = {b"-32": ">f4", b"-64": ">f8"}


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


def read_image(data: bytes) -> NDArray[np.float32]:
    """The primary image as float32 [rows, columns], native byte order; PacketError when there is none.

    ``data`` may be gzipped. NaN pixels stay NaN.
    """
    if data[:2] == GZIP_MAGIC:
        data = gunzip(data)
    elif len(data) > MAX_BYTES:
        raise _fault(DeadLetterReason.TOO_LARGE, f"FITS of {len(data)} bytes")
    if data[:6] != b"SIMPLE":
        raise _fault(DeadLetterReason.NOT_FITS, f"starts with {data[:8].hex() or 'nothing'}")
    image = _read_plain(data)
    return _read_with_astropy(data) if image is None else image


def _read_plain(data: bytes) -> NDArray[np.float32] | None:
    """The image when its header is of the plain kind, None when astropy should look at it."""
    cards: dict[bytes, bytes] = {}
    for start in range(0, min(len(data), 4 * BLOCK), CARD):
        keyword = data[start : start + 8].rstrip()
        if keyword == b"END":
            end = start + CARD
            break
        cards[keyword] = data[start + 10 : start + CARD].partition(b"/")[0].strip()
    else:
        return None
    dtype = _DTYPES.get(cards.get(b"BITPIX", b""))
    if dtype is None or cards.get(b"NAXIS") != b"2" or b"BSCALE" in cards or b"BZERO" in cards:
        return None
    try:
        columns, rows = int(cards[b"NAXIS1"]), int(cards[b"NAXIS2"])
    except (KeyError, ValueError):
        return None
    if not (1 <= columns <= MAX_SIDE and 1 <= rows <= MAX_SIDE):
        raise _fault(DeadLetterReason.TOO_LARGE, f"image of {columns} x {rows} pixels, at most {MAX_SIDE} a side")
    start = -(-end // BLOCK) * BLOCK
    count = rows * columns
    if len(data) < start + count * np.dtype(dtype).itemsize:
        raise _fault(DeadLetterReason.BAD_FITS, f"{len(data) - start} bytes of data for {columns} x {rows} pixels")
    return np.frombuffer(data, dtype, count, start).reshape(rows, columns).astype(np.float32)


def _read_with_astropy(data: bytes) -> NDArray[np.float32]:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what astropy can mend, it mends; what it cannot, it raises
            with fits.open(io.BytesIO(data), memmap=False) as hdus:
                header = hdus[0].header
                shape = tuple(header.get(f"NAXIS{axis}", 0) for axis in range(1, int(header.get("NAXIS", 0)) + 1))
                if len(shape) != 2 or not all(1 <= side <= MAX_SIDE for side in shape):
                    raise _fault(DeadLetterReason.BAD_FITS, f"image axes {shape}, expected two of 1 to {MAX_SIDE}")
                return np.array(hdus[0].data, np.float32)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError) as error:
        raise _fault(DeadLetterReason.BAD_FITS, f"{type(error).__name__}: {error}") from error
