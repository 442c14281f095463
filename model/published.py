"""Weights in other people's naming, and golden files: a network's answers, kept to be checked against.

A golden file is a safetensors file of ``weights.*`` (the published naming), ``input.images`` [B, L, 32, 32] and
``input.bands`` [B, L] (ids 0..4 = u g r i z; zero images of band id 0 are padding), and ``expected.*`` of any of
tokens (the CNN's maps, before their place is added), block0, block1 [B, 33, 8, 9, 9], and logits [B, K].

The released network keeps the encoding of a token's place among its weights, so where they were cast to a narrower
type, so was the encoding: weights stored as bfloat16 go with an encoding rounded to bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from model.convention_2023 import FRAMES_PER_TOKEN, MAP_CHANNELS, Convention2023, Convention2023Config
from model.layers import sinusoidal_encoding
from model.network import Network
from schemas.errors import BundleError

_CONV_LEAVES: Final = ("weight", "bias")
_NORM_LEAVES: Final = ("weight", "bias", "running_mean", "running_var")


def _published_keys(num_blocks: int) -> dict[str, str]:
    """Our name of every tensor -> the published one."""
    modules: dict[str, tuple[str, tuple[str, ...]]] = {
        "band_embedding": ("sbert.embedding_band", ("weight",)),
        "hidden": ("classification.linear1", _CONV_LEAVES),
        "output": ("classification.linear3", _CONV_LEAVES),
    }
    for index in range(1, 5):
        modules[f"encoder.conv{index}"] = (f"sbert.feature_embedding.conv{index}", _CONV_LEAVES)
        modules[f"encoder.norm{index}"] = (f"sbert.feature_embedding.bn{index}", _NORM_LEAVES)
    for index in range(num_blocks):
        ours, theirs = f"blocks.{index}", f"sbert.transformer_blocks.{index}"
        modules |= {
            f"{ours}.attention_norm": (f"{theirs}.input_sublayer.norm", _CONV_LEAVES),
            f"{ours}.attention.qkv": (f"{theirs}.attention.conv1.0", _CONV_LEAVES),
            f"{ours}.attention.logit": (f"{theirs}.attention.attention.conv2.0", _CONV_LEAVES),
            f"{ours}.attention.out": (f"{theirs}.attention.out_conv", _CONV_LEAVES),
            f"{ours}.feed_forward_norm": (f"{theirs}.output_sublayer.norm", _CONV_LEAVES),
            f"{ours}.feed_forward.conv1": (f"{theirs}.feed_forward.w_1", _CONV_LEAVES),
            f"{ours}.feed_forward.norm1": (f"{theirs}.feed_forward.conv1_bn", _NORM_LEAVES),
            f"{ours}.feed_forward.conv2": (f"{theirs}.feed_forward.w_2", _CONV_LEAVES),
            f"{ours}.feed_forward.norm2": (f"{theirs}.feed_forward.conv2_bn", _NORM_LEAVES),
        }
    return {f"{ours}.{leaf}": f"{theirs}.{leaf}" for ours, (theirs, leaves) in modules.items() for leaf in leaves}


def _our_layout(name: str, tensor: Tensor) -> Tensor:
    """Published Conv3d weights are [out, in, H, W, time], joint norms [C, H, W, T]; ours lead with time and token."""
    if tensor.ndim == 5:
        return tensor.permute(4, 0, 1, 2, 3)
    if tensor.ndim == 4 and "_norm." in name:
        return tensor.permute(3, 0, 1, 2)
    return tensor


def load_published_weights(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Load weights in the published naming, cast to float32; the place encoding is rounded as they were.

    ValueError when the network is not ``convention_2023`` or is fused already; BundleError names every missing key,
    every key left over and every wrong shape. Nothing is loaded unless everything fits.
    """
    if not isinstance(network, Convention2023):
        raise ValueError(f"no published naming for {network.name}")
    keys = _published_keys(len(network.blocks))
    own = network.state_dict()
    if not set(keys) <= set(own):
        raise ValueError(f"{network.name} is fused: load its weights before")
    missing = sorted(set(keys.values()) - set(tensors))
    # batch normalisation counts its batches; a published file may or may not carry the counter
    left_over = sorted(key for key in set(tensors) - set(keys.values()) if not key.endswith("num_batches_tracked"))
    faults = [f"missing {key}" for key in missing] + [f"left over {key}" for key in left_over]
    loaded: dict[str, Tensor] = {}
    for ours, theirs in keys.items():
        if theirs not in tensors:
            continue
        tensor = tensors[theirs]
        loaded[ours] = _our_layout(ours, tensor)
        if loaded[ours].shape != own[ours].shape:
            faults.append(f"{theirs} is {tuple(tensor.shape)}, which does not fit {ours} {tuple(own[ours].shape)}")
    if faults:
        raise BundleError("published weights do not fit: " + "; ".join(faults))
    narrow = tensors[keys["output.weight"]].dtype
    place_TC = sinusoidal_encoding(network.config.num_tokens, MAP_CHANNELS).to(narrow)
    loaded["place_TC"] = place_TC
    network.load_state_dict({**own, **{name: tensor.to(torch.float32) for name, tensor in loaded.items()}})


