"""Metrics against scikit-learn and against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from broker_plugin.evaluation.bootstrap import (
    METRICS,
    draw_resamples,
    features,
    metrics_of_sums,
    paired_difference,
    resampled_metrics,
)
from broker_plugin.evaluation.novelty import timing_report
from broker_plugin.evaluation.scores import abstention_curve, classwise_ece, slice_scores
from broker_plugin.evaluation.summary import Options, compare, evaluate
from broker_plugin.evaluation.table import build_table
from broker_plugin.evaluation.truth import TruthTable
from schemas.classification import CLASS_NAMES
from schemas.errors import EvaluationError
from tests.evaluation.support import make_record, random_records

K = len(CLASS_NAMES)


def random_samples(seed: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(K, size=num_samples)
    probabilities = rng.dirichlet(np.ones(K), size=num_samples)
    probabilities[np.arange(num_samples), truth] += rng.uniform(0, 1, num_samples)
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def ece_by_loops(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Class-wise ECE written as the formula reads."""
    total = 0.0
    for k in range(K):
        for m in range(10):
            inside = [
                i for i, p in enumerate(probabilities[:, k]) if m / 10 <= p < (m + 1) / 10 or (m == 9 and p == 1.0)
            ]
            if inside:
                frequency = np.mean([truth[i] == k for i in inside])
                confidence = np.mean([probabilities[i, k] for i in inside])
                total += len(inside) / len(truth) * abs(frequency - confidence)
    return total / K


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), num_samples=st.integers(5, 200))
def test_scores_are_scikit_learns(seed: int, num_samples: int) -> None:
    """Every metric of a slice equals scikit-learn's on random inputs; the class-wise ECE equals its formula."""
    truth, probabilities = random_samples(seed, num_samples)
    scores = slice_scores(truth, probabilities, np.ones(num_samples, bool))
    predicted = probabilities.argmax(axis=1)
    present = sorted(set(truth.tolist()))
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    expected_f1 = metrics.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(expected_f1)
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(truth, probabilities, labels=range(K)))
    assert scores["brier"] == pytest.approx(np.sum((np.eye(K)[truth] - probabilities) ** 2) / num_samples)
    assert scores["confusion"] == metrics.confusion_matrix(truth, predicted, labels=range(K)).tolist()
    assert scores["ece"] == pytest.approx(ece_by_loops(truth, probabilities))
    for k, name in enumerate(CLASS_NAMES):
        one = scores["classes"][name]
        positive = truth == k
        if 0 < positive.sum() < num_samples:
            assert one["roc_auc"] == pytest.approx(metrics.roc_auc_score(positive, probabilities[:, k]))
            expected = metrics.average_precision_score(positive, probabilities[:, k])
            assert one["average_precision"] == pytest.approx(expected)
            assert one["recall"] == pytest.approx(metrics.recall_score(positive, predicted == k, zero_division=0))
        if (predicted == k).any():
            assert one["precision"] == pytest.approx(metrics.precision_score(positive, predicted == k))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), num_samples=st.integers(5, 80))
def test_resampled_metrics_are_those_of_the_resample(seed: int, num_samples: int) -> None:
    """The matrix form of the bootstrap gives, for each resample, the metrics of the samples drawn."""
    truth, probabilities = random_samples(seed, num_samples)
    counts = draw_resamples(num_samples, 5, seed)
    assert (counts.sum(axis=1) == num_samples).all()
    resampled = resampled_metrics(counts, np.arange(num_samples), truth, probabilities)
    for row, drawn in enumerate(counts):
        places = np.repeat(np.arange(num_samples), drawn)
        scores = slice_scores(truth[places], probabilities[places], np.ones(len(places), bool))
        for name in METRICS:
            assert resampled[name][row] == pytest.approx(scores[name], abs=1e-9), name


def test_a_resample_without_the_slice_says_nothing() -> None:
    """A slice that a resample misses altogether is NaN there, not 0."""
    sums = np.zeros((1, features(np.array([0]), np.full((1, K), 1 / K)).shape[1]))
    assert all(np.isnan(values).all() for values in metrics_of_sums(sums).values())


def test_ece_by_hand() -> None:
    """Two samples at 0.8 for class 0, one of them right: |0.5 - 0.8| for class 0, by hand for the others."""
    probabilities = np.array([[0.8, 0.2, 0.0, 0.0], [0.8, 0.2, 0.0, 0.0]])
    assert classwise_ece(np.array([0, 1]), probabilities) == pytest.approx((0.3 + 0.3) / 4)


def test_abstention_by_hand() -> None:
    """Answers in order of confidence, equal confidences together."""
    curve = abstention_curve(np.array([True, False, True, False]), np.array([0.9, 0.5, 0.7, 0.5]))
    assert curve == {"coverage": [0.25, 0.5, 1.0], "accuracy": [1.0, 1.0, 0.5], "threshold": [0.9, 0.7, 0.5]}


