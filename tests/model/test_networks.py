"""One suite for every registered network."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

import model
from model.batch import SequenceBatch, TokenInputs, collate, gather_inputs
from model.network import Network
from model.registry import network_names
from model.scores import CLASSES
from tests.model.bundle_samples import make_sequence

SMALL = {"convention_2023": {"max_frames": 24}}
VARIANTS = [(name, {}) for name in network_names()] + [("cnn_gru", {"plus": True}), ("cnn_lstm", {"plus": True})]
MASKED = [variant for variant in VARIANTS if variant[0] != "convention_2023"]
# the query cancels in the published attention (module docstring of convention_2023), and so does the logit's bias
WITHOUT_GRADIENT = {"convention_2023": ("attention.logit.bias",)}
every_network = pytest.mark.parametrize(("name", "config"), VARIANTS)


def make(name: str, config: dict[str, object], seed: int = 0) -> Network:
    """A network in eval mode whose zero-initialised layers are not zero."""
    torch.manual_seed(seed)
    network = model.create(name, **SMALL.get(name, {}), **config)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0.0, 0.1)
        for key, value in network.named_buffers():
            if key.endswith("running_mean"):
                value.normal_(0.0, 0.1)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return network.eval()


def logits(network: Network, batch: SequenceBatch) -> torch.Tensor:
    """Logits without a graph."""
    with torch.inference_mode():
        return network(batch).logits_BK


@every_network
def test_forward_gives_one_row_a_sequence(name: str, config: dict[str, object]) -> None:
    """Logits are [B, classes] and pooled features [B, pooled_size], all finite, from one frame to many."""
    network = make(name, config)
    batch = collate(network, [make_sequence(1, 1), make_sequence(2, 9), make_sequence(3, 40)])
    with torch.inference_mode():
        output = network(batch)
    assert output.logits_BK.shape == (3, len(CLASSES))
    assert output.pooled_BF.shape == (3, network.pooled_size)
    assert output.logits_BK.isfinite().all()
    assert output.pooled_BF.isfinite().all()


@every_network
def test_gradients_reach_every_parameter(name: str, config: dict[str, object]) -> None:
    """A backward pass gives every parameter a finite gradient that is not all zero, save the ones that cancel."""
    network = make(name, config)
    batch = collate(network, [make_sequence(seed, 24) for seed in range(4)])
    output = network(batch)
    torch.nn.functional.cross_entropy(output.logits_BK, torch.arange(4)).backward()
    for key, parameter in network.named_parameters():
        if key.endswith(WITHOUT_GRADIENT.get(name, ("(none)",))):
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@every_network
def test_a_training_step_lowers_the_loss(name: str, config: dict[str, object]) -> None:
    """In train mode a few steps of gradient descent on one batch lower its loss."""
    network = make(name, config)
    batch = collate(network, [make_sequence(seed, 12) for seed in range(4)])
    target = torch.arange(4)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    torch.manual_seed(1)
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(batch).logits_BK, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[4:]) < losses[0]


@every_network
def test_a_sequence_alone_and_in_a_batch(name: str, config: dict[str, object]) -> None:
    """A batch of one gives what the sequence gets beside longer neighbours."""
    network = make(name, config)
    sequences = [make_sequence(1, 5), make_sequence(2, 24), make_sequence(3, 1)]
    together = logits(network, collate(network, sequences))
    for row, sequence in enumerate(sequences):
        alone = logits(network, collate(network, [sequence]))[0]
        torch.testing.assert_close(alone, together[row], atol=1e-5, rtol=0)


@every_network
def test_cached_tokens_give_the_plain_answer(name: str, config: dict[str, object]) -> None:
    """Tokens encoded one at a time, densely, and put together again give the logits of the whole pass."""
    network = make(name, config)
    sequence = make_sequence(4, 20)
    batch = collate(network, [sequence])
    with torch.inference_mode():
        tokens = [
            network.encode_tokens(gather_inputs([(sequence, group)])) for group in network.group_frames(sequence)
        ]
        output = network.classify_tokens(torch.cat(tokens)[None], batch.mask_BT, batch.days_BT)
    assert tokens[0].shape == (1, network.token_size)
    torch.testing.assert_close(output.logits_BK, logits(network, batch), atol=1e-5, rtol=0)


@every_network
def test_fusing_changes_nothing(name: str, config: dict[str, object]) -> None:
    """The form used for inference gives the same logits to 1e-5, and fusing twice is fusing once."""
    network = make(name, config)
    batch = collate(network, [make_sequence(5, 24), make_sequence(6, 3)])
    plain = logits(network, batch)
    network.fuse()
    torch.testing.assert_close(logits(network, batch), plain, atol=1e-5, rtol=1e-5)
    network.fuse()
    torch.testing.assert_close(logits(network, batch), plain, atol=1e-5, rtol=1e-5)


@every_network
def test_weights_and_config_come_back(name: str, config: dict[str, object]) -> None:
    """The config as plain values and the saved state build the same network again, bit for bit."""
    network = make(name, config)
    batch = collate(network, [make_sequence(7, 10)])
    stored = io.BytesIO()
    torch.save(network.state_dict(), stored)
    stored.seek(0)
    again = model.create(name, **network.config_dict()).eval()
    again.load_state_dict(torch.load(stored, weights_only=True))
    assert torch.equal(logits(network, batch), logits(again, batch))


@every_network
def test_a_new_frame_changes_only_its_own_token(name: str, config: dict[str, object]) -> None:
    """With one more frame at the end all tokens but the newest keep their keys (the cache hits)."""
    network = make(name, {**config, "difference": "survey"} if name == "convention" else config)
    sequence = make_sequence(8, 20)
    shorter = replace(
        sequence,
        source_ids=sequence.source_ids[:-1],
        digests=sequence.digests[:-1],
        **{
            field: getattr(sequence, field)[:-1]
            for field in ("mjd_L", "night_L", "band_L", "planes_LPHW", "valid_LPHW", "noise_LP", "psf_fwhm_arcsec_L")
        },
    )
    before = {group.key for group in network.group_frames(shorter)}
    after = {group.key for group in network.group_frames(sequence)}
    assert len(after - before) == 1


@pytest.mark.parametrize(("name", "config"), MASKED)
def test_padding_changes_nothing(name: str, config: dict[str, object]) -> None:
    """More padding tokens, whatever they hold, leave the logits as they are."""
    network = make(name, config)
    sequence = make_sequence(9, 15)
    batch = collate(network, [sequence], num_tokens=40)
    expected = logits(network, collate(network, [sequence]))
    torch.testing.assert_close(logits(network, batch), expected, atol=1e-5, rtol=0)
    with torch.inference_mode():
        tokens_BTD = network.encode_tokens(batch.inputs)[batch.index_BT]  # padding repeats the first token
        tokens_BTD[:, -3:, :512] = 50.0
        output = network.classify_tokens(tokens_BTD, batch.mask_BT, batch.days_BT)
    torch.testing.assert_close(output.logits_BK, expected, atol=1e-5, rtol=0)


@every_network
def test_masked_pixels_change_nothing(name: str, config: dict[str, object]) -> None:
    """What stands in a masked pixel is not seen."""
    network = make(name, config)
    batch = collate(network, [make_sequence(10, 12)])
    expected = logits(network, batch)
    inputs = batch.inputs
    flux = torch.where(inputs.valid_GFPHW, inputs.flux_GFPHW, torch.full_like(inputs.flux_GFPHW, 1e5))
    assert not torch.equal(flux, inputs.flux_GFPHW)
    others = [getattr(inputs, field) for field in TokenInputs.__dataclass_fields__ if field != "flux_GFPHW"]
    changed = SequenceBatch(TokenInputs(flux, *others), batch.index_BT, batch.mask_BT, batch.days_BT)
    torch.testing.assert_close(logits(network, changed), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "config"), [("convention", {}), ("cnn_gru", {"plus": True})])
def test_300_frames(name: str, config: dict[str, object]) -> None:
    """Networks without a longest length take a 300-frame sequence."""
    network = make(name, config)
    assert logits(network, collate(network, [make_sequence(11, 300)])).isfinite().all()


@pytest.mark.gpu
@every_network
def test_gpu_agrees_with_cpu(name: str, config: dict[str, object]) -> None:
    """On a CUDA device, in float32, logits differ by less than 1e-3 from the CPU's."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    network = make(name, config)
    batch = collate(network, [make_sequence(12, 24), make_sequence(13, 6)])
    expected = logits(network, batch)
    network.to("cuda")
    torch.testing.assert_close(logits(network, batch.to("cuda")).cpu(), expected, atol=1e-3, rtol=0)


