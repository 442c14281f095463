"""Which packets of an archive are replayed: by date, object, position and survey, from the cheap fields."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.surveys.base import PacketHeader


@dataclass(frozen=True, slots=True)
class Cone:
    """A circle on the sky, degrees ICRS; the rim is included."""

    ra: float
    dec: float
    radius_deg: float

    def holds(self, ra: float, dec: float) -> bool:
        """Whether a position is within the radius, along the great circle."""
        a, b = math.radians(self.dec), math.radians(dec)
        half_ra = math.radians(ra - self.ra) / 2
        haversine = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(half_ra) ** 2
        return 2 * math.asin(min(1.0, math.sqrt(haversine))) <= math.radians(self.radius_deg)


@dataclass(frozen=True, slots=True)
class Selection:
    """All conditions that are set must hold. first_mjd is included, end_mjd is not (TAI days); objects: ids without
    the survey's name. An empty set sets no condition."""

    first_mjd: float | None = None
    end_mjd: float | None = None
    objects: frozenset[str] = frozenset()
    surveys: frozenset[str] = frozenset()
    cone: Cone | None = None

    @property
    def takes_all(self) -> bool:
        """Whether nothing is asked, so that no packet needs to be looked at."""
        return self == Selection()

    def takes(self, header: PacketHeader) -> bool:
        """Whether a packet is replayed. A packet that does not state what is asked for is not."""
        who = header.identity
        if self.surveys and who.survey not in self.surveys:
            return False
        if self.objects and who.object_id not in self.objects:
            return False
        if self.first_mjd is not None and (who.mjd is None or who.mjd < self.first_mjd):
            return False
        if self.end_mjd is not None and (who.mjd is None or who.mjd >= self.end_mjd):
            return False
        return self.cone is None or self.cone.holds(header.ra, header.dec)