@torch.inference_mode()
def check_golden(path: Path | str, *, fused: bool = False) -> dict[str, float]:
    """Largest absolute difference from the golden file's answers, by stage (tokens, block0, block1, logits).

    fused: check the form used for inference. BundleError when the file lacks its parts or its weights do not fit.
    """
    tensors = load_file(path)
    needed = ("input.images", "input.bands", "weights.classification.linear3.weight")
    absent = [key for key in needed if key not in tensors]
    if absent:
        raise BundleError(f"{path} is not a golden file: it lacks {', '.join(absent)}")
    images_BLHW, bands_BL = tensors["input.images"].to(torch.float32), tensors["input.bands"]
    weights = {key.removeprefix("weights."): value for key, value in tensors.items() if key.startswith("weights.")}
    num_classes = weights["classification.linear3.weight"].shape[0]
    network = Convention2023(Convention2023Config(max_frames=images_BLHW.shape[1], num_classes=num_classes))
    load_published_weights(network, weights)
    if fused:
        network.fuse()
    network.eval()
    answers = published_stages(network, images_BLHW, bands_BL)
    expected = {key.removeprefix("expected."): value for key, value in tensors.items() if key.startswith("expected.")}
    unknown = sorted(set(expected) - set(answers))
    if unknown or not expected:
        raise BundleError(f"{path} expects {', '.join(unknown) or 'nothing'}: known are {', '.join(answers)}")
    return {stage: float((answers[stage] - value).abs().max()) for stage, value in expected.items()}


def published_stages(network: Convention2023, images_BLHW: Tensor, bands_BL: Tensor) -> dict[str, Tensor]:
    """tokens, block0, block1, ... and logits of an input in the published form (zero images, band id 0 = padding)."""
    num_sequences = images_BLHW.shape[0]
    images_GFPHW = torch.unflatten(images_BLHW, 1, (-1, FRAMES_PER_TOKEN)).flatten(0, 1)[:, :, None]
    bands_GF = torch.unflatten(bands_BL, 1, (-1, FRAMES_PER_TOKEN)).flatten(0, 1)
    tokens_BTD = torch.unflatten(network.encode_images(images_GFPHW, bands_GF), 0, (num_sequences, -1))
    maps = network.place_tokens(tokens_BTD)
    stages = {"tokens": tokens_BTD.view_as(maps)}
    for index, block in enumerate(network.blocks):
        maps = block(maps)
        stages[f"block{index}"] = maps
    mask_BT = torch.ones(tokens_BTD.shape[:2], dtype=torch.bool)
    output = network.classify_tokens(tokens_BTD, mask_BT, torch.zeros(mask_BT.shape))
    return {**stages, "logits": output.logits_BK}
