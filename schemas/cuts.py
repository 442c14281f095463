"""Cuts: which sound packets are left out on purpose, each with its counted reason."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import FilterReason
from schemas.surveys.base import PacketHeader


@dataclass(frozen=True, slots=True)
class SkyBox:
    """Degrees, ICRS, bounds included; ra_min > ra_max wraps through 0."""

    ra_min: float
    ra_max: float
    dec_min: float
    dec_max: float

    def holds(self, ra: float, dec: float) -> bool:
        """Whether a position lies in the box."""
        if not self.dec_min <= dec <= self.dec_max:
            return False
        if self.ra_min <= self.ra_max:
            return self.ra_min <= ra <= self.ra_max
        return ra >= self.ra_min or ra <= self.ra_max


@dataclass(frozen=True, slots=True)
class Cuts:
    """programids: let through (None = all; a packet without one passes). min_reliability: None = no cut; a packet
    without a score fails a cut that is set."""

    programids: frozenset[int] | None = frozenset({1})
    min_reliability: float | None = None
    reject_moving: bool = True
    sky_box: SkyBox | None = None

    def reason(self, header: PacketHeader) -> FilterReason | None:
        """The first cut that a packet fails, None when it passes all."""
        if self.programids is not None and header.programid is not None and header.programid not in self.programids:
            return FilterReason.PROGRAMID
        if self.reject_moving and header.is_moving:
            return FilterReason.MOVING_OBJECT
        if self.min_reliability is not None and (
            header.reliability is None or header.reliability < self.min_reliability
        ):
            return FilterReason.RELIABILITY
        if self.sky_box is not None and not self.sky_box.holds(header.ra, header.dec):
            return FilterReason.SKY
        return None
