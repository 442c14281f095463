"""The stamp log as a training archive."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from confluent_kafka import Producer

from broker_plugin.commands.train import export_log
from broker_plugin.demo.demo import send, total
from broker_plugin.testing.producing import produce_all
from schemas.synthetic import generate_packets
from tests.brokers.support import Run
from train.fact_set import INDEX_FILE
from train.simulator.sequence_set import SequenceSet


@pytest.mark.timeout(120)
def test_the_stamp_log_is_frozen_to_sequences(
    broker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every packet that ingest has stamped is a frame of its object in the snapshot, whichever partition it is on,
    and a second export gives the same digest; a record that is no fact is named, counted and left out."""
    run = Run(broker, tmp_path)
    packets = [packet.payload for packet in generate_packets(seed=11, num_objects=5, num_frames=4)]
    with run.role("ingest") as ingest:
        send(run.settings, packets)
        run.await_accounts(ingest, lambda accounts: total(accounts, "ingest") >= len(packets))
    first, second = (export_log(run.settings, tmp_path / name) for name in ("one", "two"))
    (folder,) = first.sets
    sequences = SequenceSet(folder)
    assert len(sequences) == 5
    assert sequences.objects["num_frames"].tolist() == [4] * 5
    assert list(first.sets.values()) == list(second.sets.values())
    topic = run.settings.internal.stamp_log_topic
    producer = Producer({"bootstrap.servers": broker})
    produce_all(producer, topic, [{"value": b"junk", "partition": 0}])
    assert producer.flush(30) == 0
    capsys.readouterr()
    third = export_log(run.settings, tmp_path / "three")
    assert list(third.sets.values()) == list(first.sets.values())
    assert json.loads((tmp_path / "three" / INDEX_FILE).read_text())["num_refused"] == 1
    assert re.search(rf"{re.escape(topic)}, partition 0, offset \d+: .+; left out", capsys.readouterr().err)
