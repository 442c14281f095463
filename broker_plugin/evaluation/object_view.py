"""One object as ``show`` presents it: its records and its sequence, and both as a PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker_plugin.evaluation.record_files import read_records
from broker_plugin.evaluation.records import DeliveredRecord
from broker_plugin.evaluation.sequence_image import sequence_grid
from broker_plugin.evaluation.stamp_archive import has_stamps, load_sequences
from schemas.bands import BANDS
from schemas.classification import CLASS_NAMES, Status
from schemas.errors import EvaluationError
from schemas.observation import STAMP_SIZE
from schemas.sequence import StampSequence

# Okabe and Ito's colours for the classes (distinct to colour-blind readers), the survey's habit for bands.
CLASS_COLORS: Final = dict(zip(CLASS_NAMES, ("#0072b2", "#d55e00", "#b8579b", "#009e73"), strict=True))
BAND_COLORS: Final = dict(zip(BANDS, ("#7b52c7", "#2a9d55", "#d1495b", "#c98a16", "#8c564b", "#5b6776"), strict=True))
MAX_TICKS: Final = 9
# Height of the attention's bars, in pixels of a stamp.
ATTENTION_ROW: Final = 16
ATTENTION_COLOR: Final = "#5b6776"
INCHES_A_NIGHT, MIN_WIDTH, MAX_WIDTH = 0.42, 8.0, 30.0


@dataclass(frozen=True, slots=True, eq=False)
class ObjectView:
    """records: in delivery order; sequence: None where no stamps were kept; attention_L: float32, each frame's share
    of what the classifier's attention looked at, None where it is not known."""

    survey: str
    object_id: str
    records: tuple[DeliveredRecord, ...]
    sequence: StampSequence | None
    attention_L: NDArray[np.float32] | None = None

    @property
    def first_mjd(self) -> float:
        """Zero of the time axes: the earliest frame of records and sequence."""
        times = [r.classification.first_mjd for r in self.records if r.classification.first_mjd is not None]
        times += [record.delivery.trigger_mjd for record in self.records]
        if self.sequence is not None and len(self.sequence):
            times.append(float(self.sequence.mjd_L[0]))
        return min(times)

    def scored(self) -> list[tuple[float, DeliveredRecord]]:
        """(days since the first detection, record) of the records with probabilities, in time order."""
        rows = [
            ((r.classification.last_mjd or r.delivery.trigger_mjd) - self.first_mjd, r)
            for r in self.records
            if r.classification.probabilities is not None
        ]
        return sorted(rows, key=lambda row: row[0])


def load_object(name: str, records: Path, stamps: Path | None) -> ObjectView:
    """The object ``name`` (object id, or ``survey:object id``) of record files, with its sequence where stamps are.

    stamps: default the records' folder. EvaluationError when no record is of it, or records of two surveys are.
    """
    found = [
        record
        for record in read_records(records)
        if name
        in (record.classification.object_id, f"{record.classification.survey}:{record.classification.object_id}")
    ]
    surveys = sorted({record.classification.survey for record in found})
    if not found:
        raise EvaluationError(f"{records}: no record of object {name}")
    if len(surveys) > 1:
        raise EvaluationError(f"object {name} is of {' and '.join(surveys)}: say which, as {surveys[0]}:{name}")
    object_id = found[0].classification.object_id
    place = stamps_of(records, stamps)
    sequence = load_sequences(place, [(surveys[0], object_id)])(surveys[0], object_id) if place else None
    return ObjectView(surveys[0], object_id, tuple(found), sequence)


def stamps_of(records: Path, stamps: Path | None) -> Path | None:
    """Where the stamps are: as said, else in the records' folder, None where none were kept."""
    return stamps or (records if has_stamps(records) else None)


def attention_by_night(view: ObjectView) -> NDArray[np.float32] | None:
    """float32 [T]: each night's share of the attention, in the order of the sequence's nights; None if not known."""
    if view.sequence is None or view.attention_L is None:
        return None
    nights, place_L = np.unique(view.sequence.night_L, return_inverse=True)
    return np.bincount(place_L, weights=view.attention_L, minlength=len(nights)).astype(np.float32)


