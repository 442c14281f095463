"""``convention_2023`` is the published network: golden tensors, direct form, weights in the published naming."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import model
from benchmarks.reference_convention_2023 import DirectConvention2023
from model.convention_2023 import Convention2023, Convention2023Config
from model.published import published_stages
from schemas.errors import BundleError

GOLDEN = Path(__file__).parents[1] / "golden" / "convention_2023.safetensors"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    """The golden file's tensors."""
    return load_file(GOLDEN)


@pytest.mark.parametrize("fused", [False, True])
def test_golden(fused: bool) -> None:
    """Tokens, both blocks and logits equal the released network's to 1e-5, in the plain and the inference form."""
    differences = model.check_golden(GOLDEN, fused=fused)
    assert set(differences) == {"tokens", "block0", "block1", "logits"}
    assert max(differences.values()) < 1e-5


def test_direct_form_agrees(golden: dict[str, torch.Tensor]) -> None:
    """The O(T^2) form from the published formula gives the golden logits, so the query does cancel."""
    network = _loaded(golden)
    with torch.inference_mode():
        logits = DirectConvention2023(network)(golden["input.images"].float(), golden["input.bands"])
    torch.testing.assert_close(logits, golden["expected.logits"], atol=1e-5, rtol=0)


def test_query_gradient_is_zero_in_the_direct_form_too(golden: dict[str, torch.Tensor]) -> None:
    """What the fast form leaves without a gradient has none in the published form either (a thousandth of the
    keys')."""
    network = Convention2023(Convention2023Config(max_frames=99))
    model.load_published_weights(network, _weights(golden))
    logits = DirectConvention2023(network)(golden["input.images"][:1].float(), golden["input.bands"][:1])
    logits[0, 0].backward()
    qkv, bias = network.blocks[0].attention.qkv.weight.grad, network.blocks[0].attention.logit.bias.grad
    assert qkv[:8].abs().max() < 1e-3 * qkv[8:16].abs().max()
    assert bias.abs().max() < 1e-3 * network.blocks[0].attention.logit.weight.grad.abs().max()


def test_36_frames_and_two_planes() -> None:
    """Built for 36 frames it has 1,144,244 parameters; a second plane is one more input channel."""
    network = model.create("convention_2023", max_frames=36)
    assert network.num_parameters == 1_144_244
    assert network.fixed_tokens == 12
    two = model.create("convention_2023", max_frames=36, planes=("science", "difference"), pixels="arcsinh")
    assert two.num_parameters - network.num_parameters == 64 * 11 * 11 * 3


@pytest.mark.parametrize("config", [{"max_frames": 100}, {"pixels": "sqrt"}, {"planes": ("template",)}])
def test_bad_configs_are_refused(config: dict[str, object]) -> None:
    """A length that is no multiple of three, an unknown pixel form, an unknown plane."""
    with pytest.raises(ValueError):
        model.create("convention_2023", **config)


def test_misfits_are_named(golden: dict[str, torch.Tensor]) -> None:
    """A missing key, a key left over and a wrong shape are all named, and nothing is loaded."""
    network = Convention2023(Convention2023Config())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    weights = _weights(golden)
    del weights["classification.linear1.bias"]
    weights["sbert.extra"] = torch.zeros(1)
    weights["classification.linear3.weight"] = torch.zeros(3, 256)
    with pytest.raises(BundleError) as caught:
        model.load_published_weights(network, weights)
    text = str(caught.value)
    assert "missing classification.linear1.bias" in text
    assert "left over sbert.extra" in text
    assert "classification.linear3.weight is (3, 256)" in text
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_only_the_published_network_takes_published_weights(golden: dict[str, torch.Tensor]) -> None:
    """Another network, or a fused one, is the caller's mistake."""
    with pytest.raises(ValueError, match="no published naming for cnn_gru"):
        model.load_published_weights(model.create("cnn_gru"), _weights(golden))
    network = Convention2023(Convention2023Config())
    network.fuse()
    with pytest.raises(ValueError, match="fused"):
        model.load_published_weights(network, _weights(golden))


def test_a_wrong_answer_is_seen(golden: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """One weight changed shows in the logits' difference; a file without its parts is refused."""
    changed = dict(golden)
    changed["weights.classification.linear3.bias"] = golden["weights.classification.linear3.bias"] + 1
    save_file(changed, tmp_path / "changed.safetensors")
    assert model.check_golden(tmp_path / "changed.safetensors")["logits"] > 0.5
    save_file({"input.bands": golden["input.bands"]}, tmp_path / "part.safetensors")
    with pytest.raises(BundleError, match=r"lacks input\.images"):
        model.check_golden(tmp_path / "part.safetensors")


def test_stages_are_named_by_block(golden: dict[str, torch.Tensor]) -> None:
    """``published_stages`` gives what a golden file may expect."""
    network = _loaded(golden)
    with torch.inference_mode():
        stages = published_stages(network, golden["input.images"][:1].float(), golden["input.bands"][:1])
    assert list(stages) == ["tokens", "block0", "block1", "logits"]


def _weights(golden: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix("weights."): value for key, value in golden.items() if key.startswith("weights.")}


def _loaded(golden: dict[str, torch.Tensor]) -> Convention2023:
    network = Convention2023(Convention2023Config())
    model.load_published_weights(network, _weights(golden))
    network.eval()
    return network
