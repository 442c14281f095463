"""The table of surveys: one small module and one line each."""

from __future__ import annotations

from typing import Final

from schemas.surveys.base import Survey
from schemas.surveys.ztf import ZTF

SURVEYS: Final[tuple[Survey, ...]] = (ZTF,)
