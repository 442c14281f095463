"""Output records: classification, ledger, dead letter, their samples, and the ELAsTiCC form."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable
from importlib.resources import files

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.scores import CLASSES, Scores
from schemas import broker_classification, classification
from schemas.classification import Classification, Status
from schemas.dead_letter import DeadLetter
from schemas.errors import DeadLetterReason, PacketError, RecordError, Stage
from schemas.ledger import LedgerEntry, Run, run_lengths
from schemas.observation import Observation, Plane, Withdrawal
from schemas.records import codec
from schemas.sequence import StampSequence, build_sequence

SCORES = Scores(
    probabilities_K=np.array([0.1, 0.6, 0.2, 0.1], np.float32),
    spread_K=np.array([0.05, 0.1, 0.1, 0.02], np.float32),
    mutual_information=0.3,
    novelty=2.25,
    abstain_reason=None,
)


def make_sequence(num_frames: int) -> StampSequence:
    plane = Plane(np.ones((32, 32), np.float32), np.ones((32, 32), np.bool_), 1.0)
    frames = [
        Observation(
            survey="ztf",
            object_id="ZTF1",
            source_id=str(index),
            mjd=59000.0 + index,
            night=59000 + index,
            band="gr"[index % 2],
            ra=10.0 + index,
            dec=-5.0,
            diff_flux_njy=1.0,
            diff_flux_err_njy=0.1,
            reliability=None,
            programid=1,
            grid_id="ztf-1.01-32",
            resampler="none-1",
            rotation_deg=0.0,
            psf_fwhm_arcsec=None,
            science=plane,
            difference=plane,
        )
        for index in range(num_frames)
    ]
    return build_sequence("ztf", "ZTF1", "ztf-1.01-32", frames, [b"d" * 16] * num_frames, view_digest="ab" * 16)


def classify(num_frames: int = 3, **changes: object) -> Classification:
    arguments: dict[str, object] = {"status": Status.CLASSIFIED, "reason": None, "scores": SCORES}
    arguments |= {"bundle_id": "b-1-00", "plugin_version": "0.1.0"} | changes
    return classification.build(make_sequence(num_frames), **arguments)  # type: ignore[arg-type]


def test_class_order_is_the_ensembles() -> None:
    """The record's class names and their order are the ensemble's."""
    assert classification.CLASS_NAMES == CLASSES


def test_classified_record() -> None:
    """A classified record names the newest source, counts frames per band and carries the scores."""
    record = classify()
    assert (record.newest_source_id, record.num_frames, record.predicted_class) == ("2", 3, "SNIa")
    assert record.frames_per_band == {"u": 0, "g": 2, "r": 1, "i": 0, "z": 0, "y": 0}
    assert (record.ra, record.dec, record.first_mjd, record.last_mjd) == (12.0, -5.0, 59000.0, 59002.0)
    assert record.probabilities == tuple(float(p) for p in SCORES.probabilities_K)


def test_abstained_keeps_the_scores_but_names_no_class() -> None:
    """An abstention is not the same as a low probability: scores stay, the class is null, the reason is said."""
    record = classify(status=Status.ABSTAINED, reason="low_confidence")
    assert record.predicted_class is None
    assert record.probabilities is not None
    assert record.reason == "low_confidence"


def test_empty_view_is_too_short_with_unknown_position() -> None:
    """A view whose frames were all withdrawn gives a record with nulls, not NaN."""
    record = classify(0, status=Status.TOO_SHORT, reason="frames", scores=None)
    assert (record.ra, record.dec, record.newest_source_id, record.first_mjd) == (None, None, None, None)
    assert record.probabilities is None
    assert Classification.from_bytes(record.to_bytes()) == record


@pytest.mark.parametrize(
    ("status", "reason", "scores"),
    [
        (Status.CLASSIFIED, None, None),
        (Status.CLASSIFIED, "frames", SCORES),
        (Status.ABSTAINED, None, SCORES),
        (Status.ABSTAINED, "novel", None),
        (Status.TOO_SHORT, "frames", SCORES),
        (Status.TOO_SHORT, None, None),
    ],
)
def test_scores_must_fit_the_status(status: Status, reason: str | None, scores: Scores | None) -> None:
    """A record that would contradict itself is refused."""
    with pytest.raises(ValueError, match="status"):
        classify(status=status, reason=reason, scores=scores)


def test_wrong_number_of_classes_or_nan_is_refused() -> None:
    """Probabilities of another taxonomy, or not finite, never reach the output."""
    for values in ([0.5, 0.5], [np.nan, 0.0, 0.0, 1.0]):
        bad = dataclasses.replace(SCORES, probabilities_K=np.array(values, np.float32))
        with pytest.raises(ValueError, match="finite"):
            classify(scores=bad)


@given(
    logits=st.lists(st.floats(-20, 20), min_size=4, max_size=4),
    information=st.floats(0, 5),
    novelty=st.floats(-1e6, 1e6) | st.just(float("nan")),
    num_frames=st.integers(1, 6),
)
def test_classification_round_trip(logits: list[float], information: float, novelty: float, num_frames: int) -> None:
    """Decoding a record's bytes, headed or bare, gives the record; building it again gives the same bytes."""
    weights = np.exp(np.array(logits) - max(logits))
    scores = Scores((weights / weights.sum()).astype(np.float32), SCORES.spread_K, information, novelty, None)
    record = classify(num_frames, scores=scores)
    assert Classification.from_bytes(record.to_bytes()) == record
    assert Classification.from_body(record.to_body()) == record
    assert classify(num_frames, scores=scores).to_bytes() == record.to_bytes()


