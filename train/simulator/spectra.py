"""Spectra through a survey's bands: bandpasses, redshift, distance, black bodies, dust.

Dimension letters: T times, W wavelengths, B bands. Wavelengths in Angstrom; flux a wavelength in arbitrary units
until a magnitude sets them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.table_files import read_table

Array = NDArray[np.float64]

NJY_ZERO_POINT: Final = 31.4  # AB magnitude of 1 nJy
WAVELENGTH_A: Final = np.arange(3000.0, 11600.0, 100.0)
LIGHT_KM_S: Final = 299792.458
HUBBLE_KM_S_MPC: Final = 70.0
OMEGA_MATTER: Final = 0.3
SECOND_RADIATION_A_K: Final = 1.438777e8  # h c / k
# A flat spectrum through Bessell's B is measured at about this wavelength.
B_BAND_A: Final = (3900.0, 4900.0)


@dataclass(frozen=True, slots=True, eq=False)
class Bandpasses:
    """weights_BW: mean flux a frequency (AB) of a band is weights @ flux a wavelength on WAVELENGTH_A;
    center_a_B: mean wavelength."""

    bands: str
    weights_BW: Array
    center_a_B: Array

    def fluxes(self, flux_TW: Array) -> Array:
        """[T, B] of spectra on WAVELENGTH_A."""
        result: Array = flux_TW @ self.weights_BW.T
        return result


@cache
def bandpasses(survey: str, bands: str) -> Bandpasses:
    """Of the table's survey (sdss, ztf, lsst)."""
    throughput = np.zeros((len(bands), len(WAVELENGTH_A)))
    for row in read_table("bandpasses.csv"):
        if row["survey"] == survey and row["band"] in bands:
            column = int(np.searchsorted(WAVELENGTH_A, float(row["wavelength_a"])))
            throughput[bands.index(row["band"]), column] = float(row["throughput"])
    norm = (throughput / WAVELENGTH_A).sum(axis=1, keepdims=True)
    center = (throughput * WAVELENGTH_A).sum(axis=1) / throughput.sum(axis=1)
    return Bandpasses(bands, throughput * WAVELENGTH_A / norm, center)


def magnitude_to_njy(magnitude: Array | float) -> Array:
    """AB magnitude to nJy."""
    return np.asarray(10.0 ** (0.4 * (NJY_ZERO_POINT - np.asarray(magnitude, np.float64))))


def njy_to_magnitude(flux: Array | float) -> Array:
    """nJy to AB magnitude; 99 where the flux is not positive."""
    flux = np.asarray(flux, np.float64)
    return np.where(flux > 0, NJY_ZERO_POINT - 2.5 * np.log10(np.maximum(flux, 1e-12)), 99.0)


@cache
def _comoving_mpc() -> tuple[Array, Array]:
    redshift = np.linspace(0.0, 4.0, 4001)
    inverse = 1.0 / np.sqrt(OMEGA_MATTER * (1.0 + redshift) ** 3 + 1.0 - OMEGA_MATTER)
    steps = 0.5 * (inverse[1:] + inverse[:-1]) * np.diff(redshift)
    return redshift, np.concatenate([[0.0], np.cumsum(steps)]) * LIGHT_KM_S / HUBBLE_KM_S_MPC


def distance_modulus(redshift: float) -> float:
    """Flat universe, matter 0.3, 70 km/s/Mpc; up to redshift 4."""
    grid, distance = _comoving_mpc()
    return float(5.0 * np.log10(np.interp(redshift, grid, distance) * (1.0 + redshift)) + 25.0)


def observed(flux_TW: Array, wavelength_a_W: Array, redshift: float) -> Array:
    """Rest-frame spectra on an even grid as observed on WAVELENGTH_A, flux divided by 1 + z; 0 beyond the grid."""
    place = (WAVELENGTH_A / (1.0 + redshift) - wavelength_a_W[0]) / (wavelength_a_W[1] - wavelength_a_W[0])
    inside = (place >= 0) & (place <= len(wavelength_a_W) - 1)
    low = np.clip(place.astype(np.int64), 0, len(wavelength_a_W) - 2)
    share = np.clip(place - low, 0.0, 1.0)
    mixed = flux_TW[:, low] * (1.0 - share) + flux_TW[:, low + 1] * share
    return np.asarray(np.where(inside, mixed, 0.0) / (1.0 + redshift))


def black_body(wavelength_a_W: Array, temperature_k_T: Array) -> Array:
    """Planck flux a wavelength in arbitrary units, [T, W]."""
    exponent = SECOND_RADIATION_A_K / (wavelength_a_W * temperature_k_T[:, None])
    return np.asarray(1e20 / wavelength_a_W**5 / np.expm1(np.minimum(exponent, 300.0)))


def dust(wavelength_a_W: Array, reddening: float) -> Array:
    """Transmission of dust of colour excess E(B-V): A = 3.1 E(B-V) (wavelength / 5500 A)^-1.3. [W]."""
    return np.asarray(10.0 ** (-0.4 * 3.1 * reddening * (wavelength_a_W / 5500.0) ** -1.3))