def write_png(view: ObjectView, path: Path, *, plane: str = "science") -> None:
    """The sequence (where there is one), the light curve and the probabilities over time, one below the other."""
    from matplotlib.figure import Figure

    sequence = view.sequence if view.sequence is not None and len(view.sequence) else None
    num_nights = sequence.num_nights if sequence else 0
    width = min(max(MIN_WIDTH, num_nights * INCHES_A_NIGHT + 1.5), MAX_WIDTH)
    heights = [0.8 + 5 * width / max(num_nights, 12), 2.4, 2.4] if sequence else [2.8]
    figure = Figure(figsize=(width, sum(heights) + 0.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(heights), 1, height_ratios=heights))
    last = view.records[-1].classification
    figure.suptitle(f"{view.survey} {view.object_id}: {last.predicted_class or last.status.value}, {plane} stamps")
    if sequence:
        _draw_stamps(axes[0], sequence, plane, attention_by_night(view))
        _draw_light_curve(axes[1], sequence, view.first_mjd)
        axes[2].sharex(axes[1])
    _draw_probabilities(axes[-1], view)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)


def _draw_stamps(axes: Any, sequence: StampSequence, plane: str, attention_T: NDArray[np.float32] | None) -> None:
    grid, picture = sequence_grid(sequence, plane)
    axes.imshow(picture, interpolation="nearest", aspect="equal")
    middle = STAMP_SIZE / 2 - 0.5
    rows = [(middle + STAMP_SIZE * row, band) for row, band in enumerate(grid.bands)]
    top, note = -0.5, ""
    if attention_T is not None:  # bars above the stamps, a night's share each
        height_T = ATTENTION_ROW * attention_T / max(float(attention_T.max()), 1e-9)
        place_T = middle + STAMP_SIZE * np.arange(len(grid.mjd_T))
        axes.bar(place_T, -height_T, width=0.7 * STAMP_SIZE, bottom=top - 2, color=ATTENTION_COLOR)
        top -= ATTENTION_ROW + 4
        rows.insert(0, (top / 2, "attention"))
        note = f", attention: at most {float(attention_T.max()):.0%} a night"
    axes.set_ylim(STAMP_SIZE * len(grid.bands) - 0.5, top)
    axes.set_yticks([place for place, _ in rows], [name for _, name in rows])
    nights = _spread(len(grid.mjd_T))
    axes.set_xticks([middle + STAMP_SIZE * n for n in nights], [f"{int(grid.mjd_T[n])}" for n in nights])
    axes.set_xlabel(f"night, MJD (black: not observed, dark red: masked{note})")


def _spread(count: int) -> list[int]:
    """At most MAX_TICKS of the numbers below ``count``, evenly spread."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, MAX_TICKS)).tolist()})


def _draw_light_curve(axes: Any, sequence: StampSequence, first_mjd: float) -> None:
    for identifier, band in enumerate(BANDS, start=1):
        chosen = (sequence.band_L == identifier) & np.isfinite(sequence.diff_flux_njy_L)
        if chosen.any():
            days = sequence.mjd_L[chosen] - first_mjd
            flux, error = (v[chosen] / 1000.0 for v in (sequence.diff_flux_njy_L, sequence.diff_flux_err_njy_L))
            known = np.where(np.isfinite(error), error, 0.0)
            axes.errorbar(days, flux, yerr=known, fmt="o", ms=4, color=BAND_COLORS[band], label=band)
    axes.set_ylabel("difference flux (µJy)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", ncols=len(BANDS))


def _draw_probabilities(axes: Any, view: ObjectView) -> None:
    scored = view.scored()
    days = [day for day, _ in scored]
    abstained = [record.classification.status is Status.ABSTAINED for _, record in scored]
    for k, name in enumerate(CLASS_NAMES):
        values = [(record.classification.probabilities or ())[k] for _, record in scored]
        axes.plot(days, values, color=CLASS_COLORS[name], label=name)
        for hollow in (False, True):
            points = [(d, v) for d, v, a in zip(days, values, abstained, strict=True) if a is hollow]
            face = "white" if hollow else CLASS_COLORS[name]
            axes.plot(*zip(*points, strict=True), "o", ms=4, mfc=face, mec=CLASS_COLORS[name]) if points else None
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("probability")
    axes.set_xlabel("days since first detection (hollow: abstained)")
    axes.legend(loc="best", ncols=len(CLASS_NAMES))
