"""Which split an object or a template belongs to: a keyed hash of its name, so that it never changes.

An object and every template it was drawn from are of one split. Names of splits: fold0 .. fold4 (training),
calibration, test.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

FOLDS: Final = ("fold0", "fold1", "fold2", "fold3", "fold4")
CALIBRATION: Final = "calibration"
TEST: Final = "test"
SPLITS: Final = (*FOLDS, CALIBRATION, TEST)
CALIBRATION_PERCENT: Final = 10
TEST_PERCENT: Final = 20
_KEY: Final = b"convention-splits-1"


def split_of(name: str) -> str:
    """The split of a name, e.g. ``rr_lyrae:4099``: 20% test, 10% calibration, the rest shared by the folds."""
    number = int.from_bytes(blake2b(name.encode(), digest_size=8, key=_KEY).digest(), "big")
    percent = number % 100
    if percent < TEST_PERCENT:
        return TEST
    if percent < TEST_PERCENT + CALIBRATION_PERCENT:
        return CALIBRATION
    return FOLDS[(number // 100) % len(FOLDS)]
