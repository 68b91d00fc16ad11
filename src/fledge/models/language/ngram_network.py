"""An n-gram model where others have a network: what it has read is the numbers of its contexts, and
the distribution is looked up from these.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.language.ngram import Ngram, Order
from fledge.text.ngram_counts import WORD, walk


@dataclass(frozen=True)
class NgramConfig:
    """numbers: how many n-grams there are of each length, from two on. context: tokens of a row
    that is read or written; it looks back at `order` − 1 of them.
    """

    vocab_size: int
    numbers: tuple[int, ...] = ()
    context: int = 256
    additive: bool = False
    family: str = field(default="", compare=False)

    @property
    def order(self) -> int:
        return len(self.numbers) + 1

    @property
    def width(self) -> int:
        """Of what it has read: a number for each length of context."""
        return self.order - 1

    @property
    def parameters(self) -> int:
        """Probabilities and what contexts leave."""
        longest = self.numbers[-1] if self.numbers else self.vocab_size
        return 2 * (self.vocab_size + sum(self.numbers)) - longest


class NgramNetwork(nn.Module):
    """Rows of tokens in, the numbers of their contexts out [B, T, order − 1], −1 for one that was
    never seen; `unembed` says the distribution after each. Nothing of it learns by gradient.
    """

    lead = 0  # virtual tokens before every document: it has none

    logp_1: Tensor

    def __init__(self, config: NgramConfig, border: int | None = None) -> None:
        super().__init__()
        self.border = border
        self._make(config)

    def _make(self, config: NgramConfig) -> None:
        self.config = c = config
        sizes = [c.vocab_size, *c.numbers]
        for n, size in enumerate(sizes, 1):
            if n > 1:
                self.register_buffer(f"keys_{n}", torch.zeros(size, dtype=torch.long))
            self.register_buffer(f"logp_{n}", torch.zeros(size))
            if n < len(sizes) or n == 1:
                self.register_buffer(f"backoff_{n}", torch.zeros(size))
        self._model: Ngram | None = None

    def become(self, model: Ngram) -> None:
        """This model from now on."""
        for name in [name for name, _ in self.named_buffers()]:
            delattr(self, name)
        numbers = tuple(len(order.keys) for order in model.longer)
        c = self.config
        self._make(NgramConfig(model.vocab_size, numbers, c.context, model.additive, c.family))
        parts = [("logp_1", model.logp), ("backoff_1", model.backoff)]
        for n, order in enumerate(model.longer, 2):
            parts += [(f"keys_{n}", order.keys), (f"logp_{n}", order.logp)]
            if n <= len(numbers):
                parts.append((f"backoff_{n}", order.backoff))
        for name, part in parts:
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(part)))

    @property
    def model(self) -> Ngram:
        """Over the same memory. Raises UserError for tables that are none."""
        if self._model is None:
            held = {name: buffer.numpy() for name, buffer in self.named_buffers()}
            nothing = np.zeros(0, np.float32)
            longer = tuple(
                Order(held[f"keys_{n}"], held[f"logp_{n}"], held.get(f"backoff_{n}", nothing))
                for n in range(2, self.config.order + 1)
            )
            check_tables([order.keys for order in longer], self.config.vocab_size)
            self._model = Ngram(
                held["logp_1"], held["backoff_1"], longer, self.border, self.config.additive
            )
        return self._model

    @property
    def unembedding(self) -> Tensor:
        """[V, 1], of the right size, type and place: there is no such matrix, and `unembed` says
        what it would.
        """
        return self.logp_1[:, None]

    def document_mask(self, tokens: Tensor) -> None:
        """The border is seen by the model itself."""
        return

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T] -> [B, T, order − 1] float64, which holds these whole numbers exactly."""
        model, c = self.model, self.config
        flat = []
        for row in tokens.numpy():
            numbers = walk(row, model.tables[:-1], self.border)[: c.width]
            flat.append(np.stack(numbers, -1) if numbers else np.zeros((len(row), 0), np.int64))
        return torch.from_numpy(np.stack(flat)).double()

    def unembed(self, hidden: Tensor) -> Tensor:
        """log p of every token after such contexts.  [N, order − 1] -> [N, V]"""
        return torch.from_numpy(self.model.look_up(hidden.long().numpy()))

    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p of every token given those before it in its row.  [B, T] -> [B, T]"""
        said = [self.model.log_prob(row) for row in tokens.numpy()]
        return torch.from_numpy(np.stack(said))


def check_tables(tables: list[np.ndarray], vocab_size: int) -> None:
    """Raises UserError for keys that are out of order, or name what is not there."""
    shorter = vocab_size
    for n, keys in enumerate(tables, 2):
        ordered = bool((np.diff(keys) > 0).all())
        inside = not len(keys) or (
            keys[0] >= 0 and (keys[-1] >> 32) < shorter and (keys & WORD).max() < vocab_size
        )
        if not ordered or not inside:
            raise UserError(
                f"the table of {n}-grams is damaged: its keys are not in order, or name what is "
                "not there. Write the model again, or use another."
            )
        shorter = len(keys)
