"""One object in a terminal: stamps in half blocks, the light curve beneath them, probabilities over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker_plugin.evaluation.object_view import BAND_COLORS, CLASS_COLORS, ObjectView, attention_by_night
from broker_plugin.evaluation.sequence_image import sequence_grid
from schemas.bands import BANDS
from schemas.classification import CLASS_NAMES
from schemas.observation import STAMP_SIZE
from schemas.sequence import GridView, StampSequence

# Characters across a stamp; a character is two pixels high.
STAMP_COLUMNS: Final = 8
LABEL_COLUMNS: Final = 3
LEVELS: Final = "▁▂▃▄▅▆▇█"
# Brightness where there is no colour, black (not observed) first, and what stands for a masked pixel there.
SHADES: Final = " ·░▒▓█"
MASKED: Final = "x"
MAX_RECORDS: Final = 16
BAR_COLUMNS: Final = 12
# A probability is written in as many, with the space before it.
NUMBER_COLUMNS: Final = 5
# Below this width the records' status is left out.
STATUS_WIDTH: Final = 60


def render_object(view: ObjectView, *, plane: str, width: int, colour: bool = True) -> RenderableType:
    """What ``show`` prints; the newest nights that fit ``width`` characters, and the newest MAX_RECORDS records.
    colour: False for a pipe or a file, where stamps are shades of grey."""
    last = view.records[-1].classification
    head = f"{view.survey} {view.object_id}  {last.predicted_class or last.status.value}, {last.num_frames} frames"
    parts: list[RenderableType] = [Text(head, style="bold")]
    if view.sequence is not None and len(view.sequence):
        rows = _half_blocks if colour else _shades
        parts += _stamps_and_curve(view.sequence, plane, width, view.first_mjd, attention_by_night(view), rows)
    else:
        parts.append(Text("no stamps of this object were kept: no picture", style="dim"))
    return Group(*parts, _probabilities(view, width))


def print_object(view: ObjectView, *, plane: str) -> None:
    """Print to standard output, at its width."""
    console = Console(highlight=False)
    colour = console.color_system is not None
    console.print(render_object(view, plane=plane, width=console.width, colour=colour))


def _stamps_and_curve(
    sequence: StampSequence,
    plane: str,
    width: int,
    first_mjd: float,
    attention_T: NDArray[np.float32] | None,
    drawn: Callable[[NDArray[np.uint8], str], list[Text]],
) -> list[RenderableType]:
    grid, picture = sequence_grid(sequence, plane)
    num_nights = len(grid.mjd_T)
    shown = max(1, min(num_nights, (width - LABEL_COLUMNS) // STAMP_COLUMNS))
    small = _shrink(picture)[:, -shown * STAMP_COLUMNS :]
    lines: list[RenderableType] = []
    for row, band in enumerate(grid.bands):
        lines += drawn(small[row * STAMP_COLUMNS : (row + 1) * STAMP_COLUMNS], band)
    lines += _light_curve(sequence, grid, shown)
    if attention_T is not None:
        lines.append(_attention(attention_T, shown))
    days = "".join(f"{mjd - first_mjd:<{STAMP_COLUMNS}.1f}" for mjd in grid.mjd_T[-shown:])
    lines.append(Text(f"{'':{LABEL_COLUMNS}}{days.rstrip()}", style="dim", no_wrap=True))
    left_out = f", the newest {shown} of {num_nights} nights" if shown < num_nights else ""
    looked = "" if attention_T is None else f"; at: attention, at most {float(attention_T.max()):.0%} a night"
    legend = f"{plane}; days since first detection{left_out}; black: not observed, red: masked{looked}"
    lines.append(Text(legend, style="dim"))
    return lines


def _shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean over blocks, so that a stamp is STAMP_COLUMNS pixels a side."""
    block = STAMP_SIZE // STAMP_COLUMNS
    rows, columns, _ = picture.shape
    blocks = picture.reshape(rows // block, block, columns // block, block, 3)
    return np.asarray(blocks.mean(axis=(1, 3)).round()).astype(np.uint8)


def _half_blocks(pixels: NDArray[np.uint8], band: str) -> list[Text]:
    lines = []
    for row in range(0, len(pixels), 2):
        label = f" {band} " if row == STAMP_COLUMNS // 4 * 2 else " " * LABEL_COLUMNS
        line = Text(label, style=f"bold {BAND_COLORS[band]}", no_wrap=True)
        for upper, lower in zip(pixels[row].tolist(), pixels[row + 1].tolist(), strict=True):
            line.append("▀", style="rgb({},{},{}) on rgb({},{},{})".format(*upper, *lower))
        lines.append(line)
    return lines


def _shades(pixels: NDArray[np.uint8], band: str) -> list[Text]:
    """The mean of two pixels as a character, from the darkest to the brightest of the band; masked ones are red in
    the picture."""
    pairs = pixels.reshape(-1, 2, *pixels.shape[1:]).mean(axis=1)
    grey, red = pairs.mean(axis=-1), pairs[..., 0] > pairs[..., 1] + 1
    observed = grey > 0
    low, high = (float(f(grey[observed])) for f in (np.min, np.max)) if observed.any() else (0.0, 1.0)
    levels = 1 + ((grey - low) / max(high - low, 1.0) * (len(SHADES) - 2)).round().astype(int)
    lines = []
    for row, line in enumerate(np.where(observed, levels, 0)):
        label = f" {band} " if row == STAMP_COLUMNS // 4 else " " * LABEL_COLUMNS
        shown = [MASKED if masked else SHADES[level] for level, masked in zip(line, red[row], strict=True)]
        lines.append(Text(label + "".join(shown), no_wrap=True))
    return lines


def _light_curve(sequence: StampSequence, grid: GridView, shown: int) -> list[Text]:
    """Difference flux of each band and night as a bar, all on one scale from the faintest to the brightest."""
    nights = np.unique(sequence.night_L)
    known = np.isfinite(sequence.diff_flux_njy_L)
    if not known.any():
        return []
    low, high = (float(f(sequence.diff_flux_njy_L[known])) for f in (np.min, np.max))
    lines = []
    for band in grid.bands:
        of_band = known & (sequence.band_L == BANDS.index(band) + 1)
        if not of_band.any():
            continue
        line = Text(f" {band} ", style=BAND_COLORS[band], no_wrap=True)
        for night in nights[-shown:]:
            flux = sequence.diff_flux_njy_L[of_band & (sequence.night_L == night)]
            level = int((flux[-1] - low) / max(high - low, 1e-9) * (len(LEVELS) - 1)) if flux.size else -1
            line.append(f"{LEVELS[level] * 2 if level >= 0 else '':^{STAMP_COLUMNS}}")
        lines.append(line)
    lines.append(Text(f"   flux {low / 1000:.1f} to {high / 1000:.1f} µJy", style="dim"))
    return lines


def _attention(attention_T: NDArray[np.float32], shown: int) -> Text:
    """Each night's share of the attention as a bar, from nothing to the largest."""
    line = Text("at ", style="dim", no_wrap=True)
    largest = max(float(attention_T.max()), 1e-9)
    for share in attention_T[-shown:].tolist():
        level = round(share / largest * (len(LEVELS) - 1))
        line.append(f"{LEVELS[level] * 2 if share > 0 else '':^{STAMP_COLUMNS}}")
    return line


def _probabilities(view: ObjectView, width: int) -> Table:
    """The newest records, a line each; the bars take what the numbers leave of ``width``."""
    columns = {"day": 6, "frames": 6} | ({"status": 10} if width >= STATUS_WIDTH else {})
    left = width - sum(columns.values()) - len(columns) + 1  # a space between columns, none after the last
    wide = max(NUMBER_COLUMNS, min(BAR_COLUMNS + NUMBER_COLUMNS, left // len(CLASS_NAMES) - 1))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name, size in columns.items():
        table.add_column(name, justify="left" if name == "status" else "right", width=size, no_wrap=True)
    for name in CLASS_NAMES:
        table.add_column(name[:wide], style=CLASS_COLORS[name], width=wide, no_wrap=True)
    for day, record in view.scored()[-MAX_RECORDS:]:
        said = record.classification
        cells = {"day": f"{day:.1f}", "frames": str(said.num_frames), "status": said.status.value}
        bars = [_bar(probability, wide - NUMBER_COLUMNS) for probability in said.probabilities or ()]
        table.add_row(*(cells[name] for name in columns), *bars)
    return table


def _bar(probability: float, longest: int) -> str:
    return f"{'█' * round(probability * longest):<{longest}}{probability:{NUMBER_COLUMNS}.2f}"
