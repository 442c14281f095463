"""Figures of a simulated set: what was drawn, how it varies, what it looks like. Needs the extra ``plots``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.bands import BANDS
from schemas.classification import CLASS_NAMES
from schemas.sequence import PLANES, StampSequence
from train.simulator.sequence_set import SequenceSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASS_COLOURS: Final = {"AGN": "#7a5195", "SNIa": "#2f6fb0", "SNOther": "#d1495b", "Variable": "#3a8f5c"}
OTHER_COLOUR: Final = "#777777"
BAND_COLOURS: Final = {
    "u": "#6a3d9a",
    "g": "#2c8a4b",
    "r": "#d1302f",
    "i": "#a86a1d",
    "z": "#4d4d4d",
    "y": "#111111",
}
STAMPS_A_ROW: Final = 9
ARCSINH_SIGMA: Final = 2.0  # where the stretch turns from linear to logarithmic, in units of a pixel's noise
NANOJANSKY_TO_MICRO: Final = 1e-3
_SHADE: Final[dict[str, Any]] = {"facecolor": "black", "alpha": 0.45, "pad": 1.0, "linewidth": 0.0}


def figure(width: float, height: float) -> Figure:
    """An empty figure that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def classes_in(sequences: SequenceSet) -> list[str]:
    """The four classes and then whatever else the set has."""
    found = set(sequences.text("true_class"))
    return [name for name in CLASS_NAMES if name in found] + sorted(found - set(CLASS_NAMES))


def colour_of(class_name: str) -> str:
    """One colour a class; grey for those never trained."""
    return CLASS_COLOURS.get(class_name, OTHER_COLOUR)


def population(sequences: SequenceSet) -> Figure:
    """Histograms by true class of what the truth table says."""
    drawn = figure(11, 6)
    axes = drawn.subplots(2, 3).ravel()
    objects = sequences.objects
    names = np.array(sequences.text("true_class"))
    separation = np.log10(np.maximum(objects["separation_arcsec"], 0.01))
    panels: tuple[tuple[str, NDArray[Any]], ...] = (
        ("peak of the change in r, mag", objects["peak_r"]),
        ("host r, mag", objects["host_r"]),
        ("redshift", objects["redshift"]),
        ("log10 of separation, arcsec (-2: none)", separation),
        ("frames", objects["num_frames"]),
    )
    for axis, (label, values) in zip(axes, panels, strict=False):
        known = np.isfinite(values) & (values < 98)
        low, high = np.percentile(values[known], (0.5, 99.5)) if known.any() else (0.0, 1.0)
        edges = np.linspace(float(low), float(high), 25)
        for name in classes_in(sequences)[: len(CLASS_NAMES)]:
            chosen = known & (names == name) & (values >= low) & (values <= high)
            if not chosen.any():
                continue
            axis.hist(values[chosen], edges, histtype="step", lw=1.6, density=True, color=colour_of(name), label=name)
        axis.set_xlabel(label)
        axis.set_yticks([])
    counts = [int(np.count_nonzero(names == name)) for name in classes_in(sequences)]
    bars = axes[5].barh(classes_in(sequences), counts, color=[colour_of(name) for name in classes_in(sequences)])
    axes[5].bar_label(bars, padding=3, fontsize=8)
    axes[5].invert_yaxis()
    axes[5].set_xlabel("objects by true class")
    axes[5].margins(x=0.15)
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    _plain(axes)
    return drawn


def conditions(sequences: SequenceSet, chosen: Sequence[int]) -> Figure:
    """Seeing and noise by band, gaps between nights, of the ``chosen`` objects."""
    drawn = figure(11, 3)
    axes = drawn.subplots(1, 3)
    parts = [sequences.sequence(index) for index in chosen]
    band = np.concatenate([part.band_L for part in parts])
    width = np.concatenate([part.psf_fwhm_arcsec_L for part in parts])
    noise = np.concatenate([part.noise_LP[:, 0] for part in parts])
    for number, name in enumerate(BANDS, start=1):
        here = (band == number) & np.isfinite(width) & (noise > 0)
        if here.any():
            style: dict[str, Any] = {"histtype": "step", "lw": 1.6, "color": BAND_COLOURS[name], "label": name}
            axes[0].hist(width[here], 30, density=True, **style)
            axes[1].hist(np.log10(noise[here]), 30, density=True, **style)
    gaps = np.concatenate([np.diff(np.unique(part.night_L)) for part in parts])
    axes[2].hist(gaps, np.arange(0.5, 25.5), color="#8899aa")
    labels = ("PSF FWHM, arcsec", "log10 noise of a pixel, nJy", "nights to the next")
    for axis, label in zip(axes, labels, strict=True):
        axis.set_xlabel(label)
        axis.set_yticks([])
    axes[0].legend(frameon=False, fontsize=8)
    _plain(axes)
    return drawn


