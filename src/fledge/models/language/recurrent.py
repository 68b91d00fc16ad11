"""The recurrent language model: an embedding, layers of cells, an unembedding. What it has read is
a state of fixed size, so that the thousandth token costs what the first did.

It is held to what holds for the transformer: a border token opens a document and empties the
state, so that a row of several documents says of each what a row of it alone would.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fledge.dropout import drop
from fledge.errors import UserError
from fledge.models.language.recurrent_cells import KernelCell, make_cell
from fledge.models.language.recurrent_config import RecurrentConfig as RecurrentConfig


class Recurrent(nn.Module):
    """Token rows in, hidden states out; `unembedding` turns those into logits."""

    lead = 0  # virtual tokens before every document: it has none

    def __init__(
        self,
        config: RecurrentConfig,
        border: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = c = config
        self.border = border
        self.embedding = nn.Embedding(c.vocab_size, c.width)
        self.cells = nn.ModuleList(make_cell(c) for _ in range(c.layers))
        self.norm = nn.RMSNorm(c.width, eps=1e-5) if c.cell == "mingru" else nn.Identity()
        if not c.tied:
            self.head = nn.Linear(c.width, c.vocab_size, bias=False)
        self.reset(generator)

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Embeddings and the products of mingru as the transformer's; kernels uniform in ±1/√W, as
        torch begins, without biases but the forget gate's, which is 1: what is seen early is kept
        until the gates have learned (Jozefowicz et al. 2015, §3.2).
        """
        wide, narrow = math.sqrt(2 / (5 * self.config.width)), 1 / math.sqrt(self.config.width)
        for name, weight in self.named_parameters():
            if ".cell.bias" in name:
                weight.zero_()
            elif ".cell." in name:
                weight.uniform_(-narrow, narrow, generator=generator)
            elif weight.ndim == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                std = wide / math.sqrt(2 * self.config.layers) if residual else wide
                weight.normal_(0.0, std, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
        if self.config.cell == "lstm":
            w = self.config.width
            for layer in self.cells:
                assert isinstance(layer, KernelCell)
                layer.cell.bias_ih_l0[w : 2 * w] = 1.0

    @property
    def unembedding(self) -> Tensor:
        """[V, D]"""
        return self.embedding.weight if self.config.tied else self.head.weight

    def document_mask(self, tokens: Tensor) -> Tensor | None:
        """Where the state is emptied before a token is read; None where no row has a border behind
        its first token.  [B, T] -> bool [B, T]
        """
        if self.border is None or not bool((tokens[:, 1:] == self.border).any()):
            return None
        return tokens == self.border

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states, every row from an empty state.  [B, T] -> [B, T, D];  mask from
        `document_mask`. Raises UserError for a row longer than the context.
        """
        if tokens.shape[1] > self.config.context:
            raise UserError(
                f"a row of {tokens.shape[1]} tokens was given to a model with context "
                f"{self.config.context}: shorten the row."
            )
        return self.read(tokens, self.empty(len(tokens)), mask)

    def empty(self, rows: int) -> Tensor:
        """What it remembers before the first token.  -> [B, L, S]"""
        c = self.config
        return self.unembedding.new_zeros(rows, c.layers, c.state_width)

    def read(self, tokens: Tensor, state: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states of rows that go on from a state.  [B, T], [B, L, S] -> [B, T, D]

        mask: where the state is emptied first, bool [B, T].
        """
        return self._read(tokens, state, mask, self._draw_masks(tokens))[0]

    def read_on(
        self, tokens: Tensor, state: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same, and the state at the rows' ends, which knows no gradient: back-propagation is
        cut there (Williams & Peng 1990).  -> [B, T, D], [B, L, S]
        """
        drops = self._draw_masks(tokens)
        hidden, end = self._read(tokens, state, mask, drops)
        if end is not None:
            return hidden, end.detach()
        assert mask is not None
        with torch.no_grad():
            return hidden, self._end(tokens, state, mask, drops)

    def _read(
        self, tokens: Tensor, state: Tensor, mask: Tensor | None, drops: list[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """What stands between two places where the state is emptied is a row of its own for the
        kernels, padded to the longest: they know no way to begin anew, and are three times as slow
        on rows of unequal length. The rows' last states are not known then.
        """
        h = self.embedding(tokens)
        if mask is None:
            return self._run(h, state, drops)
        row, begin, length = cut_documents(mask)
        steps = torch.arange(int(length.max()), device=tokens.device)
        inside = steps < length[:, None]  # [N, T']
        places = (begin[:, None] + steps).clamp(max=tokens.shape[1] - 1)
        goes_on = (begin == 0) & ~mask[row, begin]
        y = self._run(
            h[row[:, None], places], state[row] * goes_on[:, None, None], [d[row] for d in drops]
        )[0]
        # Every place of the rows is in one document: all of them are written.
        said = y.new_zeros(*tokens.shape, y.shape[-1])
        where = row[:, None].expand_as(places)[inside], places[inside]
        return said.index_put(where, y[inside]), None

    def _end(self, tokens: Tensor, state: Tensor, mask: Tensor, drops: list[Tensor]) -> Tensor:
        """The state at the end of each row: of its last document, which is read once more."""
        row, begin, length = cut_documents(mask)
        last = torch.cat([row[1:] != row[:-1], row.new_ones(1, dtype=torch.bool)])
        begin, length = begin[last], length[last]  # [B]
        steps = torch.arange(int(length.max()), device=tokens.device)
        places = (begin[:, None] + steps).clamp(max=tokens.shape[1] - 1)
        goes_on = (begin == 0) & ~mask.gather(1, begin[:, None])[:, 0]
        h = self.embedding(tokens.gather(1, places))
        return self._run(h, state * goes_on[:, None, None], drops, length)[1]

    def run(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states of rows that go on from a state and in which no document begins, and the
        state at their end.  [B, T], [B, L, S] -> [B, T, D], [B, L, S]
        """
        return self._run(self.embedding(tokens), state, self._draw_masks(tokens))

    @torch.no_grad()
    def advance(self, tokens: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """The state after the first `lengths` [B] tokens of each row, one at least, of which none
        empties it.  [B, T], [B, L, S] -> [B, L, S]
        """
        return self._run(self.embedding(tokens), state, [], lengths)[1]

    def _run(
        self, h: Tensor, state: Tensor, drops: list[Tensor], lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        after = []
        for layer, cell in enumerate(self.cells):
            h, end = cell(h * drops[layer] if drops else h, state[:, layer], lengths)
            after.append(end)
        h = self.norm(h)
        return (h * drops[-1] if drops else h), torch.stack(after, 1)

    def _draw_masks(self, tokens: Tensor) -> list[Tensor]:
        """What dropout multiplies each layer's input by, and the unembedding's: [B, 1, W] each;
        nothing where it is off.
        """
        c = self.config
        if not self.training or not c.dropout:
            return []
        one = self.unembedding.new_ones(len(tokens), 1, c.width)
        return [drop(one, c.dropout, layer) for layer in range(c.layers + 1)]


def cut_documents(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of rows whose documents begin where the mask says, and at the rows' own beginnings: the row,
    the first place and the length of each, in order.  bool [B, T] -> [N] three times
    """
    begins = mask.clone()
    begins[:, 0] = True
    row, begin = begins.nonzero(as_tuple=True)
    following = torch.cat([begin[1:], begin.new_zeros(1)])
    same = torch.cat([row[1:] == row[:-1], row.new_zeros(1, dtype=torch.bool)])
    return row, begin, following.where(same, mask.shape[1]) - begin
