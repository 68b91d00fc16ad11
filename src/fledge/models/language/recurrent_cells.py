"""The layers of a recurrent language model: rows and a state in, rows and the next state out.

A state is [B, S] for all kinds, so that whoever keeps it (an engine's slot, a checkpoint) need not
know what it means.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fledge.models.language.linear_recurrence import recur
from fledge.models.language.recurrent_config import RecurrentConfig

KERNELS = {"elman": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class KernelCell(nn.Module):
    """A layer of torch's own kernels: `cell.weight_ih_l0` [G·W, W] and so on, gates in torch's
    order.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.cell = KERNELS[config.cell](config.width, config.width, batch_first=True)

    def forward(
        self, x: Tensor, state: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """[B, T, W], [B, S] -> [B, T, W], the state after step `lengths` [B] of each row, or after
        T.
        """
        # The kernels want one type for all: under autocast the layer below may have said bf16.
        before = self._split(state.to(x.dtype))
        if lengths is None:
            y, after = self.cell(x, before)
            return y, self._join(after)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, after = self.cell(packed, before)
        return pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0], self._join(
            after
        )

    def _split(self, state: Tensor) -> Any:
        if self.config.cell == "lstm":
            said, memory = state.chunk(2, -1)
            return said[None].contiguous(), memory[None].contiguous()
        return state[None].contiguous()

    def _join(self, after: Any) -> Tensor:
        if self.config.cell == "lstm":
            return torch.cat([after[0][0], after[1][0]], -1)
        return after[0]


class MinGRU(nn.Module):
    """x ← x + W_o h,  h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ W_h n(x_t),  z_t = σ(W_z n(x_t));  then
    x ← x + MLP(n(x)) (Feng et al. 2024, §3.1 and appendix C; Shazeer 2020 for the MLP).
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        w, m = config.width, config.mlp_width
        self.norm = nn.RMSNorm(w, eps=1e-5)
        self.gate = nn.Linear(w, w)
        self.candidate = nn.Linear(w, w)
        self.out = nn.Linear(w, w, bias=False)
        self.mlp_norm = nn.RMSNorm(w, eps=1e-5)
        self.gate_up = nn.Linear(w, 2 * m, bias=False)
        self.down = nn.Linear(m, w, bias=False)

    def forward(
        self, x: Tensor, state: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `KernelCell`."""
        seen = self.norm(x)
        z = self.gate(seen).sigmoid()
        h = recur(1 - z, z * self.candidate(seen), state.to(z.dtype))
        x = x + self.out(h)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        x = x + self.down(F.silu(gate) * up)
        if lengths is None:
            return x, h[:, -1]
        return x, h[torch.arange(len(h), device=h.device), lengths.to(h.device) - 1]


def make_cell(config: RecurrentConfig) -> nn.Module:
    return MinGRU(config) if config.cell == "mingru" else KernelCell(config)
