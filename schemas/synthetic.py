"""Seeded simulated alert packets of toy objects that rise, fade or vary: for the tests and the benchmarks.

Objects follow the law of ``schemas.toy_population``, which is quick to draw and no science; packets are those of the
survey (``schemas.writers``), so they go through the same decoders as real ones. Object ``index`` of a seed, and
each of its packets, is a function of seed and index, whatever else is drawn and in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.classification import CLASS_NAMES
from schemas.surveys.ztf import STAMP_SIDE
from schemas.toy_population import DIFFERENCE_NOISE, SURVEYS, Exposure, ToySurvey, expose
from schemas.writers.alert import AlertFields, Stamps
from schemas.writers.lsst import Pointing, lsst_packet
from schemas.writers.ugriz import ugriz_packet
from schemas.writers.ztf import ztf_packet

# by the survey's name in its packets
LAWS: Final[dict[str, ToySurvey]] = {"ztf": SURVEYS["ztf"], "lsst": SURVEYS["lsst"], "ugriz": SURVEYS["sdss"]}
MAX_FRAMES: Final = 10_000  # source ids of an object are numbered within its own block of so many
LSST_SIDES: Final = (30, 102)
TEMPLATE_NOISE: Final = 0.3
SKY_NJY: Final = 20_000.0
FIRST_LSST_OBJECT: Final = 313_985_345_528_000_000
UGRIZ_SIDE: Final = 32


@dataclass(frozen=True, slots=True)
class PacketForm:
    """What packets carry beside science and difference stamps. Small packets make long streams cheap.

    has_template: the third cutout. psf_side: pixels of LSST's PSF image. large_stamps: mean excess of LSST's sides
    over the smallest.
    """

    has_template: bool = True
    psf_side: int = 41
    large_stamps: float = 4.0


SMALL: Final = PacketForm(has_template=False, psf_side=9, large_stamps=2.0)
FULL: Final = PacketForm()


@dataclass(frozen=True, slots=True)
class SimulatedObject:
    """One object's exposures in time order; class ``true_class`` was drawn."""

    survey: str
    object_id: str
    true_class: str
    exposures: tuple[Exposure, ...]
    seed: int
    index: int
    ra: float
    dec: float

    def fields(self, frame: int) -> AlertFields:
        """What the packet of exposure ``frame`` says."""
        exposure = self.exposures[frame]
        return AlertFields(
            object_id=self.object_id,
            source_id=str(MAX_FRAMES * (self.index + 1) + frame),
            mjd=exposure.mjd,
            band=exposure.band,
            ra=self.ra,
            dec=self.dec,
            flux_njy=exposure.measured,
            flux_err_njy=exposure.sigma,
            psf_fwhm_arcsec=exposure.fwhm_arcsec,
            reliability=0.99,
        )

    def packet(self, frame: int, *, form: PacketForm = FULL, withdrawn_mjd: float | None = None) -> bytes:
        """The packet of exposure ``frame``; with ``withdrawn_mjd``, the same again, taking the source back."""
        random = np.random.default_rng([self.seed, self.index, frame])
        fields = replace(self.fields(frame), withdrawn_mjd=withdrawn_mjd)
        return _WRITE[self.survey](fields, self.exposures[frame], random, form)


def draw_object(
    survey: str, *, seed: int, index: int, min_frames: int, max_frames: int, num_nights: tuple[int, int]
) -> SimulatedObject:
    """Object ``index``: its first ``max_frames`` exposures, redrawn until there are ``min_frames``.

    num_nights: how many nights are drawn, at least and below. Classes take turns.
    """
    random = np.random.default_rng([seed, index])
    label = index % len(CLASS_NAMES)
    while True:
        exposures = tuple(expose(LAWS[survey], random, label, num_nights=num_nights))[:max_frames]
        if len(exposures) >= min_frames:
            break
    position = float(random.uniform(0, 360)), float(random.uniform(-20, 60))
    return SimulatedObject(survey, _name(survey, index), CLASS_NAMES[label], exposures, seed, index, *position)


def _name(survey: str, index: int) -> str:
    names = {"ztf": f"ZTF00sim{index:05d}", "lsst": str(FIRST_LSST_OBJECT + index), "ugriz": f"SIM{index:06d}"}
    return names[survey]


@dataclass(frozen=True, slots=True)
class SimulatedPacket:
    """payload: the wire bytes; true_class: what was drawn."""

    payload: bytes
    object_id: str
    true_class: str


