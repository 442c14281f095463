"""A sequence as one picture: bands as rows, nights as columns, missing = black, masked pixels dark red.

Dimension letters: T nights, B bands, H rows and W columns of a stamp.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.bands import BANDS
from schemas.sequence import PLANES, GridView, StampSequence, grid_view

MASKED_RGB: Final = (96, 22, 34)
# Gray levels of the faintest and the brightest pixel; black is kept for a band that a night lacks.
DARKEST, BRIGHTEST = 26, 255
# The stretch is linear within this many noise levels and logarithmic beyond.
SOFTENING_SIGMA: Final = 3.0
FAINT_PERCENTILE, BRIGHT_PERCENTILE = 1.0, 99.8
MIN_RANGE: Final = 1e-6


def picture_bands(sequence: StampSequence) -> tuple[str, ...]:
    """Rows of the picture: u g r i z, and y where it was observed."""
    return BANDS if sequence.frames_per_band["y"] else BANDS[:5]


def sequence_grid(sequence: StampSequence, plane: str) -> tuple[GridView, NDArray[np.uint8]]:
    """The grid view of a plane and its picture, uint8 RGB [B * H, T * W, 3]."""
    grid = grid_view(sequence, plane=plane, bands=picture_bands(sequence))
    num_nights, num_bands, height, width = grid.images_TBHW.shape
    gray = np.zeros(grid.images_TBHW.shape, np.uint8)
    noise = _band_noise(sequence, plane, grid.bands)
    for column in range(num_bands):
        shown = grid.valid_TBHW[:, column] & grid.observed_TB[:, column, None, None]
        if shown.any():
            stretched = np.arcsinh(grid.images_TBHW[:, column] / (SOFTENING_SIGMA * noise[column]))
            gray[:, column] = _gray(stretched, stretched[shown])
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    rgb[~grid.valid_TBHW & grid.observed_TB[:, :, None, None]] = MASKED_RGB
    rgb[~grid.observed_TB] = 0
    picture = rgb.transpose(1, 2, 0, 3, 4).reshape(num_bands * height, num_nights * width, 3)
    return grid, np.ascontiguousarray(picture)


def _band_noise(sequence: StampSequence, plane: str, bands: tuple[str, ...]) -> list[float]:
    """Median noise of a pixel of each band, nJy; 1 where it is unknown."""
    noise_L = sequence.noise_LP[:, PLANES.index(plane)]
    levels = []
    for band in bands:
        known = noise_L[(sequence.band_L == BANDS.index(band) + 1) & (noise_L > 0)]
        levels.append(float(np.median(known)) if known.size else 1.0)
    return levels


def _gray(stretched: NDArray[np.float32], shown: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(shown, (FAINT_PERCENTILE, BRIGHT_PERCENTILE))
    share = np.clip((stretched - low) / max(float(high - low), MIN_RANGE), 0.0, 1.0)
    return np.asarray(DARKEST + share * (BRIGHTEST - DARKEST)).round().astype(np.uint8)


def png_bytes(rgb: NDArray[np.uint8]) -> bytes:
    """A PNG of uint8 RGB [rows, columns, 3] (ISO/IEC 15948: signature, IHDR, IDAT with filter 0, IEND)."""
    rows, columns, _ = rgb.shape
    scanlines = np.zeros((rows, 1 + columns * 3), np.uint8)
    scanlines[:, 1:] = rgb.reshape(rows, -1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(scanlines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
