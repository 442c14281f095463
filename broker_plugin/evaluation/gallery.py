"""The report's gallery: which objects it shows, and what a click on one opens.

Three rankings, each by the last scored record of an object whose truth is in the taxonomy: most wrong (least
probability for the true class), most uncertain (entropy), earliest right (fewest frames from which it stays right).
"""

from __future__ import annotations

import base64
import math
from typing import Any, Final

import numpy as np

from broker_plugin.evaluation.early import early_table
from broker_plugin.evaluation.sequence_image import png_bytes, sequence_grid
from broker_plugin.evaluation.stamp_archive import MAX_FRAMES, SequenceProvider
from broker_plugin.evaluation.table import NUM_CLASSES, STATUSES, RecordTable
from schemas.bands import band_name
from schemas.classification import CLASS_NAMES
from schemas.sequence import PLANES, StampSequence

DEFAULT_SIZE: Final = 24


def choose_objects(table: RecordTable, size: int = DEFAULT_SIZE) -> list[dict[str, Any]]:
    """At most ``size`` objects of each ranking, each once, with figures; ``object`` numbers it in the table."""
    early = early_table(table)
    last = table.last_of_each(table.scored_R & table.known_R)
    probabilities = table.probabilities_RK[last]
    truth = table.truth_O[table.object_R[last]]
    given = probabilities[np.arange(len(last)), truth]
    entropy = -(probabilities * np.log(np.clip(probabilities, 1e-12, 1.0))).sum(axis=1) / math.log(NUM_CLASSES)
    order = np.argsort(table.object_R[last])  # early_table's rows ascend by object
    stays = np.empty(len(last))
    stays[order] = early["stays_frames"]
    days = np.empty(len(last))
    days[order] = early["stays_days"]
    rankings = (
        np.argsort(given, kind="stable"),
        np.argsort(-entropy, kind="stable"),
        np.lexsort((-given, days, stays)),  # NaN (never) last
    )
    chosen = sorted({int(row) for ranking in rankings for row in ranking[:size]})
    return [
        {
            "object": int(table.object_R[last[row]]),
            "survey": table.objects[table.object_R[last[row]]][0],
            "id": table.objects[table.object_R[last[row]]][1],
            "truth": CLASS_NAMES[truth[row]],
            "said": CLASS_NAMES[int(probabilities[row].argmax())],
            "status": STATUSES[table.status_R[last[row]]].value,
            "given": round(float(given[row]), 5),
            "entropy": round(float(entropy[row]), 5),
            "num_frames": int(table.num_frames_R[last[row]]),
            "stays_frames": int(stays[row]) if np.isfinite(stays[row]) else None,
            "stays_days": round(float(days[row]), 3) if np.isfinite(days[row]) else None,
        }
        for row in chosen
    ]


def build_gallery(
    table: RecordTable, chosen: list[dict[str, Any]], provider: SequenceProvider
) -> list[dict[str, Any]]:
    """The chosen objects with their records over time and, where the provider has it, their sequence."""
    gallery = []
    for entry in chosen:
        sequence = provider(entry["survey"], entry["id"])
        places = np.flatnonzero(table.object_R == entry["object"])
        first_mjd = float(table.mjd_R[places[0]] - table.days_R[places[0]])
        item = {key: value for key, value in entry.items() if key != "object"}
        item |= {"first_mjd": first_mjd, "records": object_records(table, places)}
        item["sequence"] = None if sequence is None or not len(sequence) else sequence_payload(sequence, first_mjd)
        gallery.append(item)
    return gallery


def object_records(table: RecordTable, places: Any) -> dict[str, Any]:
    """One object's records in delivery order: days since first detection, frames, status, probabilities or None."""
    return {
        "days": table.days_R[places].round(4).tolist(),
        "frames": table.num_frames_R[places].tolist(),
        "status": [STATUSES[code].value for code in table.status_R[places]],
        "probabilities": [
            None if math.isnan(row[0]) else row.round(4).tolist() for row in table.probabilities_RK[places]
        ],
    }


def sequence_payload(sequence: StampSequence, first_mjd: float) -> dict[str, Any]:
    """Pictures of both planes as base64 PNG, the nights of their columns, the light curve (nJy); ``is_full``: older
    frames may have been left out."""
    grids = {plane: sequence_grid(sequence, plane) for plane in PLANES}
    grid = grids["science"][0]
    return {
        "is_full": len(sequence) == MAX_FRAMES,
        "bands": list(grid.bands),
        "days": (grid.mjd_T - first_mjd).round(4).tolist(),
        "observed": grid.observed_TB.astype(int).tolist(),
        "pictures": {plane: base64.b64encode(png_bytes(picture)).decode() for plane, (_, picture) in grids.items()},
        "curve": {
            "days": (sequence.mjd_L - first_mjd).round(4).tolist(),
            "band": [band_name(int(identifier)) for identifier in sequence.band_L],
            "flux": _known(sequence.diff_flux_njy_L),
            "error": _known(sequence.diff_flux_err_njy_L),
        },
    }


def _known(values: Any) -> list[float | None]:
    return [round(float(value), 2) if np.isfinite(value) else None for value in values]
