"""The entry point of other programs: ten lines from packets to classifications, the same bytes as the worker's."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from broker_plugin.api import classify_sequences, sequences_of
from broker_plugin.cli import main
from broker_plugin.evaluation.record_files import read_records
from schemas.avro import iter_container
from schemas.classification import Status
from schemas.cuts import Cuts
from schemas.errors import BundleError, PacketError
from schemas.synthetic import generate_packets
from tests.model.bundle_samples import write_sample

PACKETS = [packet.payload for packet in generate_packets(seed=4, num_objects=3, num_frames=6)]


def test_bytes_are_those_of_a_replay(tmp_path: Path) -> None:
    """The last record that an offline replay writes of each object is, byte for byte, what the entry point says."""
    for number, payload in enumerate(PACKETS):
        (tmp_path / f"{number:03d}.avro").write_bytes(payload)
    assert main(["replay", str(tmp_path), "--output", str(tmp_path / "out"), "--json"]) == 0
    last = {record.classification.object_id: record.classification for record in read_records(tmp_path / "out")}
    said = classify_sequences(sequences_of(PACKETS))
    assert {one.object_id: one.to_bytes() for one in said} == {name: one.to_bytes() for name, one in last.items()}
    assert len(said) == 3


def test_order_and_repetition_do_not_matter() -> None:
    """Packets shuffled, doubled, or already read from Avro give the same sequences."""
    straight = sequences_of(PACKETS)
    read = [record for payload in PACKETS for record in islice(iter_container(payload), 1)]
    for other in (PACKETS[::-1], PACKETS + PACKETS[:5], read):
        digests = {sequence.object_id: sequence.view_digest for sequence in sequences_of(other)}
        assert digests == {sequence.object_id: sequence.view_digest for sequence in straight}


def test_too_short_is_not_probability_zero() -> None:
    """An object with fewer frames than its bundle wants is said to be too short, without probabilities."""
    (said,) = classify_sequences(sequences_of(PACKETS[:1]))
    assert (said.status, said.reason, said.probabilities) == (Status.TOO_SHORT, "frames", None)


def test_cuts_and_bundles_are_the_callers(tmp_path: Path) -> None:
    """Another bundle is used when named, packets can be cut, and no packets are no sequences."""
    bundle_id = write_sample(tmp_path / "own")
    sequences = sequences_of(PACKETS, bundle=tmp_path / "own")
    assert {said.bundle_id for said in classify_sequences(sequences, tmp_path / "own")} == {bundle_id}
    assert sequences_of(PACKETS, cuts=Cuts(programids=frozenset({3}))) == []
    assert sequences_of([]) == []
    assert classify_sequences([]) == []


def test_mistakes_are_named() -> None:
    """A damaged packet, an unknown bundle and a bundle of another grid are errors that say so."""
    with pytest.raises(PacketError):
        sequences_of([PACKETS[0][:-50]])
    sequences = sequences_of(PACKETS)
    with pytest.raises(BundleError, match="no-such-bundle"):
        classify_sequences(sequences, "no-such-bundle")
    with pytest.raises(BundleError, match=r"for grid lsst-0\.2-32.*is on ztf-1\.01-32"):
        classify_sequences(sequences, "convention-lsst-1.1")


def test_no_kafka_client_is_loaded() -> None:
    """Another program that uses the entry point does not load a Kafka client with it."""
    code = "import sys, broker_plugin.api; sys.exit('confluent_kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=100).returncode == 0
