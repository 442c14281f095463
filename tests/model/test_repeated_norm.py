"""One row that stands for many gives what all of them give, forwards, backwards and in the running statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import model
from model.batch import SequenceBatch, collate
from model.network import Network
from model.repeated_norm import RepeatedBatchNorm
from tests.model.bundle_samples import make_sequence

BLOCKS, ROWS, REPEATS = 3, 4, 7
CHANNELS = 5


def _spread(values: Tensor) -> Tensor:
    """The last row of each block ``REPEATS`` times."""
    blocks = torch.unflatten(values, 0, (BLOCKS, ROWS))
    return torch.cat([blocks[:, :-1], blocks[:, -1:].expand(-1, REPEATS, -1, -1, -1)], dim=1).flatten(0, 1)


def _pair() -> tuple[RepeatedBatchNorm, nn.BatchNorm2d]:
    torch.manual_seed(3)
    ours, plain = RepeatedBatchNorm(CHANNELS), nn.BatchNorm2d(CHANNELS)
    nn.init.uniform_(ours.weight, 0.5, 2.0)
    nn.init.normal_(ours.bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 0.04)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_plain_norm_of_all_rows(dtype: torch.dtype, tolerance: float, layout: torch.memory_format) -> None:
    """Outputs, gradients of input, weight and bias, and running statistics; the offset is large beside the spread, so
    that a variance by differences of squares would show."""
    ours, plain = _pair()
    values = (
        torch.randn(BLOCKS * ROWS, CHANNELS, 6, 6) + 30.0 * torch.arange(CHANNELS)[:, None, None] / CHANNELS
    ).to(dtype)
    values[ROWS - 1 :: ROWS] *= 0.5
    values = values.to(memory_format=layout)
    downstream = torch.randn(BLOCKS * (ROWS - 1 + REPEATS), CHANNELS, 6, 6).to(dtype)
    mine, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()

    result = ours(mine, ROWS, REPEATS)
    expected = plain(_spread(theirs))
    _spread(result).mul(downstream).sum().backward()  # type: ignore[no-untyped-call]
    expected.mul(downstream).sum().backward()

    def close(got: Tensor | None, wanted: Tensor | None) -> None:
        assert got is not None
        assert wanted is not None
        scale = float(wanted.detach().abs().max())
        torch.testing.assert_close(got / scale, wanted / scale, atol=tolerance, rtol=0)

    assert result.dtype == expected.dtype
    close(_spread(result), expected)
    close(mine.grad, theirs.grad)
    close(ours.weight.grad, plain.weight.grad)
    close(ours.bias.grad, plain.bias.grad)
    close(ours.running_mean, plain.running_mean)
    close(ours.running_var, plain.running_var)
    close(ours.num_batches_tracked, plain.num_batches_tracked)


def test_in_evaluation_repeats_change_nothing() -> None:
    """Running statistics are used then, whatever a row stands for."""
    ours, plain = _pair()
    values = torch.randn(BLOCKS * ROWS, CHANNELS, 6, 6)
    assert torch.equal(ours.eval()(values, ROWS, REPEATS), plain.eval()(values))


def _step(network: Network, batch: SequenceBatch, *, packed: bool) -> tuple[Tensor, dict[str, Tensor]]:
    inputs = replace(batch.inputs, flux_GFPHW=batch.inputs.flux_GFPHW.double())
    tokens = network.encode_tokens(inputs, packed=packed)[batch.index_BT]
    logits = network.classify_tokens(tokens, batch.mask_BT, batch.days_BT).logits_BK
    torch.nn.functional.cross_entropy(logits, torch.arange(len(batch))).backward()  # type: ignore[no-untyped-call]
    gradients = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    return logits.detach(), gradients


def test_padding_tokens_made_once_train_the_published_network_alike() -> None:
    """A training step, in float64, with one padding token encoded for all of them has the logits, gradients and
    running statistics of one that encodes them all; 4, 24, 1 and 9 frames leave most of the 48 tokens empty."""
    torch.manual_seed(0)
    config = {"max_frames": 36, "dropout": 0.0}
    network, other = (model.create("convention_2023", **config).train().double() for _ in range(2))
    other.load_state_dict(network.state_dict())
    batch = collate(network, [make_sequence(1, 4), make_sequence(2, 24), make_sequence(3, 1), make_sequence(4, 9)])
    assert int((~batch.inputs.frame_valid_GF.any(dim=1)).sum()) > 20

    logits, gradients = _step(network, batch, packed=True)
    expected, wanted = _step(other, batch, packed=False)

    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)
    assert gradients.keys() == wanted.keys()
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in gradients.items():
        scale = max(float(wanted[name].abs().max()), 1e-6 * largest)  # a bias before a normalisation has none
        torch.testing.assert_close(gradient / scale, wanted[name] / scale, atol=1e-7, rtol=0, msg=name)
    for name, statistic in network.named_buffers():
        torch.testing.assert_close(statistic, other.get_buffer(name), atol=1e-9, rtol=1e-9, msg=name)
