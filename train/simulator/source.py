"""A simulated object: what varies, what it sits on, and what happens to be near.

Places are offsets on the sky from the source in arcsec, (west, north): the axes of the north-up grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from train.simulator.light_curves import LightCurve
from train.simulator.render import Gaussians, galaxy, point

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A galaxy or, with radius 0, a point. flux_njy_B; index of Sersic; half-light radius; angle from west to
    north."""

    flux_njy_B: Array
    place_arcsec: tuple[float, float] = (0.0, 0.0)
    index: float = 1.0
    radius_arcsec: float = 0.0
    axis_ratio: float = 1.0
    angle_rad: float = 0.0

    def gaussians(self, pixel_arcsec: float) -> Gaussians:
        """Unit flux, in pixels on the north-up grid, the source at the origin."""
        center = (self.place_arcsec[0] / pixel_arcsec, self.place_arcsec[1] / pixel_arcsec)
        if self.radius_arcsec == 0.0:
            return point(center)
        return galaxy(self.index, self.radius_arcsec / pixel_arcsec, self.axis_ratio, self.angle_rad, center)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """kind: what was drawn, finer than the class. template: name of the tabulated curve used, "" for none.

    curve: flux change against the template; point_njy_B: the source's own flux in the template; host: None for
    hostless sources and bare stars. redshift None where it has none. velocity_arcsec_d: (west, north), of what moves;
    it is on its place at path_day. sharp: a detector defect, narrower than the PSF.
    in_science: whether the change is in the science image too, as all real light is; a bad subtraction is not.
    """

    true_class: str
    kind: str
    curve: LightCurve
    point_njy_B: Array
    host: Profile | None
    redshift: float | None = None
    template: str = ""
    neighbours: tuple[Profile, ...] = field(default=())
    velocity_arcsec_d: tuple[float, float] = (0.0, 0.0)
    path_day: float = 0.0
    sharp: bool = False
    in_science: bool = True

    @property
    def separation_arcsec(self) -> float | None:
        """From the host's middle; None without a host."""
        return None if self.host is None else float(np.hypot(*self.host.place_arcsec))

    def catalogue_njy(self) -> Array:
        """Flux of host and source in the template, [B]."""
        return self.point_njy_B if self.host is None else self.point_njy_B + self.host.flux_njy_B
