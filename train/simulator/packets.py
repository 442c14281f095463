"""A frame as an alert packet in its survey's own wire format."""

from __future__ import annotations

import numpy as np

from schemas.writers.alert import AlertFields, Stamps
from schemas.writers.lsst import Pointing, lsst_packet
from schemas.writers.ugriz import ugriz_packet
from schemas.writers.ztf import ztf_packet
from train.simulator.frames import Frame
from train.simulator.objects import SimulatedObject
from train.simulator.render import Gaussians, image
from train.simulator.survey_description import SurveyDescription

PSF_SIDE = 41
RELIABILITY = 0.95  # the same for all: a score would tell the class
FRAMES_AN_OBJECT = 1000


def packet(survey: SurveyDescription, item: SimulatedObject, frame: Frame) -> bytes:
    """The packet of one frame, byte for byte a function of both."""
    schedule, index = item.schedule, frame.index
    fwhm = float(schedule.fwhm[index])
    fields = AlertFields(
        object_id=item.object_id,
        source_id=source_id(item, index),
        mjd=float(schedule.mjd[index]),
        band=survey.bands[int(schedule.band[index])],
        ra=item.ra,
        dec=item.dec,
        flux_njy=frame.flux_njy,
        flux_err_njy=frame.error_njy,
        psf_fwhm_arcsec=fwhm,
        reliability=RELIABILITY,
    )
    if survey.packet_survey == "ztf":
        assert survey.zero_point is not None
        stamps = Stamps(frame.science, frame.difference, frame.template)
        return ztf_packet(fields, stamps, zero_point=survey.zero_point)
    if survey.packet_survey == "lsst":
        pointing = Pointing(float(schedule.rotation_deg[index]), frame.column, frame.row)
        stamps = Stamps(frame.science, frame.difference, frame.template)
        centered = Gaussians(frame.psf.flux, frame.psf.covariance, frame.psf.center + PSF_SIDE // 2)
        psf = image(centered, PSF_SIDE, PSF_SIDE).astype(np.float64)
        return lsst_packet(fields, stamps, pointing, variance=frame.variance, psf=psf)
    stamps = Stamps(frame.science, frame.difference if survey.has_difference else None)
    night, noise = int(schedule.night[index]), float(schedule.noise[index])
    return ugriz_packet(fields, stamps, noise_njy=noise, night_mjd=night)


def source_id(item: SimulatedObject, index: int) -> str:
    """Decimal, unique over all objects."""
    number = item.object_id.removeprefix("ZTF99")
    return str(int(number) * FRAMES_AN_OBJECT + index)