def generate_packets(
    *, seed: int, num_objects: int, num_frames: int = 12, survey: str = "ztf", form: PacketForm = FULL
) -> Iterator[SimulatedPacket]:
    """Packets of ``num_objects`` objects with ``num_frames`` exposures each, in time order; classes take turns."""
    nights = (num_frames, 4 * num_frames + 8)
    objects = [
        draw_object(survey, seed=seed, index=index, min_frames=num_frames, max_frames=num_frames, num_nights=nights)
        for index in range(num_objects)
    ]
    plan = sorted(
        (target.exposures[frame].mjd, index, frame)
        for index, target in enumerate(objects)
        for frame in range(num_frames)
    )
    for _, index, frame in plan:
        target = objects[index]
        yield SimulatedPacket(target.packet(frame, form=form), target.object_id, target.true_class)


def _draw_stamps(
    law: ToySurvey,
    exposure: Exposure,
    random: np.random.Generator,
    *,
    shape: tuple[int, int],
    centre: NDArray[np.float64],
    has_template: bool,
    rotation_deg: float = 0.0,
    sky_njy: float = 0.0,
) -> Stamps:
    """Point source and host under a Gaussian PSF, with white noise, on the survey's native pixels."""
    noise = exposure.pixel_noise(law.pixel_arcsec)
    point, galaxy = exposure.sky_free(shape, law.pixel_arcsec, centre=centre, rotation_deg=rotation_deg)

    def noisy(image: NDArray[np.float64], share: float) -> NDArray[np.float32]:
        return (image + random.normal(0.0, share * noise, shape)).astype(np.float32)

    static = exposure.static * point + galaxy
    return Stamps(
        science=noisy(static + exposure.change * point + sky_njy, 1.0),
        difference=noisy(exposure.change * point, DIFFERENCE_NOISE) if law.has_difference else None,
        template=noisy(static, TEMPLATE_NOISE) if has_template else None,
    )


def _ztf(fields: AlertFields, exposure: Exposure, random: np.random.Generator, form: PacketForm) -> bytes:
    """The source within the middle pixel; one stamp in twenty is cut short at the low edge of the chip."""
    middle = STAMP_SIDE // 2
    centre = middle + random.uniform(-0.5, 0.5, 2)
    missing = int(random.integers(16, 25)) if random.random() < 0.05 else 0
    stamps = _draw_stamps(
        LAWS["ztf"],
        exposure,
        random,
        shape=(STAMP_SIDE, STAMP_SIDE - missing),
        centre=centre - np.array([0.0, missing]),
        has_template=form.has_template,
        sky_njy=SKY_NJY,
    )
    position = (middle - missing + 1.0, 1500.0)
    return ztf_packet(fields, stamps, position=position)


def _lsst(fields: AlertFields, exposure: Exposure, random: np.random.Generator, form: PacketForm) -> bytes:
    """Another rotation and another side at every visit, the source within half a pixel of the middle."""
    smallest, largest = LSST_SIDES
    side = min(largest, smallest + int(random.exponential(form.large_stamps)))
    row, column = (side - 1) / 2 + random.uniform(-0.5, 0.5, 2)
    rotation = float(random.uniform(-180.0, 180.0))
    law = LAWS["lsst"]
    stamps = _draw_stamps(
        law,
        exposure,
        random,
        shape=(side, side),
        centre=np.array([row, column]),
        has_template=form.has_template,
        rotation_deg=rotation,
    )
    variance = np.full((side, side), exposure.pixel_noise(law.pixel_arcsec) ** 2, np.float32)
    pointing = Pointing(rotation, float(column), float(row))
    return lsst_packet(fields, stamps, pointing, variance=variance, psf=_psf(law, exposure, form.psf_side))


def _psf(law: ToySurvey, exposure: Exposure, side: int) -> NDArray[np.float64]:
    offsets = (np.arange(side) - side // 2) / exposure.psf_width(law.pixel_arcsec)
    profile = np.exp(-0.5 * offsets**2)
    psf: NDArray[np.float64] = np.outer(profile, profile) / profile.sum() ** 2
    return psf


def _ugriz(fields: AlertFields, exposure: Exposure, random: np.random.Generator, form: PacketForm) -> bytes:
    """North-up stamps; of one in twenty the first columns are masked, as beyond a chip's edge."""
    shape = (UGRIZ_SIDE, UGRIZ_SIDE)
    centre = (UGRIZ_SIDE - 1) / 2 + random.uniform(-0.4, 0.4, 2)
    law = LAWS["ugriz"]
    stamps = _draw_stamps(law, exposure, random, shape=shape, centre=centre, has_template=form.has_template)
    if random.random() < 0.05:
        masked = int(random.integers(1, 10))
        for _, image in stamps.named():
            if image is not None:
                image[:, :masked] = np.nan
    noise = float(np.float32(exposure.pixel_noise(law.pixel_arcsec)))
    return ugriz_packet(fields, stamps, noise_njy=noise, night_mjd=exposure.night)


_Write = Callable[[AlertFields, Exposure, np.random.Generator, PacketForm], bytes]
_WRITE: Final[dict[str, _Write]] = {"ztf": _ztf, "lsst": _lsst, "ugriz": _ugriz}
