"""CNN and LSTM over nights, the baseline after Carrasco-Davis et al. 2019. See ``model.recurrent``."""

from __future__ import annotations

from torch import nn

from model.recurrent import RecurrentNetwork


class CnnLstm(RecurrentNetwork):
    """The stack of ``model.recurrent`` with a LSTM."""

    name = "cnn_lstm"
    recurrence = nn.LSTM
