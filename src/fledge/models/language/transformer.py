"""The decoder-only transformer: rotary positions, RMSNorm, SwiGLU, grouped-query and sliding-window
attention; and, by its config, what other makers' families have in their place.

Vaswani et al. 2017 with the changes of Touvron et al. 2023 (Llama); optional normalisation of
queries and keys (Qwen 3). Its weights have the same values and layout as those checkpoints;
query/key/value and gate/up are stored fused, two products for five.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fledge.errors import UserError
from fledge.models.language.adapters import AdaptedLinear, list_adapters
from fledge.models.language.attention import Attention, Turns
from fledge.models.language.hidden_units import ACTIVATIONS, HiddenUnits
from fledge.models.language.mixture import MixtureOfExperts
from fledge.models.language.norms import make_norm
from fledge.models.language.positions import Rotary
from fledge.models.language.shared_prompts import SharedPrompts, find_shared
from fledge.models.language.transformer_config import TransformerConfig as TransformerConfig
from fledge.models.language.virtual_tokens import KeysValues, VirtualTokens, see_virtual

WIDE = 512  # hidden numbers; products of narrower networks wait for their calls, not for tokens


class Block(nn.Module):
    """h ← h + attention(norm(h));  h ← h + mlp(norm(h)),  mlp(x) = W_down(silu(W_gate x) ⊙ W_up x)
    (Shazeer 2020).
    """

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.config = c = config
        self.activate = ACTIVATIONS[c.activation]
        before, after = c.norm_places != "after", c.norm_places != "before"
        norm = partial(make_norm, c.norm, c.width, c.norm_eps)
        self.attention_norm = norm() if before else nn.Identity()
        self.attention = Attention(c)
        self.attention_out_norm = norm() if after else nn.Identity()
        if c.residual != "parallel, one norm":
            self.mlp_norm = norm() if before else nn.Identity()
        if c.has_experts(layer):
            assert c.experts is not None
            self.mixture = MixtureOfExperts(c.width, c.experts, self.activate)
        elif c.gated:
            self.gate_up = nn.Linear(c.width, 2 * c.mlp_width, bias=c.mlp_bias)
            self.down = nn.Linear(c.mlp_width, c.width, bias=c.mlp_bias)
        else:
            self.up = nn.Linear(c.width, c.mlp_width, bias=c.mlp_bias)
            self.down = nn.Linear(c.mlp_width, c.width, bias=c.mlp_bias)
        self.mlp_out_norm = norm() if after else nn.Identity()

    def mlp(self, x: Tensor) -> Tensor:
        if hasattr(self, "mixture"):
            return self.mixture(x)
        c = self.config
        first = self.gate_up(x) if c.gated else self.up(x)
        if isinstance(self.down, AdaptedLinear) and self.activate is ACTIVATIONS[c.activation]:
            # It makes the hidden units again in the backward pass, in place of keeping them.
            return self.down(first, HiddenUnits(c.activation, c.gated))
        if not c.gated:
            return self.down(self.activate(first))
        gate, up = first.chunk(2, dim=-1)
        return self.down(self.activate(gate) * up)

    def forward(
        self,
        h: Tensor,
        turns: Turns | None,
        mask: Tensor | SharedPrompts | None,
        before: KeysValues | None = None,
    ) -> Tensor:
        """[B, T, D] -> the same.  before: keys and values that stand before those of h, each [1,
        kv_heads, N, d]; the mask then says of them, too, who sees them.
        """
        x = self.attention_norm(h)
        q, k, v = self.attention.project(x, turns)
        if before is not None and isinstance(mask, SharedPrompts):
            mask = mask.behind(before)
        elif before is not None:
            k, v = (
                torch.cat([part.to(own.dtype).expand(len(own), -1, -1, -1), own], dim=2)
                for part, own in zip(before, (k, v), strict=True)
            )
        read = self.attention_out_norm(self.attention.attend(q, k, v, mask))
        if self.config.residual == "in turn":
            h = h + read
            return h + self.mlp_out_norm(self.mlp(self.mlp_norm(h)))
        if self.config.residual == "parallel":
            x = self.mlp_norm(h)
        return h + read + self.mlp_out_norm(self.mlp(x))


class Transformer(nn.Module):
    """Token rows in, hidden states out; `unembedding` turns those into logits (see
    `fledge.log_prob`, which never builds them whole).

    A row may hold several documents: attention never crosses a `border` token, which opens each of
    them. Virtual tokens, where it has any, stand before every document.

    gradient_checkpointing: of each block only what it reads is kept for the backward pass, which
    computes the rest again, bit for bit, dropout included (Chen et al. 2016, §4).
    """

    gradient_checkpointing = False
    virtual: VirtualTokens | None

    def __init__(
        self,
        config: TransformerConfig,
        border: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = c = config
        self.border = border
        self.register_module("virtual", None)
        self.embedding = nn.Embedding(c.vocab_size, c.width)
        if c.learned_positions:
            self.place = nn.Embedding(c.context, c.width)
        self.blocks: Any = nn.ModuleList(Block(c, layer) for layer in range(c.layers))
        self.norm = make_norm(c.norm, c.width, c.norm_eps)
        if not c.tied:
            self.head = nn.Linear(c.width, c.vocab_size, bias=False)
        # of layers that see all, of those with a window, and of all in rows beyond the length that
        # the model was first trained on
        rotary = partial(Rotary, c.context, c.turned)
        if not c.learned_positions:
            self.rotary = rotary(c.rope_theta, c.scaling)
            if c.local_rope_theta:
                self.local_rotary = rotary(c.local_rope_theta)
            if c.scaling.kind == "longrope":
                self.long_rotary = rotary(c.rope_theta, c.scaling, long=True)
        self.reset(generator)

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Normal(0, √(2 / 5·width)) (Nguyen & Salazar 2019, §3.2), and 1/√(2·layers) of that where
        a block writes to the residual stream (Radford et al. 2019, §2.3). The usual 0.02 is that
        value at width 1,000; it starves narrow models.
        """
        wide = math.sqrt(2 / (5 * self.config.width))
        for name, weight in self.named_parameters():
            if weight.ndim >= 2:
                residual = name.endswith(("attention.out.weight", "down.weight", "mixture.down"))
                std = wide / math.sqrt(2 * self.config.layers) if residual else wide
                weight.normal_(0.0, std, generator=generator)

    @property
    def unembedding(self) -> Tensor:
        """[V, D]"""
        return self.embedding.weight if self.config.tied else self.head.weight

    @property
    def lead(self) -> int:
        """How many virtual tokens stand before every document: its first position."""
        return 0 if self.virtual is None else self.virtual.number

    @property
    def logit_cap(self) -> float:
        """c, where the logits z are c·tanh(z/c); 0: they are as the product gives them."""
        return self.config.logit_cap

    def reach_position(self, length: int) -> None:
        """The tables of angles hold so many positions. Raises UserError for more than the
        context.
        """
        if length > self.config.context:
            raise UserError(
                f"a row of {length} tokens was given to a model with context "
                f"{self.config.context}: shorten the row."
            )
        for part in self.children():
            if isinstance(part, Rotary):
                part.reach(self.lead + length)

    def name_rotary(self, layer: int, long: bool = False) -> str:
        """Which of the tables has the angles of a layer; "" for a layer without positions."""
        c = self.config
        if c.learned_positions or layer in c.unturned:
            return ""
        if c.is_local(layer):
            return "local_rotary"
        return "long_rotary" if long else "rotary"

    def document_mask(self, tokens: Tensor) -> Tensor | None:
        """None where every row is one document; else bool [B, 1, T, T], True where a token may
        look.
        """
        if self.border is None or not bool((tokens[:, 1:] == self.border).any()):
            return None
        document = (tokens == self.border).cumsum(1)  # [B, T]
        return (self._reach(tokens, 0) & (document[:, :, None] == document[:, None, :])).unsqueeze(
            1
        )

    @property
    def shares_prompts(self) -> bool:
        """Whether rows with the same prompt are read with it once. Not where each row draws for
        itself (dropout).
        """
        # One that is derived, divided or compiled does something else than what stands here.
        plain = type(self) is Transformer and self._compiled_call_impl is None
        fits = self.config.width >= WIDE and self.config.scaling.kind != "longrope"
        drops = any(adapter.drops for adapter in list_adapters(self))
        return plain and fits and not drops

    def share_prompts(self, tokens: Tensor, chosen: Tensor) -> SharedPrompts | None:
        """For `forward`, in place of no mask: hidden states are then those of the steps up to each
        row's last chosen one. None where nothing is gained.  [B, T], [B, T] bool
        """
        c, t = self.config, tokens.shape[1]
        near = any(0 < window < self.lead + t for window in {c.window, *c.windows})
        return None if near or not self.shares_prompts else find_shared(tokens, chosen)

    def _reach(self, tokens: Tensor, window: int) -> Tensor:
        """How far a token looks back.  -> bool [T, T]"""
        t = tokens.shape[1]
        causal = torch.ones(t, t, dtype=torch.bool, device=tokens.device).tril()
        return causal.triu(1 - window) if window else causal

    def _narrow(self, tokens: Tensor, mask: Tensor | None, window: int) -> Tensor | None:
        """The mask of layers with this window."""
        if not 0 < window < tokens.shape[1]:
            return mask
        near = self._reach(tokens, window)[None, None]
        return near if mask is None else mask & near

    def embed(self, tokens: Tensor, positions: Tensor | slice) -> Tensor:
        """What the first block reads.  [..., T] -> [..., T, D]"""
        h = self.embed_tokens(tokens)
        return h + self.place.weight[positions] if self.config.learned_positions else h

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """The same, wherever a token stands.  [..., T] -> [..., T, D]"""
        h = self.embedding(tokens)
        if self.config.embedding_scale != 1.0:
            # rounded to the weights' precision first, as these models were trained
            h = h * torch.tensor(self.config.embedding_scale, dtype=h.dtype, device=h.device)
        return h

    def _places(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """The position of each token, counted from the beginning of its document.  -> [T] or [B,
        T]
        """
        number = torch.arange(tokens.shape[1], device=tokens.device)
        if mask is None or self.border is None:
            return self.lead + number
        number = number.expand_as(tokens)
        return self.lead + number - number.where(tokens == self.border, 0).cummax(1).values

    def forward(self, tokens: Tensor, mask: Tensor | SharedPrompts | None = None) -> Tensor:
        """Hidden states after the last norm.  [B, T] -> [B, T, D];  mask from `document_mask` or
        `share_prompts`, None is one document a row.

        Where long rows are turned by other angles (longrope), a token is read as the last of its
        row: with the angles of a row that ends with it. So what is said of it hangs neither on what
        comes after nor on how far a row is padded; in `transformers` it does.
        """
        c, t = self.config, tokens.shape[1]
        self.reach_position(t)
        if isinstance(mask, SharedPrompts):
            places = self.lead + mask.positions
            h = self.embed(mask.tokens, places)
            before = None if self.virtual is None else self.virtual.read(self)
            read = self._run(h, self.turn(places, h), [mask] * c.layers, before)
            return mask.lay_back(read, t)
        if c.scaling.kind != "longrope" or self.lead + t <= c.scaling.original:
            return self._read(tokens, mask)
        if mask is None:
            early = self._read(tokens[:, : max(0, c.scaling.original - self.lead)], None)
            return torch.cat([early, self._read(tokens, None, long=True)[:, early.shape[1] :]], 1)
        far = self._places(tokens, mask) >= c.scaling.original
        return self._read(tokens, mask, long=True).where(far[..., None], self._read(tokens, mask))

    def _read(self, tokens: Tensor, mask: Tensor | None, long: bool = False) -> Tensor:
        """Hidden states by one set of angles.  [B, T] -> [B, T, D]"""
        c, t = self.config, tokens.shape[1]
        masks = {w: self._narrow(tokens, mask, w) for w in {c.window, *c.windows}}
        places = self._places(tokens, mask) if c.learned_positions else slice(0, t)
        before: list[KeysValues] | list[None] | None = None
        if self.virtual is not None:
            places = stand = self._places(tokens, mask)
            masks = {w: see_virtual(seen, stand, self.lead, w) for w, seen in masks.items()}
            before = self.virtual.read(self, long)
        h = self.embed(tokens, places)
        by_layer = [masks[c.window_of(layer)] for layer in range(c.layers)]
        return self._run(h, self.turn(places, h, long), by_layer, before, long)

    def _run(
        self,
        h: Tensor,
        turns: Mapping[str, Turns | None],
        masks: Sequence[Tensor | SharedPrompts | None],
        before: Sequence[KeysValues | None] | None = None,
        long: bool = False,
    ) -> Tensor:
        """All blocks and the last norm. masks, before: of each layer.  [B, T, D] -> the same"""
        again = self.gradient_checkpointing and torch.is_grad_enabled()
        for layer, block in enumerate(self.blocks):
            if again:
                block = partial(checkpoint, block, use_reentrant=False)
            turn = turns[self.name_rotary(layer, long)]
            h = block(h, turn, masks[layer], None if before is None else before[layer])
        return self.norm(h)

    def turn(
        self, places: Tensor | slice, like: Tensor, long: bool = False
    ) -> dict[str, Turns | None]:
        """cos and sin of these positions by the name of their table; None where nothing is
        turned.
        """
        names = {self.name_rotary(layer, long) for layer in range(self.config.layers)}
        turns: dict[str, Turns | None] = {"": None}
        for name in names - {""}:
            turns[name] = getattr(self, name)(places, like.dtype, like.device)
        return turns
