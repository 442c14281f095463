"""Drift metrics: still where nothing changed, loud where something did, silent where there is nothing to compare."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from broker_plugin.cli import main
from broker_plugin.telemetry.classify_metrics import ClassifyMetrics
from broker_plugin.telemetry.drift import HALF_LIFE_SEQUENCES, MIN_SEQUENCES, drift_reference
from broker_plugin.telemetry.measured_scorer import measured
from model.distributions import Counts, Quantity, count, measure, to_json
from model.runtime import Runtime, load_scorer
from model.scores import Scores
from schemas.errors import BundleError
from schemas.sequence import StampSequence
from tests.model.bundle_samples import make_observations, make_sequence, write_sample
from tests.train.toy_sets import write_toy_set
from train.simulator.sequence_set import SequenceWriter, pack

BUNDLE = "convention-ztf 1.0 abc"


@cache
def frame(band: int) -> StampSequence:
    """A sequence of one frame in this band."""
    return replace(make_sequence(1, 1), band_L=np.array([band], np.uint8))


def stream(number: int, seed: int, *, novelty: float = 1.0) -> tuple[list[StampSequence], list[Scores]]:
    """Sequences of one frame and results at random; ``novelty`` scales theirs."""
    random = np.random.default_rng(seed)
    sequences, scores = [], []
    for _ in range(number):
        error = np.array([1000.0 / random.uniform(4, 60)], np.float32)
        sequences.append(replace(frame(int(random.integers(2, 5))), diff_flux_err_njy_L=error))
        probabilities = random.dirichlet(np.ones(4)).astype(np.float32)
        said = Scores(probabilities, np.zeros(4, np.float32), 0.0, novelty * float(random.lognormal(0, 0.3)), None)
        scores.append(said)
    return sequences, scores


def reference() -> Counts:
    """Of the same population as ``stream``."""
    return count(measure(*stream(2000, seed=1)))


def metrics() -> tuple[CollectorRegistry, ClassifyMetrics]:
    """Metrics that know one champion."""
    registry = CollectorRegistry()
    found = ClassifyMetrics(registry, version="1")
    found.bundles([BUNDLE], ["challenger"])
    return registry, found


def index(registry: CollectorRegistry, quantity: Quantity, survey: str = "ztf") -> float:
    """The drift index that is exported."""
    labels = {"role": "classify", "survey": survey, "quantity": quantity.value}
    value = registry.get_sample_value("convention_drift_index", labels)
    assert value is not None
    return value


def test_the_same_population_does_not_drift() -> None:
    """Fresh sequences of the reference's own population stay below 0.1 in every quantity, batch after batch."""
    registry, found = metrics()
    for seed in range(2, 22):
        found.scored_by(BUNDLE, reference(), *stream(64, seed))
    assert all(0 <= index(registry, quantity) < 0.1 for quantity in Quantity)
    assert math.isnan(index(registry, Quantity.BAND, "lsst"))  # of a survey that sent nothing


