"""Host galaxies and chance neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.source import Profile
from train.simulator.spectra import magnitude_to_njy

Array = NDArray[np.float64]

# log10 of the half-light radius in arcsec against r, and its scatter: as the separations in units of the hosts' size
# of the SDSS-II Supernova Survey's table say; the brightest hosts are larger than that (8" against 5" at r = 14.5),
# since the published stamps' pixels deviate less than such compact hosts would make them
LOG_RADIUS: Final = ((14.0, 1.10), (17.0, 0.32), (23.0, -0.325))
LOG_RADIUS_SCATTER: Final = 0.17
RADIUS_RANGE_ARCSEC: Final = (0.2, 15.0)
# of Sersic: bulges and discs together are between the classical 1 and 4
BLUE_INDICES: Final = (1.0, 1.0, 1.5)
RED_INDICES: Final = (1.0, 1.5, 1.5, 2.5, 4.0)
RED_FROM_G_R: Final = 0.75
BRIGHTEST_HOST_R: Final = 14.05
COLOUR_RANGE: Final = {"u_g": (-0.3, 2.6), "g_r": (-0.2, 1.8), "r_i": (-0.35, 1.1), "i_z": (-0.4, 1.0)}
# neighbours: number a square arcmin down to the limit in r, slope of the counts in dex a mag
NEIGHBOURS_ARCMIN2: Final = 12.0
NEIGHBOUR_LIMIT_R: Final = 22.8
NEIGHBOUR_SLOPE: Final = 0.30
BRIGHTEST_NEIGHBOUR_R: Final = 17.0
NEIGHBOUR_STAR_SHARE: Final = 0.4
CLEAR_ARCSEC: Final = 3.0


def host_magnitudes(drawn: Mapping[str, float], bands: str) -> Array:
    """Magnitudes [B] from r and the colours; y follows z as z follows i, by half."""
    colour = {name: float(np.clip(drawn[name], *limits)) for name, limits in COLOUR_RANGE.items()}
    r = max(drawn["host_r"], BRIGHTEST_HOST_R)
    g, i = r + colour["g_r"], r - colour["r_i"]
    z = i - colour["i_z"]
    known = {"u": g + colour["u_g"], "g": g, "r": r, "i": i, "z": z, "y": z - 0.5 * colour["i_z"]}
    return np.array([known[band] for band in bands])


def draw_host(
    random: np.random.Generator, magnitudes_B: Array, *, host_r: float, g_r: float, separation_arcsec: float
) -> Profile:
    """A Sersic galaxy: size by its brightness, concentration by its colour, ``separation_arcsec`` from the source."""
    angle = random.uniform(0.0, 2.0 * np.pi)
    place = (float(separation_arcsec * np.cos(angle)), float(separation_arcsec * np.sin(angle)))
    return _galaxy(random, magnitude_to_njy(magnitudes_B), host_r, g_r, place)


def _galaxy(
    random: np.random.Generator, flux_njy_B: Array, host_r: float, g_r: float, place: tuple[float, float]
) -> Profile:
    magnitudes, sizes = zip(*LOG_RADIUS, strict=True)
    log_radius = float(np.interp(host_r, magnitudes, sizes)) + LOG_RADIUS_SCATTER * random.normal()
    shapes = RED_INDICES if g_r > RED_FROM_G_R else BLUE_INDICES
    return Profile(
        flux_njy_B=flux_njy_B,
        place_arcsec=place,
        index=float(random.choice(shapes)),
        radius_arcsec=float(np.clip(10.0**log_radius, *RADIUS_RANGE_ARCSEC)),
        axis_ratio=float(np.sqrt(random.uniform(0.3, 1.0))),
        angle_rad=float(random.uniform(0.0, np.pi)),
    )


def draw_neighbours(
    random: np.random.Generator, bands: str, *, half_arcsec: float, magnitude_shift: float, crowding: float = 1.0
) -> tuple[Profile, ...]:
    """Stars and galaxies that happen to be in the stamp, none within three arcsec; ``crowding`` times as many as
    usual, all of the surplus stars."""
    mean = NEIGHBOURS_ARCMIN2 * 10.0 ** (NEIGHBOUR_SLOPE * magnitude_shift) * (2.0 * half_arcsec / 60.0) ** 2
    found = []
    for _ in range(int(random.poisson(mean * crowding))):
        place = random.uniform(-half_arcsec, half_arcsec, 2)
        r = NEIGHBOUR_LIMIT_R + magnitude_shift + np.log10(1.0 - random.random()) / NEIGHBOUR_SLOPE
        colours = {"host_r": float(r), "u_g": 1.4, "g_r": random.normal(0.7, 0.3), "r_i": 0.3, "i_z": 0.2}
        if np.hypot(*place) < CLEAR_ARCSEC or r < BRIGHTEST_NEIGHBOUR_R + magnitude_shift:
            continue
        flux = magnitude_to_njy(host_magnitudes(colours, bands))
        where = (float(place[0]), float(place[1]))
        star = random.random() < 1.0 - (1.0 - NEIGHBOUR_STAR_SHARE) / crowding
        found.append(Profile(flux, where) if star else _galaxy(random, flux, float(r), colours["g_r"], where))
    return tuple(found)
