"""Photometric bands and the integer ids that stand for them everywhere.

Ids are 1..6 for u g r i z y; 0 is kept for padding, so a padded frame can never be read as u band.
"""

from __future__ import annotations

from typing import Final

BANDS: Final[tuple[str, ...]] = ("u", "g", "r", "i", "z", "y")
PADDING_BAND_ID: Final = 0
BAND_IDS: Final[dict[str, int]] = {band: index for index, band in enumerate(BANDS, start=1)}
NUM_BAND_IDS: Final = len(BANDS) + 1


def band_id(band: str) -> int:
    """Id 1..6 of a band name; ValueError names the band when it is not one of u g r i z y."""
    try:
        return BAND_IDS[band]
    except KeyError:
        raise ValueError(f"unknown band {band!r}: expected one of {', '.join(BANDS)}") from None


def band_name(identifier: int) -> str:
    """Band name of an id 1..6; ValueError for padding or anything else."""
    if not 1 <= identifier <= len(BANDS):
        raise ValueError(f"unknown band id {identifier}: expected 1..{len(BANDS)}")
    return BANDS[identifier - 1]
