"""Photometry of rendered frames, as a survey would do it: nothing here reads a number that the simulator drew, except
where a frame was pointed (the source's pixel) and its PSF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.stamps import MAD_TO_SIGMA, border_median, border_pixels
from train.simulator.frames import Frame
from train.simulator.objects import SetSettings, Stream, draw_object
from train.simulator.render import image, point
from train.simulator.spectra import njy_to_magnitude

Image = NDArray[np.float32]

DETECTION: Final = 5.0
# the SDSS-II search took what two of these bands showed
SEARCH_BANDS: Final = "gri"
SEARCH_IN: Final = 2
APERTURE_ARCSEC: Final = 3.2
CENTROID_SIGMA_PX: Final = 1.6
CENTROID_ROUNDS: Final = 8
CENTROID_REACH_PX: Final = 18.0
CENTROID_FRAMES: Final = 8
HOST_SEARCH_ARCSEC: Final = 8.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One object. num_epochs: nights on which two of g r i show it at five sigma; separation and contrast NaN without
    a detected host.

    peak_r: of the brightest r difference frame, mag, NaN where none is positive. contrast: peak flux over the flux of
    the template in an aperture.
    """

    true_class: str
    label: str
    kind: str
    confirmed: bool
    num_frames: int
    peak_r: float
    num_epochs: int
    separation_arcsec: float
    contrast: float


@dataclass(slots=True)
class PixelSums:
    """Running sums of science pixels and depths, per band."""

    count: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    depths: list[list[float]]

    @classmethod
    def empty(cls, num_bands: int) -> PixelSums:
        """Nothing yet."""
        zeros = [np.zeros(num_bands) for _ in range(3)]
        return cls(zeros[0], zeros[1], zeros[2], [[] for _ in range(num_bands)])

    def add(self, frame: Frame, band: int) -> None:
        """One frame's science pixels and its five-sigma depth from its border's noise."""
        valid = np.isfinite(frame.science)
        pixels = frame.science[valid].astype(np.float64)
        self.count[band] += pixels.size
        self.total[band] += pixels.sum()
        self.squares[band] += (pixels**2).sum()
        spot = _spot(frame, frame.column, frame.row)
        sigma = sky_noise(frame.science)
        self.depths[band].append(float(njy_to_magnitude(DETECTION * sigma / np.sqrt(np.vdot(spot, spot)))))

    def join(self, other: PixelSums) -> None:
        """Add another's."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        for mine, more in zip(self.depths, other.depths, strict=True):
            mine += more

    def mean(self) -> NDArray[np.float64]:
        """nJy a pixel, per band."""
        return np.asarray(self.total / np.maximum(self.count, 1))

    def deviation(self) -> NDArray[np.float64]:
        """nJy, of all pixels of a band together."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1) - self.mean() ** 2))

    def depth(self) -> NDArray[np.float64]:
        """Median five-sigma magnitude of a point source, per band."""
        return np.array([np.median(depths) if depths else np.nan for depths in self.depths])


def sky_noise(image_HW: Image) -> float:
    """Standard deviation of a pixel from the border's pixels below their median, which sources hardly touch."""
    border = border_pixels(np.nan_to_num(image_HW), np.isfinite(image_HW))
    middle = float(np.median(border))
    return float(MAD_TO_SIGMA * np.median(middle - border[border <= middle]))


def _spot(frame: Frame, column: float, row: float) -> Image:
    height, width = frame.science.shape
    return image(point((column, row)).convolved(frame.psf), height, width)


def measure(settings: SetSettings, index: int, sums: PixelSums) -> Measured:
    """Render object ``index``, add its pixels to ``sums``, and measure it."""
    survey = settings.survey
    item = draw_object(settings, index)
    seen: dict[int, set[int]] = {}
    best: Frame | None = None
    brightest: list[tuple[float, int, Frame]] = []
    for frame in item.scene(survey).frames(settings.random(index, Stream.PIXELS)):
        band = int(item.schedule.band[frame.index])
        sums.add(frame, band)
        significance = frame.flux_njy / frame.error_njy
        if survey.bands[band] in SEARCH_BANDS:
            brightest = sorted([*brightest, (significance, frame.index, frame)], key=lambda one: -one[0])[
                :CENTROID_FRAMES
            ]
            if significance >= DETECTION:
                seen.setdefault(int(item.schedule.night[frame.index]), set()).add(band)
        if band == survey.reference_band and (best is None or frame.flux_njy > best.flux_njy):
            best = frame
    separation, contrast, peak = np.nan, np.nan, np.nan
    if best is not None and best.flux_njy > 0:
        peak = float(njy_to_magnitude(best.flux_njy))
        separation, contrast = _against_host(best, [frame for _, _, frame in brightest], survey.pixel_arcsec)
    return Measured(
        true_class=item.source.true_class,
        label=item.label,
        kind=item.source.kind,
        confirmed=item.confirmed,
        num_frames=len(item.schedule),
        peak_r=peak,
        num_epochs=sum(len(bands) >= SEARCH_IN for bands in seen.values()),
        separation_arcsec=separation,
        contrast=contrast,
    )


