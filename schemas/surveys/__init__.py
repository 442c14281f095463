"""The table of surveys: one small module and one line each."""

from __future__ import annotations

from typing import Final

from schemas.surveys.atlas import ATLAS
from schemas.surveys.base import Survey
from schemas.surveys.decam import DECAM
from schemas.surveys.lsst import LSST
from schemas.surveys.ugriz import UGRIZ
from schemas.surveys.ztf import ZTF

SURVEYS: Final[tuple[Survey, ...]] = (ZTF, LSST, UGRIZ, ATLAS, DECAM)