def test_a_twin_challenger_is_no_better() -> None:
    """A challenger that says the same: differences and intervals of 0, and as often better as worse."""
    truth, probabilities = random_samples(1, 100)
    counts = draw_resamples(100, 50, 0)
    result = paired_difference(counts, np.arange(100), truth, probabilities, probabilities)
    for entry in result.values():
        assert entry["difference"] == 0.0
        assert entry["interval"] == [0.0, 0.0]
        assert entry["challenger_better"] == 0.5


def test_a_better_challenger_is_found() -> None:
    """A sharper challenger is better in nearly every resample, in every metric's own direction; without resamples
    there is the difference alone."""
    champion, labels = random_records(300, 1, sharpness=0.5)
    challenger, _ = random_records(300, 1, sharpness=3.0)
    truth = TruthTable(Path("truth.csv"), labels, 0)
    tables = build_table(champion, truth), build_table(challenger, truth)
    result = compare(*tables, Options(num_resamples=200))
    assert result["overall"]["num_objects"] == 300
    for name in ("accuracy", "macro_f1", "log_loss", "brier"):
        assert result["overall"]["metrics"][name]["challenger_better"] > 0.99, name
    assert len(result["by_frames"]) >= 5
    without = compare(*tables, Options(num_resamples=0))["overall"]["metrics"]["accuracy"]
    assert without["difference"] == result["overall"]["metrics"]["accuracy"]["difference"]
    assert (without["interval"], without["challenger_better"]) == (None, None)
    with pytest.raises(EvaluationError, match="share no scored object"):
        compare(tables[0], build_table([make_record("x", (1, 0, 0, 0), num_frames=3, last_mjd=60001.0)], truth))


def test_the_evaluation_is_deterministic_and_its_intervals_cover() -> None:
    """The same seed gives the same figures; each interval holds its point estimate."""
    records, labels = random_records(200, 4, outside_every=10)
    truth = TruthTable(Path("truth.csv"), labels, 0)
    table = build_table(records, truth)
    first, second = (evaluate(table, truth, Options(num_resamples=100, seed=7)) for _ in range(2))
    assert first == second
    assert evaluate(table, truth, Options(num_resamples=100, seed=8)) != first
    for item in (first["overall"], *first["by_frames"]):
        for name in ("accuracy", "log_loss", "brier"):
            low, high = item["intervals"][name]
            assert low <= item[name] <= high
    assert first["overall"]["num_objects"] == 180
    assert first["counts"]["num_outside_taxonomy"] == 20
    assert first["counts"]["outside_labels"] == ["TDE"]
    assert sum(first["counts"]["records_by_status"].values()) == len(records)


def test_novelty_and_timing() -> None:
    """The novelty area equals scikit-learn's on the last records; latency and throughput are as made."""
    records, labels = random_records(150, 2, outside_every=5)
    truth = TruthTable(Path("truth.csv"), labels, 0)
    report = evaluate(build_table(records, truth), truth, Options(num_resamples=0))
    last = {r.classification.object_id: r.classification for r in records if r.classification.novelty is not None}
    outside = [labels[name] == "TDE" for name in last]
    expected = metrics.roc_auc_score(outside, [said.novelty for said in last.values()])
    assert report["novelty"]["roc_auc"] == pytest.approx(expected)
    assert report["novelty"]["num_outside"] == sum(outside)
    assert report["timing"]["latency_s"]["p50"] == pytest.approx(0.02, abs=1e-6)
    assert report["timing"]["records_per_s"] == pytest.approx(100, rel=0.01)


def test_offline_records_have_no_latency() -> None:
    """Records without a time of ingest have a throughput and no latency; those of one batch have neither."""
    batches = [1000.0] * 7 + [1002.0] * 6 + [1004.0] * 4
    said = [
        make_record("a", (1, 0, 0, 0), num_frames=n + 1, last_mjd=60000.0 + n, publish_time=time)
        for n, time in enumerate(batches)
    ]
    found = {"num_records": 17, "latency_s": None, "span_s": 4.0, "records_per_s": 2.5}
    assert timing_report(build_table(said, None)) == found
    alone = {"num_records": 7, "latency_s": None, "span_s": 0.0, "records_per_s": None}
    assert timing_report(build_table(said[:7], None)) == alone
    unknown = make_record("a", (1, 0, 0, 0), num_frames=1, last_mjd=60000.0)
    assert timing_report(build_table([unknown], None)) is None


def test_no_overlap_is_an_error() -> None:
    """Records and a truth that share no object end in one clear line that shows an id of each side."""
    truth = TruthTable(Path("truth.csv"), {"a": "SNIa"}, 0)
    table = build_table([make_record("b", (1, 0, 0, 0), num_frames=3, last_mjd=60001.0)], truth)
    with pytest.raises(EvaluationError, match="none of its 1 objects has a scored record"):
        evaluate(table, truth)
    with pytest.raises(EvaluationError, match="no record"):
        build_table([], truth)
