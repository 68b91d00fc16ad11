"""The bidirectional encoder: every token sees every other of its row, before it and behind it.

BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019), DistilBERT (Sanh et al. 2019), ELECTRA (Clark
et al. 2020) and ModernBERT (Warner et al. 2024), by its config. Rows lie end to end inside, so that
padding is never computed, and is seen by nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fledge.errors import UserError
from fledge.models.language.encoder_block import (
    ACTIVATIONS_OF_ENCODERS,
    EncoderBlock,
    Turns,
)
from fledge.models.language.encoder_config import Classifier
from fledge.models.language.encoder_config import EncoderConfig as EncoderConfig
from fledge.models.language.laid_rows import LaidRows, lay_rows
from fledge.models.language.positions import Rotary


class Encoder(nn.Module):
    """Token rows in, a hidden state for each token out; what its config says stands on them, by the
    methods that end in `_logits`.

    gradient_checkpointing: of each block only what it reads is kept for the backward pass.
    computes_padding: what a Learner asks before it puts rows of like length together.
    """

    gradient_checkpointing = False
    computes_padding = False

    def __init__(
        self,
        config: EncoderConfig,
        border: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """border: the token that opens a row; a row of several documents has one before each."""
        super().__init__()
        self.config = c = config
        self.border = border
        self.embedding = nn.Embedding(c.vocab_size, c.embedded)
        if c.learned_positions:
            self.place = nn.Embedding(c.first_position + c.context, c.embedded)
        else:
            self.rotary = Rotary(c.context, c.head_width, c.rope_theta)
            if c.local_layers:
                self.local_rotary = Rotary(c.context, c.head_width, c.local_rope_theta)
        if c.types:
            self.token_type = nn.Embedding(c.types, c.embedded)
        self.embedding_norm = nn.LayerNorm(c.embedded, eps=c.norm_eps, bias=c.norm_bias)
        if c.embedding_width:
            self.project = nn.Linear(c.embedded, c.width)
        self.blocks: Any = nn.ModuleList(EncoderBlock(c, layer) for layer in range(c.layers))
        if c.norm_first:
            self.norm = nn.LayerNorm(c.width, eps=c.norm_eps, bias=c.norm_bias)
        self._make_heads()
        self.reset(generator)

    def _make_heads(self) -> None:
        c = self.config
        if c.pooler:
            self.pooler = nn.Linear(c.width, c.width)
        if c.transform:
            self.transform = nn.Linear(c.width, c.embedded, bias=c.transform_bias)
            self.transform_norm = nn.LayerNorm(c.embedded, eps=c.norm_eps, bias=c.norm_bias)
        if c.masked and not c.tied:
            self.decoder = nn.Linear(c.embedded, c.vocab_size, bias=False)
        if c.masked and c.decoder_bias:
            self.decoder_bias = nn.Parameter(torch.zeros(c.vocab_size))
        if c.next:
            self.follows = nn.Linear(c.width, 2)
        if c.replaced:
            self.detector = nn.Linear(c.width, c.width)
            self.detected = nn.Linear(c.width, 1)
        if c.classifier:
            self.classifier = nn.Linear(c.width, len(c.labels))

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """As the transformer's: Normal(0, √(2 / 5·width)), and where norms stand before each part
        1/√(2·layers) of that in what a block writes; biases 0.
        """
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.ndim == 2:
                weight.normal_(0.0, self._spread(name), generator=generator)

    def _spread(self, name: str) -> float:
        wide = math.sqrt(2 / (5 * self.config.width))
        residual = self.config.norm_first and name.endswith(("out.weight", "down.weight"))
        return wide / math.sqrt(2 * self.config.layers) if residual else wide

    @property
    def unembedding(self) -> Tensor:
        """[V, E]; the embedding where nothing is unembedded."""
        own = self.config.masked and not self.config.tied
        return self.decoder.weight if own else self.embedding.weight

    @property
    def tables_read_by_row(self) -> list[nn.Embedding]:
        """Of which a Learner's step has a gradient for the rows alone that it reads."""
        whole = self.config.masked and self.config.tied  # unembedded with, it learns in all rows
        return [] if whole or not self.embedding.weight.requires_grad else [self.embedding]

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        types: Tensor | None = None,
        *,
        first: bool = False,
    ) -> Tensor:
        """Hidden states, 0 behind each row's length.  [B, T] long, [B] (None: T), [B, T] long
        (None: 0) -> [B, T, D]

        first: of each row's first token alone, [B, D]: the last block's MLP then reads no other.
            No row may be empty.
        Raises UserError for a row longer than the context.
        """
        b, t = tokens.shape
        if first:
            lengths = torch.full((b,), t) if lengths is None else lengths
            inside = torch.arange(t, device=tokens.device) < lengths.to(tokens.device)[:, None]
            flat = None if types is None else types[inside]
            return self.read(tokens[inside], lengths.tolist(), flat, first=True)
        if lengths is None:
            flat = None if types is None else types.flatten()
            return self.read(tokens.flatten(), [t] * b, flat).view(b, t, -1)
        inside = torch.arange(t, device=tokens.device) < lengths.to(tokens.device)[:, None]
        sizes = [size for size in lengths.tolist() if size]
        said = self.read(tokens[inside], sizes, None if types is None else types[inside])
        return said.new_zeros(b, t, said.shape[-1]).index_put((inside,), said)

    def read(
        self,
        tokens: Tensor,
        sizes: Sequence[int],
        types: Tensor | None = None,
        *,
        first: bool = False,
    ) -> Tensor:
        """The same of rows of these sizes that lie end to end, N tokens in all.  [N] -> [N, D], or
        [B, D] of the `first` token of each row alone
        """
        c = self.config
        if max(sizes) > c.context:
            raise UserError(
                f"a row of {max(sizes)} tokens was given to an encoder with context {c.context}: "
                "shorten the row."
            )
        rows = lay_rows(sizes, tokens.device)
        h = self.embed(
            rows.arrange(tokens), rows.positions, None if types is None else rows.arrange(types)
        )
        turns = [self._turn(rows, max(sizes), local, h) for local in (False, True)]
        again = self.gradient_checkpointing and torch.is_grad_enabled()
        for layer, block in enumerate(self.blocks):
            own = first and layer == c.layers - 1
            if again:
                block = partial(checkpoint, block, use_reentrant=False)
            h = block(h, rows, turns[c.is_local(layer)], first=own)
        h = self.norm(h) if c.norm_first else h
        return h if first else rows.put_back(h)

    def embed(self, tokens: Tensor, positions: Tensor, types: Tensor | None) -> Tensor:
        """What the first block reads.  [N] three times -> [N, D]"""
        c = self.config
        h = self.embedding(tokens)
        if c.types:
            h = h + (self.token_type.weight[0] if types is None else self.token_type(types))
        if c.learned_positions:
            h = h + self.place(positions + c.first_position)
        h = self.embedding_norm(h)
        return self.project(h) if c.embedding_width else h

    def _turn(self, rows: LaidRows, longest: int, local: bool, like: Tensor) -> Turns:
        c = self.config
        if c.learned_positions or (local and not c.local_layers):
            return None
        rotary = self.local_rotary if local else self.rotary
        rotary.reach(longest)
        return rotary(rows.positions, like.dtype, like.device)

    def read_documents(
        self, tokens: Tensor, lengths: Tensor | None = None, types: Tensor | None = None
    ) -> Tensor:
        """As `forward`, of rows in which every `border` token opens a document, which nothing
        outside of it sees.  [B, T], [B], [B, T] -> [B, T, D]
        """
        b, t = tokens.shape
        opens = torch.zeros_like(tokens, dtype=torch.bool)
        if self.border is not None:
            opens = tokens == self.border
        opens[:, 0] = True
        inside = torch.ones_like(opens)
        if lengths is not None:
            inside = torch.arange(t, device=tokens.device) < lengths[:, None]
        flat = tokens[inside]
        begins = opens[inside].nonzero()[:, 0].tolist()
        sizes = [end - begin for begin, end in zip(begins, [*begins[1:], len(flat)], strict=True)]
        said = self.read(flat, sizes, None if types is None else types[inside])
        return said.new_zeros(b, t, said.shape[-1]).index_put((inside,), said)

    def pooled(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """One vector for each row: of its first token or the mean of its tokens, through the pooler
        or the transform where it has one.  [B, T, D], [B] -> [B, D]
        """
        c = self.config
        first = hidden[:, 0] if c.pooling == "first" else average(hidden, lengths)
        return self._pool(first)

    def _pool(self, first: Tensor) -> Tensor:
        """[B, D] -> [B, D]"""
        c = self.config
        if c.pooler:
            return ACTIVATIONS_OF_ENCODERS[c.pooler_activation](self.pooler(first))
        return self._transform(first) if c.norm_first and c.transform else first

    def _transform(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., E]"""
        activate = ACTIVATIONS_OF_ENCODERS[self.config.transform_activation]
        return self.transform_norm(activate(self.transform(hidden)))

    def masked_logits(self, hidden: Tensor) -> Tensor:
        """Which token stands under a mask.  [..., D] -> [..., V]"""
        bias = self.decoder_bias if self.config.decoder_bias else None
        read = self._transform(hidden) if self.config.transform else hidden
        return F.linear(read, self.unembedding, bias)

    def next_logits(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Whether the second text of a row follows its first: 0 it does, 1 it is another's.
        [B, T, D] -> [B, 2]
        """
        return self.follows(self.pooled(hidden, lengths))

    def replaced_logits(self, hidden: Tensor) -> Tensor:
        """Log-odds that a token is another's (Clark et al. 2020, eq. 2).  [..., D] -> [...]"""
        activate = ACTIVATIONS_OF_ENCODERS[self.config.activation]
        return self.detected(activate(self.detector(hidden))).squeeze(-1)

    def class_logits(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Of each row, by the classifier of sequences or of choices.  [B, T, D], [B] -> [B, L]"""
        return self.classifier(self.pooled(hidden, lengths))

    def classify(self, tokens: Tensor, lengths: Tensor, types: Tensor | None = None) -> Tensor:
        """The same of rows as they are read, with nothing computed that it does not stand on.
        [B, T], [B], [B, T] -> [B, L]
        """
        if self.config.pooling == "mean":
            return self.class_logits(self(tokens, lengths, types), lengths)
        return self.classifier(self._pool(self(tokens, lengths, types, first=True)))

    def tag_logits(self, hidden: Tensor) -> Tensor:
        """Of each token, by the classifier of tokens.  [..., D] -> [..., L]"""
        c = self.config
        return self.classifier(self._transform(hidden) if c.norm_first and c.transform else hidden)


def with_classifier(
    network: Encoder,
    kind: Classifier,
    labels: Sequence[str],
    generator: torch.Generator | None = None,
) -> Encoder:
    """The same trunk under a fresh classifier of these labels, in place of whatever stood on it;
    where rows are told apart, with the pooler or transform that its kind of network has, fresh if
    it had none. kind "": the trunk alone.
    """
    modern = network.config.norm_first
    heads = {
        "classifier": kind, "labels": tuple(labels) if kind else (), "masked": False,
        "next": False, "replaced": False, "transform": bool(kind) and modern,
        "pooler": kind in ("sequence", "choice") and not modern,
    }  # fmt: skip
    return with_heads(network, heads, generator, anew=("classifier.",))


def with_heads(
    network: Encoder,
    heads: Mapping[str, Any],
    generator: torch.Generator | None = None,
    anew: tuple[str, ...] = (),
) -> Encoder:
    """The same trunk under heads that these fields of the config say; what it had of them it keeps,
    but what begins with one of `anew`.
    """
    fresh = Encoder(replace(network.config, **heads), network.border, generator)
    fresh.to(network.embedding.weight.device, network.embedding.weight.dtype)
    kept = network.state_dict()
    own = {
        name: weight if name.startswith(anew) else kept.get(name, weight)
        for name, weight in fresh.state_dict().items()
    }
    fresh.load_state_dict(own)
    fresh.gradient_checkpointing = network.gradient_checkpointing
    return fresh


def average(hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
    """(1/n) Σ_t h_t over the n tokens of each row.  [B, T, D], [B] -> [B, D]"""
    if lengths is None:
        return hidden.mean(1)
    inside = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    return (hidden * inside[..., None]).sum(1) / lengths[:, None].clamp(min=1)
