"""What every model of sentences by vectors is made of: a recurrent network that reads a sentence,
and one that says it again out of a vector z (Bowman et al. 2016, arXiv:1511.06349, §3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.models.language.recurrent import Recurrent
from fledge.models.language.recurrent_config import RecurrentConfig
from fledge.text.sentences import SentenceRows


@dataclass(frozen=True)
class Alphabet:
    """vocab_size: ids that there are. begin and end: what stands around a sentence."""

    vocab_size: int
    begin: int
    end: int


class SentenceCoder(nn.Module):
    """settings: latents, width, layers, cell, longest (tokens of a sentence)."""

    def __init__(self, alphabet: Alphabet, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.alphabet, self.longest = alphabet, settings["longest"]
        # One id more than there are: what word dropout shows in place of a token.
        self.unknown = alphabet.vocab_size
        config = RecurrentConfig(
            alphabet.vocab_size + 1, settings["cell"], context=self.longest + 2,
            layers=settings["layers"], width=settings["width"],
        )  # fmt: skip
        self.reader, self.writer = Recurrent(config), Recurrent(config)
        self.to_state = nn.Linear(settings["latents"], config.layers * config.state_width)
        self.to_every_step = nn.Linear(settings["latents"], config.width)

    def read(self, rows: SentenceRows) -> Tensor:
        """What the reader says at the last token of each.  -> [B, D]"""
        hidden = self.reader(rows.tokens)
        return hidden[torch.arange(len(hidden), device=hidden.device), rows.length - 1]

    def log_likelihood(
        self, rows: SentenceRows, z: Tensor, dropped: Tensor | None = None
    ) -> Tensor:
        """log p(x | z), the end included.  z: [B, Z] -> [B], float32 or finer

        dropped: [B, T] bool, the tokens that the writer is not shown as it foretells the next.
        """
        shown, wanted = rows.tokens[:, :-1], rows.tokens[:, 1:]
        if dropped is not None:
            shown = shown.masked_fill(dropped[:, :-1], self.unknown)
        hidden = self.writer.read(shown, self.begin_from(z))
        logits = self.foretell(hidden, z)  # [B, T−1, V]
        nats = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
        return -torch.where(rows.said, nats, 0.0).sum(1)

    def begin_from(self, z: Tensor) -> Tensor:
        """The writer's state before the first token.  [B, Z] -> [B, L, S]"""
        config = self.writer.config
        return self.to_state(z).tanh().view(len(z), config.layers, config.state_width)

    def foretell(self, hidden: Tensor, z: Tensor) -> Tensor:
        """Logits of the next token; z is seen at every step, for a state forgets.  [B, T, D], [B,
        Z] -> [B, T, V], float32 or finer
        """
        return widen((hidden + self.to_every_step(z)[:, None]) @ self.writer.unembedding[:-1].T)

    @torch.no_grad()
    def write(
        self, z: Tensor, sayable: Tensor, temperature: float, generator: torch.Generator
    ) -> list[list[int]]:
        """What is said out of each vector, token by token, without what opens and ends it.  [B, Z]

        sayable: [V] bool, of the tokenizer. temperature: 0 takes the likeliest token.
        """
        state = self.begin_from(z)
        token = torch.full((len(z),), self.alphabet.begin, device=z.device)
        ended = torch.zeros_like(token, dtype=torch.bool)
        said: list[Tensor] = []
        for _ in range(self.longest + 1):
            hidden, state = self.writer.run(token[:, None], state)
            logits = self.foretell(hidden, z)[:, 0].masked_fill(~sayable, -torch.inf)
            if temperature == 0:
                token = logits.argmax(1)
            else:
                p = (logits / temperature).softmax(1).cpu()
                token = torch.multinomial(p, 1, generator=generator)[:, 0].to(z.device)
            token = torch.where(ended, self.alphabet.end, token)
            ended |= token == self.alphabet.end
            said.append(token)
            if bool(ended.all()):
                break
        rows = torch.stack(said, 1).tolist()
        end = self.alphabet.end
        return [row[: row.index(end)] if end in row else row for row in rows]


def widen(x: Tensor) -> Tensor:
    """In float32, of numbers that autocast has in fewer bits; finer ones as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