def test_broker_classification_is_the_published_schema() -> None:
    """The bundled schema keeps the published (misspelt) record name and its field order."""
    schema = broker_classification.parsed_schema()
    assert schema["name"] == "elasticc.v0_9_1.brokerClassfication"
    assert [field["name"] for field in schema["fields"]][:3] == ["alertId", "diaSourceId", "elasticcPublishTimestamp"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (classify(), {2332: 0.1, 2222: 0.6, 2221: 0.2, 2320: 0.1, 200: 0.0, 300: 0.0}),
        (classify(status=Status.ABSTAINED, reason="novel"), {300: 1.0}),
        (classify(status=Status.TOO_SHORT, reason="nights", scores=None), {300: 1.0}),
    ],
)
def test_broker_classification_probabilities(record: Classification, expected: dict[int, float]) -> None:
    """Probabilities map to the taxonomy's ids and sum to 1; what is not classified says so with probability 1."""
    body = broker_classification.broker_body(
        broker_classification.to_broker_record(
            record, alert_id=7, dia_source_id=8, alert_publish_ms=1_700_000_000_000, ingest_ms=None
        )
    )
    read = broker_classification.read_broker_body(body)
    values = {entry["classId"]: entry["probability"] for entry in read["classifications"]}
    assert set(values) == {2332, 2222, 2221, 2320, 200, 300}
    assert sum(values.values()) == pytest.approx(1.0, abs=1e-6)
    for class_id, probability in values.items():
        assert probability == pytest.approx(expected.get(class_id, 0.0), abs=1e-6)
    assert (read["alertId"], read["diaSourceId"], read["brokerIngestTimestamp"]) == (7, 8, None)


OUTCOMES = st.lists(
    st.tuples(st.sampled_from(["stamped", "filtered", "dead_letter"]), st.sampled_from([None, "sky", "bad_gzip"])),
    min_size=1,
    max_size=60,
)


