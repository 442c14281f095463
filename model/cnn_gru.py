"""CNN and GRU over nights, the baseline after Gomez et al. 2020. See ``model.recurrent``."""

from __future__ import annotations

from torch import nn

from model.recurrent import RecurrentNetwork


class CnnGru(RecurrentNetwork):
    """The stack of ``model.recurrent`` with a GRU."""

    name = "cnn_gru"
    recurrence = nn.GRU
