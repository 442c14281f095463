"""The worker on Rubin's packets, and on a topic that mixes surveys and schema versions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import fastavro
import pytest

from broker_plugin.demo.demo import send, total
from broker_plugin.kafka.topic_reader import read_topic
from schemas.archive.reader import ArchiveReader
from schemas.classification import Classification
from schemas.dead_letter import DeadLetter
from schemas.decode import PacketDecoder
from schemas.outcome import Stamped
from schemas.surveys.lsst_wire import BUNDLED
from schemas.synthetic import SMALL, generate_packets
from tests.brokers.support import Run
from tests.schemas.lsst_packets import alert, cutout, gaussian, wire
from tests.schemas.test_every_sample import DEAD_LETTERS

pytestmark = pytest.mark.timeout(240)
TWO_NIGHTS = "ztf/astrolabsoftware+fink-broker/converted/stream_20231017_18.v4_02.avro"
LSST_NIGHT = "lsst/astrolabsoftware+fink-tutorials/converted/ftransfer_lsst_2026-03-10.v10_0.avro"


@pytest.mark.data
def test_a_night_of_lsst(broker: str, sample_data: Path, tmp_path: Path) -> None:
    """The 107 packets of a Rubin night, in wire format and with no setting but the topic: each source of a static
    object is a frame of its object's sequence, moving objects are filtered, and the ledger balances."""
    with (sample_data / LSST_NIGHT).open("rb") as stream:
        night = list(fastavro.reader(stream))
    sources = [record["diaSource"] for record in night]  # type: ignore[index, call-overload]
    expected = Counter(str(source["diaObjectId"]) for source in sources if source["diaObjectId"])
    run = Run(broker, tmp_path, "classify.min_frames=1")
    with run.worker() as worker:
        send(run.settings, [wire(record) for record in night])  # type: ignore[arg-type]
        accounts = run.follow(worker, len(night))
    assert worker.returncode == 0, run.log.read_text()
    assert all(account.balanced for account in accounts.values())
    assert (total(accounts, "ingest", "stamped"), total(accounts, "ingest", "filtered")) == (82, 25)
    reasons = {reason for (role, _, _), a in accounts.items() if role == "ingest" for _, reason in a.counts if reason}
    assert reasons == {"moving_object"}
    assert total(accounts, "classify") == 82
    records = [Classification.from_bytes(value) for value in run.last_values().values()]
    assert {record.survey for record in records} == {"lsst"}
    assert {record.object_id: record.num_frames for record in records} == expected
    assert len(records) == 72
    assert all(record.bundle_id.startswith("convention-lsst-") for record in records)
    assert all(record.status.value in ("classified", "abstained") for record in records)


@pytest.mark.data
def test_two_nights_of_ztf(broker: str, sample_data: Path, tmp_path: Path) -> None:
    """The 285 packets of the two-night stream, with its duplicates and edge stamps: every packet and stamp has one
    outcome, and each record's frames are the distinct alerts of its object."""
    archive = ArchiveReader([sample_data / TWO_NIGHTS], lambda damage: pytest.fail(damage.detail))
    packets = [packet.payload for packet in archive]
    decoder = PacketDecoder()
    outcomes = [decoder.decode(packet) for packet in packets]
    stamped = [outcome.identity for outcome in outcomes if isinstance(outcome, Stamped)]
    expected = Counter(object_id for object_id, _ in {(one.object_id, one.source_id) for one in stamped})
    run = Run(broker, tmp_path)
    with run.worker() as worker:
        send(run.settings, packets)
        accounts = run.follow(worker, len(packets))
    assert worker.returncode == 0, run.log.read_text()
    assert len(packets) == 285
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "ingest", "stamped") == len(stamped) > 200
    assert total(accounts, "ingest", "filtered") == len(packets) - len(stamped)
    assert total(accounts, "classify") == len(stamped)
    records = [Classification.from_bytes(value) for value in run.last_values().values()]
    assert {record.object_id: record.num_frames for record in records} == expected


@pytest.mark.data
def test_every_bad_sample_is_a_dead_letter(broker: str, sample_data: Path, tmp_path: Path) -> None:
    """Each real damaged packet is on the dead-letter topic, whole and with its reason; sound neighbours pass."""
    bad = {(sample_data / file).read_bytes(): reason for file, reason in DEAD_LETTERS.items()}
    sound = [packet.payload for packet in generate_packets(seed=32, num_objects=4, num_frames=10)]
    run = Run(broker, tmp_path, "ingest.programids=[]")
    with run.worker() as worker:
        send(run.settings, [*sound[:20], *bad, *sound[20:]])
        accounts = run.follow(worker, len(sound) + len(bad))
    assert worker.returncode == 0, run.log.read_text()
    assert total(accounts, "ingest", "stamped") == len(sound)
    internal = run.settings.internal
    letters = [DeadLetter.from_bytes(m.value() or b"") for m in read_topic(internal, internal.dead_letter_topic)]
    assert {letter.payload: letter.reason for letter in letters} == {p: reason.value for p, reason in bad.items()}
    assert len(letters) == len(bad)


def test_surveys_and_schema_versions_share_a_topic(broker: str, tmp_path: Path) -> None:
    """ZTF, ugriz and LSST packets, LSST's of every bundled version for one object, make one sequence an object, each
    read by its own schema and scored by the bundle of its survey."""
    image = cutout(1000.0 * gaussian(34, 16.3, 16.8, 1.6), rotation_deg=30.0, column=16.3, row=16.8)
    packets = [
        wire(
            alert(diaSourceId=number, midpointMjdTai=61100.25 + number)
            | {"cutoutScience": image, "cutoutDifference": image},
            schema_id,
        )
        for number, schema_id in enumerate(BUNDLED, start=1)
    ]
    for survey in ("ztf", "ugriz", "lsst"):
        found = generate_packets(seed=31, num_objects=2, num_frames=4, survey=survey, form=SMALL)
        packets += [packet.payload for packet in found]
    run = Run(broker, tmp_path)
    with run.worker() as worker:
        send(run.settings, packets)
        accounts = run.follow(worker, len(packets))
    assert worker.returncode == 0, run.log.read_text()
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "ingest", "stamped") == len(packets)
    records = [Classification.from_bytes(value) for value in run.last_values().values()]
    frames = Counter((record.survey, record.num_frames) for record in records)
    assert frames == {("lsst", len(BUNDLED)): 1, ("lsst", 4): 2, ("ztf", 4): 2, ("ugriz", 4): 2}
    bundles = {(record.survey, record.bundle_id.rsplit("-", 2)[0]) for record in records}
    assert bundles == {("lsst", "convention-lsst"), ("ztf", "convention-ztf"), ("ugriz", "convention-sdss")}
