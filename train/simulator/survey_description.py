"""What the simulator must know of a survey: pixels, bands, conditions, cadence, population and wire format.

SDSS figures: Stripe 82 of the SDSS-II Supernova Survey. ZTF and LSST: medians of tables/conditions.csv, measured from
public packets; bands that it lacks (ZTF i; LSST u r y) are set between their neighbours by the sky's brightness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NANOMAGGY_NJY: Final = 3631.0


@dataclass(frozen=True, slots=True)
class SurveyDescription:
    """name: also of the bandpasses. packet_survey: as decoded packets name it.

    side: native pixels a stamp side (LSST's differs from alert to alert and is drawn from sides). fwhm_arcsec: median
    seeing a band, fwhm_scatter its log-normal width; noise_njy: median sky noise of a native pixel; noise_scatter
    likewise; njy_per_electron: for the noise of the sources' own light. template_noise: of the template's pixels, in
    units of the frame's. has_difference: whether packets carry the survey's difference image.
    night_utc: when the night's first exposure may be, as a fraction of a UTC day.
    gap_days: mean days between nights observed; season_days; bands_a_night: how many bands an observed night has.
    magnitude_shift: how much brighter (negative) or fainter the population is than in Stripe 82.
    star_share: share of Variables drawn as stars whatever the Stripe 82 mixture says, None to follow the mixture.
    position_box: ra_min, ra_max, dec_min, dec_max, deg. keeps_sky: the science image is not sky-subtracted.
    crowded: share of objects in crowded fields, whatever their class, and how many more neighbours these have.
    """

    name: str
    packet_survey: str
    grid_id: str
    bands: str
    pixel_arcsec: float
    sides: tuple[int, ...]
    fwhm_arcsec: tuple[float, ...]
    fwhm_scatter: float
    noise_njy: tuple[float, ...]
    noise_scatter: float
    njy_per_electron: tuple[float, ...]
    template_noise: float
    has_difference: bool
    rotates: bool
    season_days: tuple[float, float]
    gap_days: tuple[float, float]
    bands_a_night: tuple[float, ...]
    first_mjd: tuple[float, ...]
    night_utc: tuple[float, float]
    exposure_gap_days: float
    magnitude_shift: float
    star_share: float | None
    position_box: tuple[float, float, float, float]
    zero_point: float | None = None
    keeps_sky: bool = False
    crowded: tuple[float, float] = (0.0, 1.0)

    @property
    def reference_band(self) -> int:
        """Index of r, in which peaks and hosts are tabulated."""
        return self.bands.index("r")


SDSS: Final = SurveyDescription(
    name="sdss",
    packet_survey="ugriz",
    grid_id="sdss-0.396-32",
    bands="ugriz",
    pixel_arcsec=0.396,
    sides=(32,),
    fwhm_arcsec=(1.53, 1.46, 1.43, 1.38, 1.40),
    fwhm_scatter=0.145,
    # 8% below the tabulated noise: with it and the tabulated seeing, only a Gaussian PSF would reach the tabulated
    # depths
    noise_njy=tuple(0.92 * NANOMAGGY_NJY * sigma for sigma in (0.048, 0.017, 0.029, 0.040, 0.155)),
    noise_scatter=0.10,
    # sky of 22.15 21.85 20.86 20.15 19.0 mag/arcsec^2 gives the noise above when an electron is this much flux
    njy_per_electron=tuple(NANOMAGGY_NJY / count for count in (94.0, 984.0, 844.0, 854.0, 164.0)),
    template_noise=0.5,
    has_difference=False,
    rotates=False,
    season_days=(75.0, 92.0),
    gap_days=(2.6, 6.0),
    bands_a_night=(0.93, 0.97, 0.98, 0.97, 0.96),
    first_mjd=(53614.0, 53979.0, 54344.0),
    night_utc=(0.10, 0.46),
    exposure_gap_days=0.00083,
    magnitude_shift=0.0,
    star_share=None,
    position_box=(310.0, 419.0, -1.25, 1.25),
)

ZTF: Final = SurveyDescription(
    name="ztf",
    packet_survey="ztf",
    grid_id="ztf-1.01-32",
    bands="gri",
    pixel_arcsec=1.01,
    sides=(63,),
    fwhm_arcsec=(2.39, 2.22, 2.2),
    fwhm_scatter=0.22,
    noise_njy=(780.0, 920.0, 1500.0),
    noise_scatter=0.30,
    njy_per_electron=(19.0, 20.0, 40.0),
    template_noise=0.35,
    has_difference=True,
    rotates=False,
    season_days=(120.0, 240.0),
    gap_days=(2.3, 4.5),
    bands_a_night=(0.75, 0.85, 0.12),
    first_mjd=(58300.0, 58665.0, 59030.0, 59395.0, 59760.0),
    night_utc=(0.13, 0.44),
    exposure_gap_days=0.02,
    magnitude_shift=-2.3,
    star_share=0.8,
    position_box=(0.0, 360.0, -25.0, 75.0),
    zero_point=26.2,
    keeps_sky=True,
    crowded=(0.2, 8.0),
)

LSST: Final = SurveyDescription(
    name="lsst",
    packet_survey="lsst",
    grid_id="lsst-0.2-32",
    bands="ugrizy",
    pixel_arcsec=0.2,
    # two thirds of real stamps have 30 pixels a side, the others up to 102
    sides=(30, 30, 30, 30, 31, 32, 34, 38, 42),
    fwhm_arcsec=(1.45, 1.40, 1.15, 1.04, 1.06, 1.08),
    fwhm_scatter=0.13,
    noise_njy=(21.0, 16.0, 24.0, 33.0, 38.5, 75.0),
    noise_scatter=0.12,
    njy_per_electron=(1.9, 0.48, 0.55, 0.65, 0.94, 2.3),
    template_noise=0.3,
    has_difference=True,
    rotates=True,
    season_days=(130.0, 200.0),
    gap_days=(2.2, 4.5),
    bands_a_night=(0.10, 0.18, 0.30, 0.30, 0.24, 0.18),
    first_mjd=(60980.0, 61345.0, 61710.0),
    night_utc=(0.03, 0.26),
    exposure_gap_days=0.02,
    magnitude_shift=0.5,
    star_share=0.5,
    crowded=(0.1, 6.0),
    position_box=(0.0, 360.0, -70.0, 5.0),
)

SURVEYS: Final = {survey.name: survey for survey in (SDSS, ZTF, LSST)}