def test_only_what_changed_drifts_and_recovers() -> None:
    """Stranger sequences raise the index of novelty past 0.25 and no other; once they end it comes down again."""
    registry, found = metrics()
    found.scored_by(BUNDLE, reference(), *stream(1000, 2))
    found.scored_by(BUNDLE, reference(), *stream(1000, 3, novelty=1.6))
    assert index(registry, Quantity.NOVELTY) > 0.25
    assert all(index(registry, quantity) < 0.1 for quantity in Quantity if quantity is not Quantity.NOVELTY)
    for seed in range(4, 10):
        found.scored_by(BUNDLE, reference(), *stream(HALF_LIFE_SEQUENCES // 2, seed))
    assert index(registry, Quantity.NOVELTY) < 0.1


def test_another_band_mix_drifts() -> None:
    """A filter that is gone shows in the band mix."""
    registry, found = metrics()
    sequences, scores = stream(1000, 2)
    red = [replace(sequence, band_L=frame(3).band_L) for sequence in sequences]
    found.scored_by(BUNDLE, reference(), red, scores)
    assert index(registry, Quantity.BAND) > 1
    labels = {"role": "classify", "band": "r"}
    assert registry.get_sample_value("convention_scored_bands_total", labels) == 1000


def test_without_a_reference_or_with_few_sequences_there_is_no_index() -> None:
    """NaN, which no alert takes for drift; the distributions are metrics all the same."""
    registry, found = metrics()
    found.scored_by(BUNDLE, None, *stream(1000, 2))
    assert math.isnan(index(registry, Quantity.SNR))
    assert registry.get_sample_value("convention_scored_snr_ratio_count", {"role": "classify"}) == 1000
    registry, found = metrics()
    found.scored_by(BUNDLE, reference(), *stream(MIN_SEQUENCES - 1, 2))
    assert math.isnan(index(registry, Quantity.SNR))
    found.scored_by(BUNDLE, reference(), *stream(100, 3))
    assert index(registry, Quantity.SNR) < 0.1


def test_another_bundle_begins_anew_and_a_challenger_does_not_count() -> None:
    """The window is one bundle's; a challenger's scores are no part of it; an empty chunk is nothing."""
    registry, found = metrics()
    labels = {"role": "classify", "survey": "ztf"}
    found.scored_by(BUNDLE, reference(), *stream(1000, 2))
    found.scored_by("challenger", reference(), *stream(500, 3))
    found.scored_by(BUNDLE, reference(), [], [])
    assert registry.get_sample_value("convention_drift_window_sequences", labels) == pytest.approx(1000)
    found.bundles(["other"], switched=True)
    found.scored_by("other", reference(), *stream(10, 4))
    assert registry.get_sample_value("convention_drift_window_sequences", labels) == pytest.approx(10)


def test_a_survey_outside_the_set_names_no_series() -> None:
    """Sequences of an unheard-of survey are in the distributions and in no drift window."""
    registry, found = metrics()
    sequences, scores = stream(5, 2)
    found.scored_by(BUNDLE, reference(), [replace(s, survey="ZTF21abiuvdk") for s in sequences], scores)
    assert registry.get_sample_value("convention_scored_novelty_ratio_count", {"role": "classify"}) == 5
    assert "ZTF21abiuvdk" not in str([sample for family in registry.collect() for sample in family.samples])


def test_the_reference_is_the_bundles_own_or_a_file(tmp_path: Path) -> None:
    """A bundle's own counts come first, then the folder's file of its name and version; neither is None."""
    write_sample(tmp_path / "plain")
    write_sample(tmp_path / "own", distributions=to_json(reference()))
    plain, own = (load_scorer(tmp_path / name).bundle.spec for name in ("plain", "own"))
    assert drift_reference(plain, None) is drift_reference(plain, tmp_path) is None
    assert to_json(found(drift_reference(own, None))) == to_json(reference())
    (tmp_path / "sample-1.0.json").write_text(json.dumps(to_json(count(measure(*stream(9, 1))))))
    assert sum(to_json(found(drift_reference(plain, tmp_path)))["band"]) == 9
    assert sum(to_json(found(drift_reference(own, tmp_path)))["band"]) == 2000
    (tmp_path / "sample-1.0.json").write_text("{")
    with pytest.raises(BundleError, match=r"sample-1\.0\.json"):
        drift_reference(plain, tmp_path)


def found(counts: Counts | None) -> Counts:
    """Not None."""
    assert counts is not None
    return counts


def test_a_scorer_that_scores_is_watched(tmp_path: Path) -> None:
    """What a loaded bundle scores goes through the metrics, with the reference that it states."""
    write_sample(tmp_path / "own", distributions=to_json(reference()))
    registry = CollectorRegistry()
    watched = ClassifyMetrics(registry, version="1")

    def load(path: Path) -> Runtime:
        return load_scorer(path)

    scorer = measured(load, watched, requested="cpu")(tmp_path / "own")
    watched.bundles([scorer.bundle_id])
    sequences: Sequence[StampSequence] = [make_sequence(seed, 4) for seed in range(5)]
    scorer.score(sequences)
    labels = {"role": "classify", "survey": "ztf"}
    assert registry.get_sample_value("convention_drift_window_sequences", labels) == 5


def test_a_reference_is_written_from_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``bundle reference`` scores triggers of a set, the same for the same seed, and the worker's loader reads it."""
    with SequenceWriter(
        tmp_path / "set", survey="ztf", grid_id="ztf-1.01-32", planes=("science", "difference")
    ) as writer:
        for seed in range(12):
            frames = pack(make_observations(seed, 3 + seed), ("science", "difference"))
            writer.add({"object_id": str(seed), "ra": 1.0, "dec": 1.0}, frames)
        writer.finish({})
    write_sample(tmp_path / "bundle", eligibility={"min_frames": 2})
    arguments = ["bundle", "reference", str(tmp_path / "bundle"), "--sequences", str(tmp_path / "set"), "--json"]
    texts = []
    for folder in ("one", "two"):
        assert main([*arguments, "--output", str(tmp_path / folder), "--num-triggers", "150"]) == 0
        counts = json.loads(capsys.readouterr().out)["distributions"]
        assert 0 < sum(counts["band"]) <= 150
        assert len({sum(numbers) for numbers in counts.values()}) == 1
        texts.append((tmp_path / folder / "sample-1.0.json").read_bytes())
    assert texts[0] == texts[1]
    assert drift_reference(load_scorer(tmp_path / "bundle").bundle.spec, tmp_path / "one") is not None
    write_toy_set(tmp_path / "toys")
    assert main([*arguments, "--sequences", str(tmp_path / "toys"), "--output", str(tmp_path)]) == 2
    assert "toy-1-32" in capsys.readouterr().err
