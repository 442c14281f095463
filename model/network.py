"""What every network does: frames to tokens, tokens to logits. Dimension letters as in ``model.batch``.

A token is a flat vector that depends on its own frames only (eval mode), so it can be kept and used again when an
object gets its next frame; everything that depends on the other frames (order, time, attention, pooling) is in
``classify_tokens``. A network without attention fits: a night's CNN feature is the token, a recurrence the head.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from model.batch import SequenceBatch, TokenGroup, TokenInputs
from schemas.sequence import StampSequence


class NetworkOutput(NamedTuple):
    """logits_BK: float32, one column a class of ``model.scores.CLASSES``; pooled_BF: the features before the last
    layer, for the novelty score."""

    logits_BK: Tensor
    pooled_BF: Tensor


class Network(nn.Module):
    """Base of all networks. Subclasses keep their config dataclass in ``self.config``.

    name: the registered name. token_size: D, values of a token. pooled_size: F of the pooled features.
    num_tokens(L): tokens of the longest kind that a sequence of L frames can have. fixed_tokens: the number of
    tokens every sequence is given, None when any number is fine.
    """

    name: ClassVar[str]
    config: Any
    token_size: int
    pooled_size: int
    fixed_tokens: int | None = None

    def group_frames(self, sequence: StampSequence) -> list[TokenGroup]:
        """The sequence's tokens, oldest first. The number of slots of a group is a function of that group alone."""
        raise NotImplementedError

    def encode_tokens(self, inputs: TokenInputs, *, packed: bool = False) -> Tensor:
        """tokens_GD, each from its own slots only.

        packed: leave empty slots out of the work (their number then changes shapes, so results may differ in the
        last bit); without it the shapes are those of ``inputs``, whatever it holds.
        """
        raise NotImplementedError

    def classify_tokens(self, tokens_BTD: Tensor, mask_BT: Tensor, days_BT: Tensor) -> NetworkOutput:
        """Logits of sequences of tokens, oldest first; mask_BT and days_BT as in ``SequenceBatch``."""
        raise NotImplementedError

    def forward(self, batch: SequenceBatch) -> NetworkOutput:
        """The whole network: ``classify_tokens`` of ``encode_tokens``."""
        tokens_GD = self.encode_tokens(batch.inputs, packed=True)
        tokens_BTD = tokens_GD[batch.index_BT].masked_fill(~batch.mask_BT[..., None], 0.0)
        return self.classify_tokens(tokens_BTD, batch.mask_BT, batch.days_BT)

    def fuse(self) -> None:
        """Rewrite the network for inference, in place (fold normalisation into convolutions, channels last). After
        it the network is in eval mode, gives the same answers to 1e-5 and cannot be trained. Default: eval only."""
        self.eval()

    def config_dict(self) -> dict[str, Any]:
        """The config as JSON values: ``model.create(name, **config)`` builds the same network again."""
        values = asdict(self.config)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @property
    def num_parameters(self) -> int:
        """Trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())