def light_curves(sequences: SequenceSet, rows: Sequence[tuple[str, Sequence[int]]]) -> Figure:
    """Difference fluxes as the packets state them, one row a class."""
    columns = max((len(chosen) for _, chosen in rows), default=1)
    drawn = figure(2.9 * columns, 1.75 * len(rows))
    axes = drawn.subplots(len(rows), columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_visible(False)
    for line, (name, chosen) in zip(axes, rows, strict=True):
        for axis, index in zip(line, chosen, strict=False):
            axis.set_visible(True)
            _light_curve(axis, sequences.sequence(index))
            axis.set_title(caption(sequences, index), fontsize=7, loc="left", color=colour_of(name))
    _plain(axes.ravel())
    return drawn


def _light_curve(axis: Axes, sequence: StampSequence) -> None:
    days = sequence.mjd_L - sequence.mjd_L[0]
    for number, name in enumerate(BANDS, start=1):
        here = sequence.band_L == number
        if here.any():
            flux, error = (
                values[here] * NANOJANSKY_TO_MICRO
                for values in (sequence.diff_flux_njy_L, sequence.diff_flux_err_njy_L)
            )
            axis.errorbar(days[here], flux, error, fmt="o", ms=2, lw=0.5, color=BAND_COLOURS[name])
    axis.axhline(0.0, lw=0.6, color="#999999")
    axis.tick_params(labelsize=6)


def caption(sequences: SequenceSet, index: int) -> str:
    """Class, kind, redshift and peak of one object."""
    row = sequences.objects[index]
    words = [row["true_class"].decode()]
    kind, label = row["kind"].decode(), row["label"].decode()
    if kind not in words and not kind.startswith(("confirmed", "unconfirmed")):
        words.append(kind.replace("_", " "))
    if np.isfinite(row["redshift"]):
        words.append(f"z={row['redshift']:.2f}")
    if row["peak_r"] < 98:
        words.append(f"peak {row['peak_r']:.1f}")
    if label != words[0]:
        words.append(f"labelled {label}")
    return ", ".join(words)


def stamps(sequences: SequenceSet, rows: Sequence[tuple[str, int]], band: str, plane: str) -> Figure:
    """One object a row: its stamps in a band, evenly spaced over its frames, arcsinh-stretched.

    The brightest change is always among them; masked pixels are blue.
    """
    from matplotlib import colormaps

    height = 1.38 * len(rows) + 0.25
    drawn = figure(1.15 * STAMPS_A_ROW, height)
    drawn.set_layout_engine("constrained", rect=(0.0, 0.0, 1.0, 1.0 - 0.25 / height))
    axes = drawn.subplots(len(rows), STAMPS_A_ROW, squeeze=False, gridspec_kw={"hspace": 0.2})
    shades = colormaps["gray"].with_extremes(bad="#3b5b92")
    for line, (name, index) in zip(axes, rows, strict=True):
        sequence = sequences.sequence(index)
        frames = np.flatnonzero(sequence.band_L == BANDS.index(band) + 1)
        if len(frames) > STAMPS_A_ROW:
            even = np.linspace(0, len(frames) - 1, STAMPS_A_ROW).round().astype(int)
            peak = int(np.argmax(np.abs(sequence.diff_flux_njy_L[frames])))
            even[int(np.argmin(np.abs(even - peak)))] = peak
            frames = frames[even]
        for axis in line:
            axis.set_axis_off()
        brightest = max((float(_stretched(sequence, int(frame), plane).max()) for frame in frames), default=1.0)
        for axis, frame in zip(line, frames, strict=False):
            shown = _stretched(sequence, int(frame), plane)
            low = -brightest if plane == "difference" else -1.5
            axis.imshow(shown, cmap=shades, origin="lower", vmin=low, vmax=max(brightest, 2.0))
            days = f"{sequence.mjd_L[frame] - sequence.mjd_L[0]:.0f} d"
            axis.text(0.04, 0.04, days, transform=axis.transAxes, fontsize=6, color="white", bbox=_SHADE)
        words = caption(sequences, index)
        text = line[0].text(0.0, 1.06, words, transform=line[0].transAxes, fontsize=7, color=colour_of(name))
        text.set_in_layout(False)
    return drawn


def _stretched(sequence: StampSequence, frame: int, plane: str) -> Any:
    number = PLANES.index(plane)
    scale = ARCSINH_SIGMA * max(float(sequence.noise_LP[frame, number]), 1e-6)
    values = np.arcsinh(sequence.planes_LPHW[frame, number] / scale)
    return np.ma.masked_array(values, ~sequence.valid_LPHW[frame, number])


def _plain(axes: Sequence[Axes] | NDArray[Any]) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
