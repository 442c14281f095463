"""A challenger beside the champion: its records go to a topic of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_plugin.demo.demo import send
from schemas.classification import Classification
from schemas.synthetic import generate_packets
from tests.brokers.rivals import last_values, write_rival
from tests.brokers.support import Run


@pytest.mark.timeout(120)
def test_a_challenger_scores_every_trigger_in_shadow(broker: str, tmp_path: Path, slim_ztf: Path) -> None:
    """Each trigger has the champion's record on the output topic and the challenger's, of other weights, on the
    shadow topic, with the same view; the last ones are what each bundle says when asked by itself."""
    rival = write_rival(slim_ztf, tmp_path / "rival-1.1", name="rival")
    shadow_topic = f"shadow-{tmp_path.name}"
    run = Run(broker, tmp_path, f'classify.challengers=["{rival}"]', f'output.shadow_topic="{shadow_topic}"')
    packets = [packet.payload for packet in generate_packets(seed=9, num_objects=4, num_frames=8)]
    with run.worker() as worker:
        send(run.settings, packets)
        run.follow(worker, len(packets))
    assert worker.returncode == 0
    said, shadow = run.values_by_trigger(), run.values_by_trigger(shadow_topic)
    assert len(said) == len(packets)
    assert said.keys() == shadow.keys()
    scored = 0
    for place, (value,) in said.items():
        ours, theirs = Classification.from_bytes(value), Classification.from_bytes(shadow[place][0])
        assert ours.bundle_id.startswith("convention-ztf-1.1-")
        assert theirs.bundle_id.startswith("rival-1.1-")
        assert ours.view_digest == theirs.view_digest
        if ours.probabilities is not None:
            scored += 1
            assert ours.probabilities != theirs.probabilities
    assert scored > 0
    assert run.last_values() == last_values(packets, slim_ztf, run.settings.classify)
    assert run.last_values(shadow_topic) == last_values(packets, rival, run.settings.classify)
