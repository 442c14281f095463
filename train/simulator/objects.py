"""One simulated object from the seed: its class, schedule, source and truth.

Object ``index`` of a set is a function of (seed, index, settings) alone; schedule, source, field and pixels each have
a random stream of their own, so that the schedule cannot depend on the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Final

import numpy as np

from schemas.classification import CLASS_NAMES
from train.simulator import novel
from train.simulator.frames import Scene
from train.simulator.hosts import draw_host, draw_neighbours, host_magnitudes
from train.simulator.light_curves import GridCurve, brightest
from train.simulator.population import (
    DoesNotFit,
    Setting,
    draw_core_collapse,
    draw_supernova_ia,
    draw_until,
    redshift_at,
    scaled_to_peak,
    with_neighbours,
)
from train.simulator.schedule import Schedule, draw_schedule
from train.simulator.source import Source
from train.simulator.spectra import magnitude_to_njy, njy_to_magnitude
from train.simulator.splits import FOLDS, split_of
from train.simulator.survey_description import SurveyDescription
from train.simulator.variables import draw_agn, draw_variable

# objects of the published sets by class: unconfirmed (photometric) and confirmed (spectroscopic)
PUBLISHED: Final = {
    False: {"AGN": 452, "SNIa": 1448, "SNOther": 2041, "Variable": 1612},
    True: {"AGN": 453, "SNIa": 540, "SNOther": 89, "Variable": 1613},
}
LABEL_NOISE: Final = 0.57
NOVEL_SPLIT: Final = "novel"
NOVEL_PEAK_R: Final = (18.5, 19.5, 20.8, 21.8, 22.2)


class Stream(IntEnum):
    """Independent random streams of one object."""

    CLASS = 0
    SCHEDULE = 1
    SOURCE = 2
    FIELD = 3
    PIXELS = 4


@dataclass(frozen=True, slots=True)
class SetSettings:
    """What set is simulated. form: matched (every frame) or natural (only detections of at least 5 sigma).

    mix: published (the published sets' class counts) or equal; population: confirmed, unconfirmed or both;
    split: one of the splits, train (any fold) or "" for whatever the object's hash says. num_novel: objects of
    classes that are never trained, after the num_objects others. label_noise: share of the unconfirmed SN other
    that are nuclear Variables in truth.
    """

    survey: SurveyDescription
    num_objects: int
    seed: int
    form: str = "matched"
    mix: str = "published"
    population: str = "both"
    split: str = ""
    num_novel: int = 0
    label_noise: float = LABEL_NOISE

    def random(self, index: int, stream: Stream, attempt: int = 0) -> np.random.Generator:
        """The generator of one stream of one object."""
        return np.random.default_rng([self.seed, index, stream, attempt])


def unseen(survey: SurveyDescription, num_objects: int, *, seed: int) -> SetSettings:
    """Objects to try a bundle on: of the test split's templates, as many of every class, no wrong label, and only the
    alerts that the survey would send, where it sends any."""
    form = "matched" if survey.name == "sdss" else "natural"
    return SetSettings(survey, num_objects, seed, form=form, mix="equal", split="test", label_noise=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedObject:
    """label: as a survey's table would have it, which differs from source.true_class for mislabelled objects."""

    index: int
    object_id: str
    label: str
    confirmed: bool
    split: str
    ra: float
    dec: float
    schedule: Schedule
    source: Source

    def scene(self, survey: SurveyDescription) -> Scene:
        """To render it."""
        return Scene(survey, self.schedule, self.source)


def object_name(settings: SetSettings, index: int) -> str:
    """Decimal, as LSST's ids are; unique over seeds below 9,000 and ten million objects each."""
    number = (settings.seed % 9000 + 1) * 10_000_000 + index
    return f"ZTF99{number}" if settings.survey.name == "ztf" else str(number)


def draw_object(settings: SetSettings, index: int, *, attempt: int = 0) -> SimulatedObject:
    """Object ``index``, 0 up to num_objects + num_novel; another ``attempt`` is another object of the same class."""
    survey = settings.survey
    chance = settings.random(index, Stream.CLASS)
    name = object_name(settings, index)
    is_novel = index >= settings.num_objects
    split = NOVEL_SPLIT if is_novel else _split(settings, chance, name)
    ra_min, ra_max, dec_min, dec_max = survey.position_box
    ra, dec = float(chance.uniform(ra_min, ra_max) % 360.0), float(chance.uniform(dec_min, dec_max))
    schedule = draw_schedule(survey, settings.random(index, Stream.SCHEDULE, attempt))
    setting = Setting(survey, schedule, split, settings.random(index, Stream.SOURCE, attempt))
    if is_novel:
        label, confirmed = str(chance.choice(novel.NOVEL_CLASSES)), True
        source = draw_until(partial(_draw_novel, setting, label))
    else:
        label, confirmed = _label(settings, chance)
        mislabelled = label == "SNOther" and not confirmed and chance.random() < settings.label_noise
        source = draw_until(partial(_draw, setting, label, confirmed, mislabelled))
    half = 0.5 * max(survey.sides) * survey.pixel_arcsec
    field = settings.random(index, Stream.FIELD)
    share, factor = survey.crowded
    neighbours = draw_neighbours(
        field,
        survey.bands,
        half_arcsec=half,
        magnitude_shift=survey.magnitude_shift,
        crowding=factor if field.random() < share else 1.0,
    )
    return SimulatedObject(
        index, name, label, confirmed, split, ra, dec, schedule, with_neighbours(source, neighbours)
    )


def peak_r_magnitude(item: SimulatedObject, survey: SurveyDescription) -> float:
    """Of the brightest change in r at the frames' days, as drawn (no noise)."""
    return float(njy_to_magnitude(brightest(item.source.curve, item.schedule.days, survey.reference_band)))


def _split(settings: SetSettings, chance: np.random.Generator, name: str) -> str:
    if settings.split == "train":
        return str(chance.choice(FOLDS))
    return settings.split or split_of(f"object:{name}")


def _label(settings: SetSettings, chance: np.random.Generator) -> tuple[str, bool]:
    """Class by the label's frequencies, and whether it is confirmed."""
    allowed = {"both": (False, True), "confirmed": (True,), "unconfirmed": (False,)}[settings.population]
    counts = np.array([[PUBLISHED[confirmed][name] for name in CLASS_NAMES] for confirmed in allowed], np.float64)
    if settings.mix == "equal":
        counts /= counts.sum(axis=0)
    choice = int(chance.choice(counts.size, p=counts.ravel() / counts.sum()))
    return CLASS_NAMES[choice % len(CLASS_NAMES)], allowed[choice // len(CLASS_NAMES)]


def _draw(setting: Setting, label: str, confirmed: bool, mislabelled: bool) -> Source:
    if mislabelled:
        return draw_variable(setting, mislabelled=True)
    if label == "SNIa":
        return draw_supernova_ia(setting, confirmed=confirmed)
    if label == "SNOther":
        return draw_core_collapse(setting, confirmed=confirmed)
    return draw_agn(setting) if label == "AGN" else draw_variable(setting)


def _draw_novel(setting: Setting, label: str) -> Source:
    random, survey = setting.random, setting.survey
    redshift = redshift_at(float(random.normal()), (0.03, 0.06, 0.12, 0.2, 0.3)) * setting.redshift_factor
    peak_r = float(random.choice(NOVEL_PEAK_R) + random.normal(0, 0.3) + survey.magnitude_shift)
    nothing = np.zeros(len(survey.bands))
    colours = {"host_r": peak_r + float(random.normal(-1.0, 1.2)), "u_g": 1.3, "g_r": 0.6, "r_i": 0.3, "i_z": 0.25}
    magnitudes = host_magnitudes(colours, survey.bands)
    peak = float(magnitude_to_njy(peak_r))
    if label == "microlensing":
        lens = novel.Lens(
            setting.peak_day(), float(random.uniform(6.0, 40.0)), float(random.uniform(0.1, 0.7)), nothing + 1
        )
        star = magnitude_to_njy(magnitudes) / magnitude_to_njy(colours["host_r"])
        flux = star * peak / max(brightest(lens, setting.schedule.days, survey.reference_band), 0.05)
        lens = novel.Lens(lens.peak_day, lens.crossing_days, lens.impact, flux)
        return Source(label, label, lens, flux, None)
    if label == "bogus":
        defect = novel.defect(random, setting.schedule.days)
        scaled = novel.Defect(defect.days_F, defect.flux_njy_F * peak)
        return Source(label, label, scaled, nothing, None, sharp=bool(random.random() < 0.7))
    if label == "moving":
        day = float(random.choice(setting.schedule.days))
        colour = magnitude_to_njy(np.array([{"u": 2.0, "g": 0.6}.get(band, 0.0) for band in survey.bands]))
        flux = peak * colour / magnitude_to_njy(0.0)
        speed = random.normal(0.0, 400.0, 2)  # arcsec a day: the main belt
        one_night = novel.OneNight(day, flux)
        return Source(label, label, one_night, nothing, None, velocity_arcsec_d=tuple(speed), path_day=day)
    curve = _novel_transient(setting, label, redshift)
    separation = 0.0 if label == "TDE-like" else float(random.exponential(1.5)) / setting.redshift_factor
    host = draw_host(random, magnitudes, host_r=colours["host_r"], g_r=colours["g_r"], separation_arcsec=separation)
    return Source(label, label, scaled_to_peak(setting, curve, peak_r), nothing, host, redshift)


def _novel_transient(setting: Setting, label: str, redshift: float) -> GridCurve:
    if label == "TDE-like":
        return novel.tidal_disruption(setting.random, setting.passes, redshift).moved(setting.peak_day())
    # it must be seen: it begins within a day before some frame
    begin = float(setting.random.choice(setting.schedule.days)) - float(setting.random.uniform(0.2, 1.5))
    curve = novel.kilonova(setting.random, setting.passes, redshift).moved(begin)
    if setting.peak_in_r(curve) <= 0:
        raise DoesNotFit
    return curve