def test_collate_refuses_what_does_not_fit() -> None:
    """No sequence, a sequence without frames, and too few tokens are the caller's mistakes."""
    network = make("convention", {})
    sequence = make_sequence(14, 9)
    empty = replace(sequence, source_ids=(), digests=(), mjd_L=np.zeros(0))
    with pytest.raises(ValueError, match="at least one sequence"):
        collate(network, [])
    with pytest.raises(ValueError, match="at least one frame"):
        collate(network, [replace(empty, band_L=np.zeros(0, np.uint8), night_L=np.zeros(0, np.int64))])
    with pytest.raises(ValueError, match="does not fit 1"):
        collate(network, [sequence], num_tokens=1)


def test_unknown_names_and_settings_are_refused() -> None:
    """The error names what is known."""
    with pytest.raises(ValueError, match=r"unknown network 'resnet'.*convention_2023"):
        model.create("resnet")
    with pytest.raises(ValueError, match=r"has no setting depth: expected .*token_channels"):
        model.create("convention", depth=3)


@pytest.mark.parametrize(
    ("name", "bands", "expected"),
    [
        ("convention_2023", "ugriz", 1_253_108),
        ("convention_2023", "g", 1_253_108),
        ("cnn_gru", "ugriz", 1_992_836),
        ("cnn_gru", "g", 1_991_684),
        ("cnn_lstm", "ugriz", 2_189_956),
        ("cnn_lstm", "g", 2_188_804),
    ],
)
def test_parameter_counts(name: str, bands: str, expected: int) -> None:
    """The published counts: 1.253M, 1.993M / 1.992M, 2.190M / 2.189M."""
    assert model.create(name, bands=tuple(bands)).num_parameters == expected
