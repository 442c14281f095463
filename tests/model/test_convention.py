"""``convention``: budget, grouping, difference plane, and a switch for every correction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import model
from model.batch import collate, gather_inputs
from model.cost import encoder_multiply_adds, multiply_adds
from schemas.sequence import StampSequence
from tests.model.bundle_samples import make_sequence
from tests.model.test_networks import logits, make

PUBLISHED_MULTIPLY_ADDS = 20.6e9
SWITCHES = [
    {"masks": False},
    {"scalars": False},
    {"light_curve": False},
    {"time": "index"},
    {"time": ""},
    {"attention": "key_only"},
    {"attention": "none"},
    {"norm": "joint"},
    {"difference": "none"},
    {"difference": "causal"},
    {"difference": "survey"},
]


def test_budget() -> None:
    """At most 0.6M parameters and, three frames a night or one, an eighth of the published multiply-adds."""
    network = model.create("convention")
    assert network.num_parameters <= 600_000
    assert multiply_adds(network) <= PUBLISHED_MULTIPLY_ADDS / 8
    assert multiply_adds(network, frames_per_night=1) <= PUBLISHED_MULTIPLY_ADDS / 8


def test_one_token_and_the_head_are_a_tenth() -> None:
    """What one new frame on a 99-frame object costs: its token and the head over all tokens."""
    network = model.create("convention")
    full, token = multiply_adds(network), encoder_multiply_adds(network)
    head = full - 33 * token
    assert (token + head) * 10 <= full


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_correction_has_a_switch(switch: dict[str, object]) -> None:
    """Each switch builds, trains and changes the answer for the same weights where they exist in both."""
    network = make("convention", switch)
    batch = collate(network, [make_sequence(1, 12), make_sequence(2, 5)])
    output = network.train()(batch)
    output.logits_BK.sum().backward()
    assert output.logits_BK.isfinite().all()
    full = make("convention", {})
    shared = {key: value for key, value in full.state_dict().items() if _fits(network, key, value)}
    network.load_state_dict(shared, strict=False)
    expected = logits(full, collate(full, [make_sequence(1, 12), make_sequence(2, 5)]))
    if switch != {"difference": "survey"}:  # every sample frame has the survey's own difference
        assert (logits(network.eval(), batch) - expected).abs().max() > 1e-6


@pytest.mark.parametrize("switch", [{"time": "weeks"}, {"attention": "full"}, {"norm": "batch"}, {"difference": "x"}])
def test_unknown_choices_are_refused(switch: dict[str, object]) -> None:
    """The error names the choices."""
    with pytest.raises(ValueError, match="must be one of"):
        model.create("convention", **switch)


def test_tokens_are_nights_split_at_three() -> None:
    """Each token is up to three consecutive frames of one night, and together they are all frames in order."""
    network = make("convention", {})
    sequence = make_sequence(3, 60)
    sequence = replace(sequence, night_L=np.repeat(np.arange(12), 5))
    groups = network.group_frames(sequence)
    assert [group.num_frames for group in groups] == [3, 2] * 12
    assert [slot for group in groups for slot in group.slots] == list(range(60))
    assert all(len({sequence.night_L[slot] for slot in group.slots}) == 1 for group in groups)


def test_bands_left_out_are_not_seen() -> None:
    """Frames of other bands than the config's change nothing."""
    network = make("convention", {"bands": ("g", "r")})
    sequence = make_sequence(4, 30)
    slots = [slot for group in network.group_frames(sequence) for slot in group.slots]
    assert slots == [index for index in range(30) if sequence.band_L[index] in (2, 3)]


def test_causal_difference_is_the_frame_minus_the_mean_before() -> None:
    """Without the survey's difference the plane is made from the earlier frames of the band, pixel by pixel."""
    network = make("convention", {"difference": "auto"})
    sequence = _without_difference(make_sequence(5, 20))
    groups = network.group_frames(sequence)
    inputs = gather_inputs([(sequence, group) for group in groups])
    for row, group in enumerate(groups):
        for column, slot in enumerate(group.slots):
            earlier = [index for index in range(slot) if sequence.band_L[index] == sequence.band_L[slot]]
            if not earlier:
                assert not inputs.valid_GFPHW[row, column, 1].any()
                continue
            count = sequence.valid_LPHW[earlier, 0].sum(axis=0)
            mean = sequence.planes_LPHW[earlier, 0].sum(axis=0) / np.maximum(count, 1)
            valid = sequence.valid_LPHW[slot, 0] & (count > 0)
            expected = np.where(valid, sequence.planes_LPHW[slot, 0] - mean, 0)
            np.testing.assert_allclose(inputs.flux_GFPHW[row, column, 1].numpy(), expected, atol=1e-2)
            assert np.array_equal(inputs.valid_GFPHW[row, column, 1].numpy(), valid)
            assert inputs.noise_GFP[row, column, 1] > sequence.noise_LP[slot, 0]


def test_causal_difference_does_not_depend_on_the_call() -> None:
    """A token's inputs have the same bytes gathered alone and beside the others."""
    network = make("convention", {"difference": "causal"})
    sequence = make_sequence(6, 30)
    groups = network.group_frames(sequence)
    together = gather_inputs([(sequence, group) for group in groups], num_slots=3)
    for row, group in enumerate(groups):
        alone = gather_inputs([(sequence, group)], num_slots=3)
        assert torch.equal(alone.flux_GFPHW[0], together.flux_GFPHW[row])
        assert torch.equal(alone.noise_GFP[0], together.noise_GFP[row])


def test_the_key_covers_the_reference() -> None:
    """A changed earlier frame changes the keys of the band's later tokens where the difference is causal, and only
    its own token's where it is the survey's."""
    sequence = make_sequence(7, 20)
    changed = replace(sequence, digests=(b"another", *sequence.digests[1:]))
    later = [index for index in range(1, 20) if sequence.band_L[index] == sequence.band_L[0]]
    for source, expected in (("survey", {0}), ("causal", {0, *later})):
        network = make("convention", {"difference": source})
        pairs = zip(network.group_frames(sequence), network.group_frames(changed), strict=True)
        touched = [old.slots for old, new in pairs if old.key != new.key]
        assert all(expected & set(slots) for slots in touched)
        assert expected <= {slot for slots in touched for slot in slots}


def test_only_time_differences_count() -> None:
    """Moving all frames by the same days changes nothing; moving one token apart changes the logits."""
    network = make("convention", {})
    sequence = make_sequence(8, 12)
    expected = logits(network, collate(network, [sequence]))
    shifted = replace(sequence, mjd_L=sequence.mjd_L + 512.0, night_L=sequence.night_L + 512)
    torch.testing.assert_close(logits(network, collate(network, [shifted])), expected, atol=1e-4, rtol=0)
    apart = replace(sequence, mjd_L=np.concatenate([sequence.mjd_L[:1] - 50.0, sequence.mjd_L[1:]]))
    assert (logits(network, collate(network, [apart])) - expected).abs().max() > 1e-5


def _fits(network: torch.nn.Module, key: str, value: torch.Tensor) -> bool:
    own = network.state_dict()
    return key in own and own[key].shape == value.shape


def _without_difference(sequence: StampSequence) -> StampSequence:
    planes, valid, noise = sequence.planes_LPHW.copy(), sequence.valid_LPHW.copy(), sequence.noise_LP.copy()
    planes[:, 1], valid[:, 1], noise[:, 1] = 0, False, 0
    return replace(sequence, planes_LPHW=planes, valid_LPHW=valid, noise_LP=noise)
