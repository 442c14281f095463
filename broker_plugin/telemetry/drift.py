"""Drift and data quality: what is scored now, beside what the bundle was trained on.

The reference is the bundle's own (``distributions`` in its bundle.json) or, where it has none, the file
NAME-VERSION.json in ``classify.drift_references``, which ``convention-broker bundle reference`` writes. Without one
the distributions are still metrics, and the drift index is not a number, which no alert takes for drift.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from prometheus_client import Histogram

from broker_plugin.telemetry.metric_families import Families
from model.bundle_spec import BundleSpec
from model.distributions import EDGES, NUM_BINS, Counts, Quantity, count, from_json, measure, stability_index
from model.scores import Scores
from schemas.bands import BANDS
from schemas.errors import BundleError
from schemas.sequence import StampSequence
from schemas.surveys import SURVEYS

# A scored sequence counts half once this many more of its survey were scored.
HALF_LIFE_SEQUENCES: Final = 2000
# The index of fewer is mostly noise: about (bins - 1) / sequences for equal distributions.
MIN_SEQUENCES: Final = 300
HELP: Final = {
    Quantity.PROBABILITY: "Probability of the most probable class.",
    Quantity.NOVELTY: "Novelty: about 1 for what a bundle was fitted on, larger for strangers.",
    Quantity.SNR: "Difference flux of the newest frame over its error, absolute.",
    Quantity.MASKED: "Share of masked pixels of the newest frame.",
}


def drift_reference(spec: BundleSpec, folder: Path | None) -> Counts | None:
    """The bundle's reference, None where there is none. BundleError for a file that is not one."""
    if spec.distributions:
        return from_json(dict(spec.distributions), where=f"{spec.name} {spec.version}")
    path = None if folder is None else folder / f"{spec.name}-{spec.version}.json"
    if path is None or not path.exists():
        return None
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")), where=str(path))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: distributions check: {error}") from error


class _Window:
    """Counts of late of one survey under one bundle, older ones fading."""

    def __init__(self, bundle_id: str) -> None:
        self.bundle_id = bundle_id
        self.counts: Counts = {quantity: np.zeros(bins) for quantity, bins in NUM_BINS.items()}

    @property
    def num_sequences(self) -> float:
        """Sequences that the counts are worth."""
        return float(self.counts[Quantity.BAND].sum())

    def add(self, fresh: Counts) -> None:
        """Let what is there fade by as many sequences as come new."""
        faded = 0.5 ** (fresh[Quantity.BAND].sum() / HALF_LIFE_SEQUENCES)
        self.counts = {quantity: faded * counts + fresh[quantity] for quantity, counts in self.counts.items()}


class DriftMetrics:
    """The distributions of scored sequences, and their drift by survey. Call it from one thread."""

    def __init__(self, families: Families) -> None:
        surveys = [survey.name for survey in SURVEYS]
        self._windows: dict[str, _Window] = {}
        self._histograms: dict[Quantity, Histogram] = {
            quantity: families.histogram(f"convention_scored_{quantity}_ratio", text, EDGES[quantity])
            for quantity, text in HELP.items()
        }
        self._bands = families.counters(
            "convention_scored_bands_total", "Scored sequences, by the band of their newest frame.", "band", BANDS
        )
        self._sizes = families.gauges(
            "convention_drift_window_sequences", "Scored sequences that the drift index rests on.", "survey", surveys
        )
        self._indices = families.gauge_grid(
            "convention_drift_index",
            "Population stability index of what is scored against the bundle's training; NaN without a reference.",
            ("survey", surveys),
            ("quantity", tuple(Quantity)),
        )
        for gauge in self._indices.values():
            gauge.set(float("nan"))

    def scored(
        self, bundle_id: str, reference: Counts | None, sequences: Sequence[StampSequence], scores: Sequence[Scores]
    ) -> None:
        """A champion scored sequences, which have frames. Another bundle than before starts a window anew."""
        measured = measure(sequences, scores)
        for quantity, histogram in self._histograms.items():
            for value in measured[quantity][np.isfinite(measured[quantity])]:
                histogram.observe(value)
        for band in measured[Quantity.BAND]:
            self._bands[BANDS[int(band)]].inc()
        surveys = np.array([sequence.survey for sequence in sequences])
        for survey in sorted(set(surveys) & set(self._sizes)):
            chosen = surveys == survey
            fresh = count({quantity: values[chosen] for quantity, values in measured.items()})
            self._drifted(survey, bundle_id, reference, fresh)

    def _drifted(self, survey: str, bundle_id: str, reference: Counts | None, fresh: Counts) -> None:
        window = self._windows.get(survey)
        if window is None or window.bundle_id != bundle_id:
            window = self._windows[survey] = _Window(bundle_id)
        window.add(fresh)
        self._sizes[survey].set(window.num_sequences)
        enough = reference is not None and window.num_sequences >= MIN_SEQUENCES
        for quantity in Quantity:
            index = stability_index(reference[quantity], window.counts[quantity]) if enough and reference else np.nan
            self._indices[survey, quantity].set(index)
