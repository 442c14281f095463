"""The stamp log as a training archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_plugin.commands.train import export_log
from broker_plugin.demo.demo import send, total
from schemas.synthetic import generate_packets
from tests.brokers.support import Run
from train.simulator.sequence_set import SequenceSet


@pytest.mark.timeout(120)
def test_the_stamp_log_is_frozen_to_sequences(broker: str, tmp_path: Path) -> None:
    """Every packet that ingest has stamped is a frame of its object in the snapshot, whichever partition it is on,
    and a second export gives the same digest."""
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
