"""A whole retraining on a broker: stamps in the log, new labels, a challenger, the gate, promotion, the new
records."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
import torch

from broker_plugin.cli import main
from broker_plugin.demo.demo import send
from model.bundle_store import promote
from schemas.classification import Classification
from schemas.synthetic import SMALL, generate_packets
from tests.brokers.support import Run
from tests.train.toy_sets import toy_recipe, write_toy_set
from train.dataset import simulated
from train.pipeline import Provenance, train_bundle

NUM_OBJECTS = 200
NUM_FRAMES = 4
HELD_BACK = 30


def ignore(*_: object) -> None:
    pass


def poor_champion(folder: Path) -> Path:
    """A store with a bundle for ZTF that was trained for two steps on made-up objects."""
    sets = write_toy_set(
        folder / "set", num_objects=56, survey="ztf", grid_id="ztf-1.01-32", made={"settings": "made up"}
    )
    recipe = toy_recipe(optimiser={"steps": 2}, network={"bands": ["g", "r", "i"]})
    where = Provenance({}, "toy", "0")
    trained = train_bundle(recipe, simulated(sets), folder / "run", where, say=ignore, progress=ignore)
    promote(trained.bundle, folder / "store")
    return folder / "store"


@pytest.mark.timeout(300)
def test_a_whole_retraining_cycle(broker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker fills the stamp log under a poor champion; ``train --from-log`` with the labels of those objects
    makes a challenger from the log, which is better on objects that neither knows, passes the gate and is promoted;
    the running worker picks it up, and the records of what arrives next carry its id."""
    torch.set_num_threads(1)
    store = poor_champion(tmp_path / "champion")
    run = Run(broker, tmp_path, f'classify.bundles=["{store}"]', "classify.reload_interval_s=0.2")
    packets = list(generate_packets(seed=23, num_objects=NUM_OBJECTS, num_frames=NUM_FRAMES, form=SMALL))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["object_id", "class"])
        table.writerows(sorted({(packet.object_id, packet.true_class) for packet in packets}))
    first, rest = packets[:-HELD_BACK], packets[-HELD_BACK:]
    asked = ["train", "--from-log", "--labels", str(tmp_path / "labels.csv"), "--champion", str(store)]
    asked += ["--output", str(tmp_path / "retraining"), "--threads", "1", "--min-objects", "20"]
    asked += ["--recall-margin", "1"]  # the champion names next to one class only, whose recall can but fall
    for value in ("optimiser.steps=160", "optimiser.validate_every=40", "optimiser.batch=16", "transfer.rate=5.0"):
        asked += ["--with", value]
    with run.worker() as worker:
        send(run.settings, [packet.payload for packet in first])
        run.follow(worker, len(first))
        before = {Classification.from_bytes(value).bundle_id for value in run.last_values().values()}
        assert main([*asked, *(f"--set={flag}" for flag in run.flags)]) == 0
        said = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert said["passed"], said["reasons"]
        deadline = time.monotonic() + 30
        while b"bundle switched" not in run.log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.1)
        send(run.settings, [packet.payload for packet in rest])
        run.follow(worker, len(packets))
        last = [Classification.from_bytes(value) for value in run.last_values().values()]
    assert worker.returncode == 0
    assert before == {said["champion_id"]}
    updated = {packet.object_id for packet in rest}
    assert {record.bundle_id for record in last if record.object_id in updated} == {said["challenger_id"]}
    assert {record.bundle_id for record in last if record.object_id not in updated} == before