@given(outcomes=OUTCOMES, first_offset=st.integers(0, 1 << 40))
def test_ledger_round_trip(outcomes: list[tuple[str, str | None]], first_offset: int) -> None:
    """Every offset of a batch comes back with its outcome and reason, in order, from the bytes."""
    entry = LedgerEntry.of_outcomes(
        outcomes, role="ingest", group="g", topic="t", partition=3, first_offset=first_offset, instance="i"
    )
    read = LedgerEntry.from_bytes(entry.to_bytes())
    assert read == entry
    assert list(read.outcomes()) == [(first_offset + i, *outcome) for i, outcome in enumerate(outcomes)]


@given(outcomes=OUTCOMES)
def test_runs_are_the_fewest(outcomes: list[tuple[str, str | None]]) -> None:
    """Neighbouring runs always differ, so a batch without a fault is one run."""
    runs = run_lengths(outcomes)
    assert all((a.outcome, a.reason) != (b.outcome, b.reason) for a, b in itertools.pairwise(runs))


def test_ledger_that_does_not_add_up_is_refused() -> None:
    """An entry whose runs do not cover its offsets cannot be made, nor read."""
    with pytest.raises(ValueError, match="2 outcomes"):
        LedgerEntry("ingest", "g", "t", 0, 10, 12, (Run("stamped", None, 2),), "i")
    record = codec("ledger").decode(
        LedgerEntry("ingest", "g", "t", 0, 10, 11, (Run("stamped", None, 2),), "i").to_bytes()
    )
    with pytest.raises(RecordError, match="2 outcomes"):
        LedgerEntry.from_bytes(codec("ledger").encode(record | {"last_offset": 12}))


def make_dead_letter(payload: bytes, max_payload_bytes: int) -> DeadLetter:
    return DeadLetter.from_error(
        PacketError(DeadLetterReason.BAD_GZIP, Stage.CUTOUT, "crc", schema_id=1000),
        payload,
        topic="t",
        partition=1,
        offset=99,
        timestamp_ms=-1,
        key=b"k",
        plugin_version="0.1.0",
        max_payload_bytes=max_payload_bytes,
    )


@given(payload=st.binary(max_size=200), limit=st.integers(0, 200))
def test_dead_letter_round_trip(payload: bytes, limit: int) -> None:
    """A dead letter keeps the payload within the limit, and always its size and SHA-256."""
    letter = make_dead_letter(payload, limit)
    read = DeadLetter.from_bytes(letter.to_bytes())
    assert read == letter
    assert read.payload == (payload if len(payload) <= limit else None)
    assert (read.payload_size, read.payload_sha256) == (len(payload), hashlib.sha256(payload).digest())
    assert (read.reason, read.stage, read.schema_id) == ("bad_gzip", "cutout", 1000)


READERS: dict[str, Callable[[bytes], object]] = {
    "observation": Observation.from_bytes,
    "withdrawal": Withdrawal.from_bytes,
    "classification": Classification.from_bytes,
    "dead_letter": DeadLetter.from_bytes,
    "ledger": LedgerEntry.from_bytes,
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_sample_records(name: str) -> None:
    """Each published sample (Avro's JSON encoding) reads back as its class and encodes to the same bytes."""
    text = files("schemas").joinpath(f"avsc/samples/{name}.json").read_text(encoding="utf-8")
    (record,) = fastavro.json_reader(iter([json.dumps(json.loads(text))]), codec(name).schema)
    payload = codec(name).encode(record)
    value = READERS[name](payload)
    assert value.to_bytes() == payload  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(READERS))
def test_foreign_bytes_are_a_record_error(name: str) -> None:
    """Cut, extended or foreign bytes never pass for a record."""
    text = files("schemas").joinpath(f"avsc/samples/{name}.json").read_text(encoding="utf-8")
    (record,) = fastavro.json_reader(iter([json.dumps(json.loads(text))]), codec(name).schema)
    payload = codec(name).encode(record)
    for bad in (b"", b"{}", payload[:-1], payload + b"\x00", b"\xc3\x01" + b"\x00" * 8 + payload[10:]):
        with pytest.raises(RecordError):
            READERS[name](bad)
