"""What a denoiser is told beside the noisy picture: how noisy it is, and by which label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOWEST, FASTEST = 1 / 32, 2.0  # frequencies of log-SNR, whose range is some 30 wide


class TimeEmbedding(nn.Module):
    """λ by sines and cosines (Vaswani et al. 2017, §3.5), through two layers; a label's vector is
    added. The last of `labels` + 1 vectors is that of no label.
    """

    frequency: Tensor

    def __init__(self, width: int, labels: int = 0) -> None:
        super().__init__()
        steps = torch.linspace(0, 1, width // 2)
        self.register_buffer("frequency", SLOWEST * (FASTEST / SLOWEST) ** steps, persistent=False)
        self.first, self.second = nn.Linear(2 * len(steps), width), nn.Linear(width, width)
        self.labels = labels
        self.label = nn.Embedding(labels + 1, width) if labels else None

    def forward(self, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """log_snr: [B]. label: [B], below 0 where there is none; None: none of any.  -> [B, W]"""
        phase = log_snr.to(self.frequency)[:, None] * self.frequency
        hidden = self.second(F.silu(self.first(torch.cat([phase.sin(), phase.cos()], 1))))
        if self.label is not None:
            if label is None:
                label = torch.full((len(log_snr),), self.labels, device=hidden.device)
            hidden = hidden + self.label(torch.where(label < 0, self.labels, label))
        return F.silu(hidden)