def _against_host(best: Frame, bright: list[Frame], pixel_arcsec: float) -> tuple[float, float]:
    """Distance (arcsec) of the new light from the host's middle, and the ratio of their fluxes in ``best``.

    The new light's place is the mean over the brightest frames, weighted by significance; the host is the likeliest
    brightness peak of the template. NaN where the template shows nothing at five sigma.
    """
    template = np.nan_to_num(best.template)
    template = template - np.float32(border_median(template, np.isfinite(best.template)))
    found = _nearest_peak(best, template, sky_noise(best.template), HOST_SEARCH_ARCSEC / pixel_arcsec)
    if found is None:
        return np.nan, np.nan
    host = centroid(template, *found)
    weight, places = 0.0, np.zeros(2)
    for frame in bright:
        column, row = centroid(np.nan_to_num(frame.difference), frame.column, frame.row)
        power = max(frame.flux_njy / frame.error_njy, 0.1) ** 2
        places += power * np.array([column - frame.column, row - frame.row])
        weight += power
    offset = places / weight + (best.column - host[0], best.row - host[1])
    height, width = template.shape
    rows, columns = np.mgrid[:height, :width]
    aperture = np.hypot(columns - host[0], rows - host[1]) < APERTURE_ARCSEC / pixel_arcsec
    flux = float(template[aperture].sum())
    return float(np.hypot(*offset)) * pixel_arcsec, best.flux_njy / flux if flux > 0 else np.nan


def _nearest_peak(frame: Frame, template: Image, sigma: float, reach_px: float) -> tuple[float, float] | None:
    """Column and row of the local maximum of the PSF-filtered template that a person would call the host: the one
    with the least distance for its brightness, within ``reach_px``."""
    height, width = template.shape
    spot = _spot(frame, width // 2, height // 2)
    kernel = np.fft.rfft2(np.fft.ifftshift(spot))
    filtered = np.fft.irfft2(np.fft.rfft2(template) * np.conj(kernel), s=template.shape)
    noise = sigma * float(np.sqrt(np.vdot(spot, spot)))
    inner = filtered[1:-1, 1:-1]
    shifts = [filtered[1 + y : height - 1 + y, 1 + x : width - 1 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    peaks = np.argwhere((inner >= np.max(shifts, axis=0)) & (inner > DETECTION * noise)) + 1
    if not len(peaks):
        return None
    distance = np.hypot(peaks[:, 1] - frame.column, peaks[:, 0] - frame.row)
    near = distance < reach_px
    if not near.any():
        return None
    # distance in units of the galaxy's likely size, which grows with its brightness
    size = np.maximum(filtered[peaks[:, 0], peaks[:, 1]], 1e-3) ** 0.25
    row, column = peaks[near][int(np.argmin(distance[near] / size[near]))]
    return float(column), float(row)


def centroid(image_HW: Image, column: float, row: float) -> tuple[float, float]:
    """Centre of light under a Gaussian window that follows it (sigma 1.6 px)."""
    height, width = image_HW.shape
    rows, columns = np.mgrid[:height, :width]
    start = (column, row)
    for _ in range(CENTROID_ROUNDS):
        window = np.exp(-0.5 * ((columns - column) ** 2 + (rows - row) ** 2) / CENTROID_SIGMA_PX**2)
        weight = window * image_HW
        total = float(weight.sum())
        if total <= 0:
            return start
        # a window as wide as the light moves half of the way: doubled
        column += 2.0 * (float((weight * columns).sum()) / total - column)
        row += 2.0 * (float((weight * rows).sum()) / total - row)
        if np.hypot(column - start[0], row - start[1]) > CENTROID_REACH_PX:
            return start
    return column, row
