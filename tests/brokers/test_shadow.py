"""A challenger beside the champion: its records go to a topic of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker_plugin.demo import send
from model.bundle_files import read_bundle_files, write_bundle_files
from model.bundle_store import SHIPPED
from schemas.classification import Classification
from schemas.synthetic import generate_packets
from tests.brokers.support import Run


@pytest.mark.timeout(120)
def test_a_challenger_scores_every_trigger_in_shadow(broker: str, tmp_path: Path) -> None:
    """Each trigger has the champion's record on the output topic and the challenger's on the shadow topic, with the
    same view and, as their weights are the same, the same probabilities."""
    files, _ = read_bundle_files(SHIPPED / "reference-ztf-1.0")
    spec = json.loads(files["bundle.json"]) | {"name": "rival"}
    rival = tmp_path / "rival-1.0"
    write_bundle_files(rival, files | {"bundle.json": json.dumps(spec).encode()})
    shadow_topic = f"shadow-{tmp_path.name}"
    run = Run(broker, tmp_path, f'classify.challengers=["{rival}"]', f'output.shadow_topic="{shadow_topic}"')
    packets = [packet.payload for packet in generate_packets(seed=9, num_objects=4, num_frames=8)]
    with run.worker() as worker:
        send(run.settings, packets)
        run.follow(worker, len(packets))
    assert worker.returncode == 0
    champion, challenger = run.values_by_trigger(), run.values_by_trigger(shadow_topic)
    assert len(champion) == len(packets)
    assert champion.keys() == challenger.keys()
    for place, (value,) in champion.items():
        said, shadow = Classification.from_bytes(value), Classification.from_bytes(challenger[place][0])
        assert said.bundle_id.startswith("reference-ztf-1.0-")
        assert shadow.bundle_id.startswith("rival-1.0-")
        assert (said.view_digest, said.probabilities) == (shadow.view_digest, shadow.probabilities)
