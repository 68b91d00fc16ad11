"""The encoder–decoder language model: an encoder reads the whole input both ways, a decoder writes
the target token by token and looks at it.

A row holds both, one after the other: input, the start token, target. So an input is a prompt and
a target a completion, and whoever knows rows of tokens (samplers, algorithms, the engine) knows
these.

    Thank you </s> <pad> Vielen Dank </s>      T5
    <s> Thank you </s> Vielen Dank </s>        BART, whose start token is the end of the input
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.language.encoder_decoder_config import OFFSET
from fledge.models.language.encoder_decoder_config import (
    EncoderDecoderConfig as EncoderDecoderConfig,
)
from fledge.models.language.encoder_decoder_parts import (
    DecoderBlock,
    EncoderBlock,
    KeysValues,
    RelativeBias,
    norm_of,
)


class EncoderDecoder(nn.Module):
    """Token rows in, hidden states out, those of the decoder; `unembedding` turns them into logits.

    Of the input, which nobody foretells, and of rows without a start token, they are zeros.
    """

    lead = 0  # virtual tokens before every document: it has none
    border = None  # a row is one input and one target

    def __init__(
        self, config: EncoderDecoderConfig, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = c = config
        self.embedding = nn.Embedding(c.vocab_size, c.width)
        self.encoder = nn.ModuleList(EncoderBlock(c) for _ in range(c.encoder_layers))
        self.decoder: Any = nn.ModuleList(DecoderBlock(c) for _ in range(c.decoder_layers))
        self.encoder_norm, self.decoder_norm = norm_of(c), norm_of(c)
        if c.style == "t5":
            self.encoder_bias = RelativeBias(c, c.heads, both_ways=True)
            self.decoder_bias = RelativeBias(c, c.decoder_heads, both_ways=False)
        else:
            self.encoder_place = nn.Embedding(c.context + OFFSET, c.width)
            self.decoder_place = nn.Embedding(c.context + OFFSET, c.width)
            self.logits_bias: Tensor
            self.register_buffer("logits_bias", torch.zeros(1, c.vocab_size))
        if not c.tied:
            self.head = nn.Linear(c.width, c.vocab_size, bias=False)
        self.reset(generator)

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """√(2 / 5D) as fledge's transformers begin, for residual branches over √2L. T5's queries
        take 1/√d besides, since its scores are not scaled.
        """
        c = self.config
        wide = math.sqrt(2 / (5 * c.width))
        for name, weight in self.named_parameters():
            if name.endswith("norm.weight"):
                weight.fill_(1.0)
            elif name.endswith(".bias"):
                weight.zero_()
            else:
                std = wide
                if name.endswith(("out.weight", "down.weight")):
                    std /= math.sqrt(c.layers)
                elif name.endswith("query.weight") and c.style == "t5":
                    std *= c.head_width**-0.5
                elif name == "embedding.weight" and c.scaled_output:
                    std = 1.0  # what is unembedded is divided by √width
                weight.normal_(0.0, std, generator=generator)

    @property
    def unembedding(self) -> Tensor:
        """[V, D]; with one more column where logits have a bias, for which hidden states end in
        1.
        """
        matrix = self.embedding.weight if self.config.tied else self.head.weight
        if not self._has_bias():
            return matrix
        return torch.cat([matrix, self.logits_bias.T.to(matrix.dtype)], 1)

    def _has_bias(self) -> bool:
        return self.config.style == "bart" and bool(self.logits_bias.any())

    def document_mask(self, tokens: Tensor) -> None:
        """There is none: a row is one input and one target."""
        return

    def find_start(self, tokens: Tensor) -> Tensor:
        """Where the start token stands in each row; T where it does not.  [B, T] -> [B]"""
        there = tokens == self.config.start
        return there.int().argmax(1).where(there.any(1), tokens.shape[1])

    def check_prompt(self, prompt: list[int]) -> None:
        """Raises UserError for a prompt that a target cannot follow."""
        if self.config.start not in prompt:
            raise UserError(
                f"the prompt has no start token ({self.config.start}) after its input, from which "
                "the decoder begins: end it with one."
            )

    def forward(self, tokens: Tensor, mask: None = None) -> Tensor:
        """Hidden states of the target, from the start token on.  [B, T] -> [B, T, D]. Raises
        UserError for a row longer than the context.
        """
        b, t = tokens.shape
        if t > self.config.context:
            raise UserError(
                f"a row of {t} tokens was given to a model with context {self.config.context}: "
                "shorten the row."
            )
        start = self.find_start(tokens)
        inputs, lengths = self.cut_inputs(tokens, start)
        memory, number = self._encode_once(inputs, lengths)
        steps = torch.arange(max(1, t - int(start.min())), device=tokens.device)
        places = (start[:, None] + steps).clamp(max=t - 1)
        hidden = self.decode(tokens.gather(1, places), memory[number], lengths)
        back = torch.arange(t, device=tokens.device) - start[:, None]  # [B, T]
        rows = torch.arange(b, device=tokens.device)[:, None]
        said = hidden[rows, back.clamp(0, len(steps) - 1)]
        return said.masked_fill((back < 0)[..., None], 0.0)

    def cut_inputs(self, tokens: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """The input of each row, padded with its first token, and how long it is: one token at
        least, that there may be something to look at.  [B, T], [B] -> [B, S], [B]
        """
        lengths = start + int(self.config.starts_with_end)
        lengths = lengths.clamp(min=1, max=tokens.shape[1])
        some = tokens[:, : int(lengths.max())]
        inside = torch.arange(some.shape[1], device=tokens.device) < lengths[:, None]
        return some.where(inside, some[:, :1]), lengths

    def _encode_once(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Each input once, of however many rows it is, and which of them is whose.  [B, S], [B] ->
        [N, S, D], [B]
        """
        keys = torch.cat([lengths[:, None], inputs], 1)
        different, number = torch.unique(keys, dim=0, return_inverse=True)
        if len(different) == len(keys):
            return self.encode(inputs, lengths), torch.arange(len(keys), device=keys.device)
        return self.encode(different[:, 1:], different[:, 0]), number

    def encode(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """What the decoder looks at; of padding, anything.  [B, S], [B] -> [B, S, D]"""
        places = torch.arange(inputs.shape[1], device=inputs.device)[None]
        h = self._embed(inputs, places, "encoder")
        bias = hide_padding(lengths, inputs.shape[1], h)
        if self.config.style == "t5":
            bias = bias + self.encoder_bias(places, places)
        for block in self.encoder:
            h = block(h, bias)
        return self.encoder_norm(h) if self.config.style == "t5" else h

    def decode(self, tokens: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states of targets that begin with the start token.  [B, M], [B, S, D], [B] ->
        [B, M, D]
        """
        places = torch.arange(tokens.shape[1], device=tokens.device)[None]
        h = self._embed(tokens, places, "decoder")
        own_bias = self.hide_later(places, places, h)
        given_bias = hide_padding(lengths, memory.shape[1], h)
        for block in self.decoder:
            read = block.read(h)
            own, given = block.attention.project(read), block.cross.project(memory)
            h = block(h, read, own, given, own_bias, given_bias)
        return self.finish(h)

    def decode_on(
        self,
        tokens: Tensor,
        places: Tensor,
        keys: Tensor,
        own: list[KeysValues],
        given: list[KeysValues],
        lengths: Tensor,
    ) -> Tensor:
        """Hidden states of tokens at some `places` of targets, whose keys and values are written
        there. own: of each layer, of the targets at positions `keys` [1, K]; given: of the inputs.
        [B, M], [B, M], …, [B] -> [B, M, D]
        """
        h = self._embed(tokens, places, "decoder")
        own_bias = self.hide_later(places, keys, h)
        given_bias = hide_padding(lengths, given[0][0].shape[2], h)
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        for block, (k, v), seen in zip(self.decoder, own, given, strict=True):
            read = block.read(h)
            new_k, new_v = block.attention.project(read)
            k[rows, :, places], v[rows, :, places] = new_k.transpose(1, 2), new_v.transpose(1, 2)
            h = block(h, read, (k, v), seen, own_bias, given_bias)
        return self.finish(h)

    def finish(self, h: Tensor) -> Tensor:
        """From the last block to what is unembedded.  [B, M, D] -> [B, M, D or D + 1]"""
        if self.config.style == "t5":
            h = self.decoder_norm(h)
        if self.config.scaled_output:
            h = h * self.config.width**-0.5
        if self._has_bias():
            h = torch.cat([h, h.new_ones(*h.shape[:-1], 1)], -1)
        return h

    def _embed(self, tokens: Tensor, places: Tensor, side: str) -> Tensor:
        """[B, T], [B or 1, T] -> [B, T, D]"""
        h = self.embedding(tokens) * self.config.embedding_scale
        if self.config.style == "t5":
            return h
        place = self.encoder_place if side == "encoder" else self.decoder_place
        norm = self.encoder_norm if side == "encoder" else self.decoder_norm
        return norm(h + place(places + OFFSET))

    def hide_later(self, places: Tensor, keys: Tensor, like: Tensor) -> Tensor:
        """What the scores of a target's tokens at `places` take, of its tokens at `keys`: −inf for
        later ones.  [B, T], [1, K] -> [B, heads or 1, T, K]
        """
        later = (keys[:, None, :] > places[:, :, None])[:, None]
        hidden = torch.zeros_like(later, dtype=like.dtype).masked_fill(later, float("-inf"))
        return hidden + self.decoder_bias(places, keys) if self.config.style == "t5" else hidden


def hide_padding(lengths: Tensor, size: int, like: Tensor) -> Tensor:
    """What the scores of an input's tokens take: −inf for those behind its end.  [B] -> [B, 1, 1,
    S]
    """
    behind = torch.arange(size, device=lengths.device) >= lengths[:, None]
    return torch.zeros_like(behind, dtype=like.dtype).masked_fill(behind, float("-inf"))[
        :, None, None
    ]
