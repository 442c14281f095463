"""Simulated packets: functions of seed and index, read by the decoders, of the law the bundles are trained on."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.decode import PacketDecoder
from schemas.observation import Observation
from schemas.outcome import Stamped
from schemas.synthetic import LAWS, SMALL, draw_object, generate_packets

NIGHTS = (20, 140)


@pytest.mark.parametrize("survey", LAWS)
def test_a_packet_is_a_function_of_seed_index_and_frame(survey: str) -> None:
    """The same bytes in any order of asking, other bytes for another seed; a withdrawal differs from its packet."""
    first, again, other = (
        draw_object(survey, seed=seed, index=2, min_frames=20, max_frames=120, num_nights=NIGHTS)
        for seed in (1, 1, 2)
    )
    backwards = [again.packet(frame, form=SMALL) for frame in (3, 2, 1, 0)][::-1]
    assert [first.packet(frame, form=SMALL) for frame in range(4)] == backwards
    assert other.packet(0, form=SMALL) != backwards[0]
    assert 20 <= len(first.exposures) <= 120
    if survey != "ztf":
        assert first.packet(0, form=SMALL, withdrawn_mjd=60500.0) != backwards[0]


def test_ztf_flux_is_where_and_what_was_drawn() -> None:
    """Through the decoder, the difference stamp of a bright exposure holds the flux drawn, around its centre."""
    target = draw_object("ztf", seed=3, index=1, min_frames=28, max_frames=40, num_nights=NIGHTS)
    checked = 0
    for frame, exposure in enumerate(target.exposures):
        outcome = PacketDecoder().decode(target.packet(frame))
        assert isinstance(outcome, Stamped)
        assert isinstance(outcome.fact, Observation)
        plane = outcome.fact.difference
        assert outcome.fact.diff_flux_njy == pytest.approx(exposure.measured, rel=1e-5)
        if exposure.change > 150 * exposure.sigma and plane.valid.all():
            checked += 1
            assert plane.pixels[10:23, 10:23].sum() == pytest.approx(exposure.change, rel=0.2)
            assert np.abs(np.argwhere(plane.pixels == plane.pixels.max())[0] - 16).max() <= 1
    assert checked > 5


def test_generated_packets_are_in_time_order_and_classes_take_turns() -> None:
    """As many packets of each object as asked, over all objects in time order."""
    packets = list(generate_packets(seed=2, num_objects=5, num_frames=6))
    assert len(packets) == 30
    outcomes = [PacketDecoder().decode(packet.payload) for packet in packets]
    times = [outcome.fact.mjd for outcome in outcomes if isinstance(outcome, Stamped)]
    assert times == sorted(times)
    classes = {packet.object_id: packet.true_class for packet in packets}
    assert [classes[name] for name in sorted(classes)] == ["AGN", "SNIa", "SNOther", "Variable", "AGN"]
