"""Settings of the corrected network; each correction of the published one can be switched off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.bands import BANDS

MAX_FRAMES_PER_TOKEN: Final = 3
NUM_HEADS: Final = 4


@dataclass(frozen=True, slots=True)
class ConventionConfig:
    """Sizes, and the switches of the ablation.

    bands: frames of other bands are left out. difference: where the difference plane is from: ``survey`` (the
    packet's, masked where it has none), ``causal`` (the frame minus the mean of the object's earlier frames of the
    band), ``auto`` (the packet's where it has one, else causal), ``none`` (science plane only). masks: pixel masks as
    input planes, padding masked. scalars: aperture and noise scalars condition each frame. light_curve: the stream
    that reads the scalars over time. time: ``days`` before the newest frame and time gaps in the attention,
    ``index`` (the token's place only, as published), ``""`` none. attention: ``pairwise`` (depends on the query),
    ``key_only`` (what the published one amounts to), ``none``. norm: ``token`` or ``joint`` (over all tokens of the
    sequence together, as published). trees: rounds of boosted trees on light-curve features whose answer is added to
    the logits, 0 none; they say 0 until ``train.trees`` fits them.
    """

    bands: Sequence[str] = BANDS
    num_classes: int = 4
    difference: str = "auto"
    masks: bool = True
    scalars: bool = True
    light_curve: bool = True
    time: str = "days"
    attention: str = "pairwise"
    norm: str = "token"
    stem_channels: Sequence[int] = (32, 48, 64)
    fused_channels: int = 96
    token_channels: int = 96
    mix_channels: int = 96
    num_blocks: int = 2
    pooled_size: int = 128
    dropout: float = 0.3
    trees: int = 0

    def __post_init__(self) -> None:
        choices = {
            "difference": ("survey", "causal", "auto", "none"),
            "time": ("days", "index", ""),
            "attention": ("pairwise", "key_only", "none"),
            "norm": ("token", "joint"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, allowed))}, not {getattr(self, name)!r}"
                )
        if not isinstance(self.trees, int) or self.trees < 0:
            raise ValueError(f"trees must be a whole number, 0 or more, not {self.trees!r}")
        if self.token_channels % NUM_HEADS:
            raise ValueError(f"token_channels must be a multiple of {NUM_HEADS}, not {self.token_channels}")

    @property
    def planes(self) -> tuple[str, ...]:
        """The planes the network sees."""
        return ("science",) if self.difference == "none" else ("science", "difference")
