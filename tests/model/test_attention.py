"""What the attention looked at, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.attention import attention_shares
from model.batch import collate
from model.convention import Convention
from model.convention_head import AttentionBlock
from model.ensemble import Ensemble
from tests.model.bundle_samples import make_sequence
from tests.model.test_networks import logits, make

SEQUENCE = make_sequence(3, 14)


def silenced(**config: object) -> Convention:
    """A network whose tokens all look alike to its attention."""
    network = make("convention", config)
    assert isinstance(network, Convention)
    with torch.no_grad():
        for block in network.modules():
            if isinstance(block, AttentionBlock):
                (block.qkv if block.kind == "pairwise" else block.logit).weight.zero_()
                (block.qkv if block.kind == "pairwise" else block.logit).bias.zero_()
        if network.gaps is not None:
            network.gaps.weight.weight.zero_()
    return network


@pytest.mark.parametrize("kind", ["pairwise", "key_only"])
def test_shares_sum_to_one(kind: str) -> None:
    """Every frame has a share, all of them sum to 1, and asking for them changes no answer."""
    network = make("convention", {"attention": kind})
    before = logits(network, collate(network, [SEQUENCE]))
    ensemble = Ensemble([network], fuse=False)
    share_L = attention_shares(ensemble, SEQUENCE)
    assert share_L is not None
    assert share_L.shape == (len(SEQUENCE),)
    assert (share_L > 0).all()
    assert share_L.sum() == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(logits(network, collate(network, [SEQUENCE])), before)


@pytest.mark.parametrize("kind", ["pairwise", "key_only"])
def test_tokens_alike_share_alike(kind: str) -> None:
    """Where nothing tells tokens apart each gets the same share, split evenly among the frames of its night."""
    network = silenced(attention=kind)
    share_L = attention_shares(Ensemble([network], fuse=False), SEQUENCE)
    groups = network.group_frames(SEQUENCE)
    expected = np.zeros(len(SEQUENCE))
    for group in groups:
        expected[list(group.slots)] = 1 / (len(groups) * group.num_frames)
    np.testing.assert_allclose(share_L, expected, atol=1e-6)


def test_a_bias_for_old_tokens_shows() -> None:
    """Where every token is made to look at the oldest, the oldest night's frames have it all."""
    network = silenced(attention="pairwise")
    assert network.gaps is not None
    with torch.no_grad():
        network.gaps.weight.weight[:, -1] = 1e4  # the last feature is the largest for the oldest key
    share_L = attention_shares(Ensemble([network], fuse=False), SEQUENCE)
    assert share_L is not None
    oldest = list(network.group_frames(SEQUENCE)[0].slots)
    assert share_L[oldest].sum() == pytest.approx(1.0, abs=1e-3)


def test_members_are_averaged_and_unread_bands_get_nothing() -> None:
    """The ensemble's share is the mean of its members'; a frame of a band that is not read has none."""
    members = [make("convention", {"bands": ["g", "r"]}, seed=seed) for seed in (1, 2)]
    both = attention_shares(Ensemble(members, fuse=False), SEQUENCE)
    single = [attention_shares(Ensemble([member], fuse=False), SEQUENCE) for member in members]
    assert both is not None
    np.testing.assert_allclose(both, np.mean(single, axis=0), atol=1e-6)  # type: ignore[arg-type]
    unread = SEQUENCE.band_L == 4
    assert unread.any()
    assert (both[unread] == 0).all()
    assert both.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("name", "config"), [("convention", {"attention": "none"}), ("cnn_gru", {})])
def test_without_attention_there_is_no_answer(name: str, config: dict[str, object]) -> None:
    """Networks without this attention say so."""
    assert attention_shares(Ensemble([make(name, config)], fuse=False), SEQUENCE) is None
