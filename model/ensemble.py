"""K networks as one: tokens and logits of all members, and what they say together. Letters as in ``model.batch``.

Members run one after the other: stacking them (``torch.func.vmap`` over stacked weights) gains 0 to 8% when encoding
a chunk on two CPU cores and cannot use the fused form (``benchmarks/bench_ensemble.py`` measures both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import registry
from model.batch import TokenInputs
from model.bundle_spec import NetworkSpec
from model.calibration import FloatArray, member_probabilities
from model.network import Network
from schemas.errors import BundleError


@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """What the members say of one sequence together: mean and standard deviation of their probabilities [C], and
    the mutual information between class and member, nat (Houlsby et al. 2011): the part of the doubt that more
    training data would remove."""

    probabilities_C: FloatArray
    spread_C: FloatArray
    mutual_information: float


def combine(logits_KC: NDArray[np.float32], temperature: float, log_reweight_C: FloatArray) -> Opinion:
    """Calibrated mean, spread and mutual information of one sequence; float64, from fixed shapes, so that the bytes
    are a function of the logits alone."""
    members_KC = member_probabilities(logits_KC[:, None, :], np.array([temperature]), log_reweight_C)[:, 0]
    mean_C = members_KC.mean(axis=0)
    mean_C = mean_C / mean_C.sum()
    information = entropy(mean_C) - float(np.mean([entropy(member) for member in members_KC]))
    return Opinion(mean_C, members_KC.std(axis=0), max(information, 0.0))


def entropy(probabilities_C: FloatArray) -> float:
    """Shannon entropy, nat."""
    kept = np.maximum(probabilities_C, 1e-300)
    return float(-(kept * np.log(kept)).sum())


class Ensemble:
    """K members of one kind, ready for inference on one device."""

    def __init__(self, members: Sequence[Network], *, device: str = "cpu", fuse: bool = True) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        for member in members:
            if fuse:
                member.fuse()
            member.eval().requires_grad_(False).to(device)
        self.members = tuple(members)
        self.device = device

    @property
    def network(self) -> Network:
        """One member, for what they all share: grouping of frames, sizes."""
        return self.members[0]

    @property
    def num_members(self) -> int:
        """K."""
        return len(self.members)

    @torch.inference_mode()
    def encode(self, inputs: TokenInputs) -> Tensor:
        """tokens_GKD of every member, in the shapes of ``inputs`` whatever it holds."""
        inputs = inputs.to(self.device)
        return torch.stack([member.encode_tokens(inputs) for member in self.members], dim=1)

    @torch.inference_mode()
    def classify(self, tokens_KBTD: Tensor, mask_BT: Tensor, days_BT: Tensor) -> tuple[Tensor, Tensor]:
        """logits_BKC and pooled_BKF of every member."""
        tokens_KBTD, mask_BT, days_BT = (x.to(self.device) for x in (tokens_KBTD, mask_BT, days_BT))
        outputs = [
            member.classify_tokens(tokens_BTD, mask_BT, days_BT)
            for member, tokens_BTD in zip(self.members, tokens_KBTD, strict=True)
        ]
        logits = torch.stack([output.logits_BK for output in outputs], dim=1)
        return logits, torch.stack([output.pooled_BF for output in outputs], dim=1)


def build_members(spec: NetworkSpec, states: Sequence[Mapping[str, Tensor]]) -> list[Network]:
    """The networks of a bundle with their weights. BundleError for an unknown network or weights that do not fit."""
    members: list[Network] = []
    for index, state in enumerate(states):
        try:
            network = registry.create(spec.name, **spec.config)
        except (ValueError, TypeError) as error:
            raise BundleError(f"network check: {error}") from error
        try:
            network.load_state_dict(dict(state), strict=True)
        except RuntimeError as error:
            # torch lists every key on a line of its own; the first fault is enough for one clear line
            fault = " ".join(str(error).split("\n")[1:2]).strip()
            raise BundleError(f"weight check: member {index} does not fit {spec.name}: {fault}") from error
        members.append(network)
    return members
