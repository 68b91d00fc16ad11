"""What is known of codes before a picture is seen: a language model whose words they are.

A row is a label's token, or that of no label, and then the codes of a picture, row by row of the
grid. It is an ordinary decoder: the token policy says how likely a row is, and the token engine
writes one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.policy import TokenPolicy


class CodePrior(nn.Module):
    """codes: how many there are. places: of a picture. labels: 0, where none are known."""

    def __init__(
        self, codes: int, places: int, labels: int, layers: int, width: int, heads: int
    ) -> None:
        super().__init__()
        self.codes, self.places, self.labels = codes, places, labels
        words = codes + labels + 1  # the last: of a picture without a label
        config = TransformerConfig(
            vocab_size=words, context=places + 1, layers=layers, width=width, heads=heads,
            kv_heads=heads,
        )  # fmt: skip
        said = torch.arange(words) < codes
        self.policy = TokenPolicy(Transformer(config), said)

    def open_rows(self, label: Tensor) -> Tensor:
        """The token that a row begins with; of a label below 0 that of none.  [B] -> [B]"""
        return torch.where(label < 0, self.codes + self.labels, self.codes + label)

    def rows(self, codes: Tensor, label: Tensor) -> Tensor:
        """[B, places], [B] -> [B, places + 1]"""
        return torch.cat([self.open_rows(label)[:, None], codes], 1)

    def log_prob_of(self, codes: Tensor, label: Tensor) -> Tensor:
        """log p(codes | label).  [B, places], [B] -> [B]"""
        rows = self.rows(codes, label)
        return self.policy.log_prob(rows, rows[:, 1:]).float().sum(1)

    def log_prob(self, codes: Tensor) -> Tensor:
        """log p(codes): of labels, which are equally likely, the sum over all.  [B, places] ->
        [B]
        """
        if self.labels == 0:
            return self.log_prob_of(codes, codes.new_full((len(codes),), -1))
        every = torch.arange(self.labels, device=codes.device)
        each = [self.log_prob_of(codes, label.expand(len(codes))) for label in every]
        return torch.stack(each).logsumexp(0) - math.log(self.labels)

    def draw_labels(self, count: int, generator: torch.Generator) -> Tensor:
        """[count]; −1 where there are none."""
        if self.labels == 0:
            return torch.full((count,), -1)
        return torch.randint(self.labels, (count,), generator=generator)

    def draw(self, label: Tensor, generator: torch.Generator) -> Tensor:
        """Codes, each row read anew for every token: what the engine says faster.  [B] -> [B,
        places]
        """
        rows = self.open_rows(label)[:, None]
        for _ in range(self.places):
            hidden = self.policy.hidden(rows)[:, -1]
            p = self.policy.logits(hidden).softmax(1)
            rows = torch.cat([rows, torch.multinomial(p, 1, generator=generator)], 1)
        return rows[:, 1:]
