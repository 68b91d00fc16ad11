"""The transformer as the token engine runs it: the same function, its weights laid out once for
many small steps, and the KV cache, in slots.

What it does to the weights changes no value beyond rounding: each norm's gain and the 1/√d of
attention are multiplied into the matrix that follows, and the pairs that rotary positions turn are
put side by side, so that a turn is one complex product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.engine.four_bits import make_four_bit_product
from fledge.engine.kv_cache import BLOCK as BLOCK
from fledge.engine.kv_cache import KVCache, attend, count_reach, round_up
from fledge.engine.layer_form import (
    Affine,
    LayerForm,
    MakeProduct,
    choose_normalise,
    normalise,
)
from fledge.engine.native import has_native
from fledge.engine.native_attention import NativeAttention, can_attend
from fledge.engine.native_layers import NativeLayers, can_be_one_call
from fledge.engine.native_product import INPUTS, NativeProduct
from fledge.engine.packed import HalfProduct, Product, QuantisedProduct, can_pack, make_product
from fledge.engine.packed_weights import PackedWeights
from fledge.log_prob import cap_logits
from fledge.models.language.attention import capped_attention
from fledge.models.language.transformer import Transformer

# Of the weights' products; the residual stream stays in float32. With int4 the unembedding is in
# int8: the logits hang on every one of its numbers.
Generation = Literal["fp32", "bf16", "fp16", "int8", "int4"]
# Bytes of one layer's cache in float32. Below it is calls that cost: the cache is one block, for
# torch's kernels in float32, whose small products take half the time of those in bfloat16. Above it
# is memory (torch 2.13, two Zen 4 cores: 1.2 to 3 times as fast on the right side).
SMALL_LAYER = 12_000_000


def build_turns(cos: Tensor, sin: Tensor, real: torch.dtype) -> Tensor:
    """e^{i m θ} of the two tables [T, d].  -> [T, 1, d / 2]"""
    half = cos.shape[1] // 2
    return torch.complex(cos[:, :half].to(real), sin[:, half:].to(real)).unsqueeze(1)


def can_be_native(network: Transformer, precision: Generation) -> bool:
    """Whether the products of a network are native ones."""
    c, weight = network.config, network.embedding.weight
    if max(c.width, c.mlp_width, c.heads * c.head_width) > INPUTS:
        return False
    if weight.device.type != "cpu" or weight.dtype == torch.float64:
        return False
    return has_native("int8" if precision == "int4" else precision)


def choose_products(
    precision: Generation, dtype: torch.dtype, native: bool
) -> tuple[MakeProduct, MakeProduct]:
    """How the products of the layers, and that of the unembedding, are laid out; dtype: what the
    layers multiply in.
    """

    def plain(weight: Tensor) -> Product:
        return make_product(weight.to(dtype).contiguous())

    if native:
        last = partial(NativeProduct, kind="int8" if precision == "int4" else precision)
        return make_four_bit_product if precision == "int4" else last, last
    if precision in ("fp32", "bf16"):
        return plain, plain
    if precision == "fp16":
        return HalfProduct, HalfProduct
    return make_four_bit_product if precision == "int4" else QuantisedProduct, QuantisedProduct


def has_fast_form(network: Transformer, positions: int) -> bool:
    """Whether a form with a cache says the same of rows of so many positions: in rows that outgrow
    the length of long rope all keys would have to be turned anew.
    """
    c = network.config
    outgrown = c.scaling.kind == "longrope" and positions > c.scaling.original
    return not outgrown and not (c.qk_norm and c.norm == "layer")


class GenerationTransformer:
    """`network` as it is now; made anew when its weights change. Not differentiable."""

    incremental = True
    packs = False  # whether rows of unlike length are prefilled together without padding

    @torch.no_grad()
    def __init__(
        self,
        network: Transformer,
        precision: Generation = "fp32",
        packed: PackedWeights | None = None,
    ) -> None:
        """packed: what other networks have too, of products that are the library's; four bits, and
        what torch's own kernels multiply, are laid out for each.
        """
        self.network, c = network, network.config
        self.config, self.border = c, network.border
        weight = network.embedding.weight
        self.device = weight.device
        self.real = real = torch.promote_types(weight.dtype, torch.float32)
        half, native = precision in ("bf16", "int4"), can_be_native(network, precision)
        self.compute = torch.bfloat16 if half else weight.dtype
        self.attends = native and can_attend(c)
        narrow = half or (self.attends and precision == "int8")
        self.narrow = torch.bfloat16 if narrow else real
        if native and precision != "int4":
            self.compute = real  # a native product rounds by itself
        make, make_last = choose_products(precision, self.compute, native)
        plain = precision in ("fp32", "bf16") and self.device.type == "cpu" and not native
        follows = plain and can_pack(self.compute)
        # Gains would stretch a few columns, and with them the steps of all; and what was in 4 bits
        # in a file is in the same steps again. A native product has them with the norm.
        fold = precision not in ("int8", "int4") and not native
        if packed is not None and not (native and precision == packed.precision != "int4"):
            packed = None
        lay_out = partial(
            LayerForm, real=real, compute=self.compute, make=make, follows=follows,
            native=native and precision != "int4", fold=fold, packed=packed,
        )  # fmt: skip
        self.layers = [lay_out(block, layer) for layer, block in enumerate(network.blocks)]
        self.tables = [network.name_rotary(layer) for layer in range(c.layers)]
        self.turns: dict[str, Tensor] = {}
        self._build_turns()
        last = network.unembedding
        if packed is not None:
            make_last = partial(packed.pack, arrange=Tensor.detach)
        self.unembed = Affine(last, None, network.norm, real, make_last, fold=fold)
        self.last = real if precision == "int4" else self.compute  # what the unembedding reads
        self.normalise = choose_normalise(c)
        self.packs = self.attends
        one_call = self.attends and can_be_one_call(self.layers)
        self.native_layers = NativeLayers(self.layers, self.tables) if one_call else None
        self.norms_inside = native and self.normalise is normalise
        self.eps = torch.tensor(c.norm_eps, dtype=real, device=self.device)

    def _build_turns(self) -> None:
        for name in {*self.tables} - {""}:
            rotary: Any = getattr(self.network, name)
            self.turns[name] = build_turns(rotary.cos, rotary.sin, self.real)

    def make_cache(self, slots: int, positions: int) -> KVCache:
        c, (dtype, block) = self.config, self._choose_layout(slots, positions)
        last = min(positions, c.context)
        if any(len(table) < last for table in self.turns.values()):
            # The network keeps the longer table for the next form of itself.
            self.network.reach_position(last)
            self._build_turns()
        like = torch.empty(0, dtype=dtype, device=self.device)
        return KVCache(c.layers, slots, c.kv_heads, positions, c.head_width, like, block)

    def count_cache_bytes(self, slots: int, positions: int) -> int:
        """What `make_cache` will take."""
        c, (dtype, block) = self.config, self._choose_layout(slots, positions)
        whole = -(-positions // block) * block
        return c.layers * 2 * slots * c.kv_heads * whole * c.head_width * dtype.itemsize

    def _choose_layout(self, slots: int, positions: int) -> tuple[torch.dtype, int]:
        """The KV cache's dtype and how many positions are in a block."""
        c = self.config
        if self.device.type != "cpu":
            return self.narrow, round_up(positions)
        layer = 2 * slots * c.kv_heads * positions * c.head_width * self.real.itemsize
        if layer <= SMALL_LAYER:
            return self.narrow if self.attends else self.real, round_up(positions)
        return self.narrow, min(BLOCK, round_up(positions))

    def _embed(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Hidden states of tokens [N] at positions [N], and by which angles they are turned. What
        is past the context is padding.
        """
        kept = positions.clamp(max=self.config.context - 1)
        turns: dict[str, Tensor | None] = {"": None}
        for name, table in self.turns.items():
            turns[name] = table[positions.clamp(max=len(table) - 1)]
        return self.network.embed(tokens, kept).to(self.real), turns

    def _add_rest(self, layer: LayerForm, h: Tensor, y: Tensor) -> Tensor:
        """What a block does after attention has read y."""
        after = layer.add_attention(h, y)
        return layer.add_mlp(after, after if self.config.residual == "in turn" else h)

    def step(self, tokens: Tensor, lengths: Tensor, held: Sequence[int], cache: KVCache) -> Tensor:
        """Decode: one token for each of the first B slots. Write its key and value at `lengths`,
        look at what the slot holds.  [B], [B] -> [B, D]

        held: `lengths`, in the host's memory. Slots in order of length, longest first, cost least.
        """
        h, turns = self._embed(tokens, lengths)
        if self.attends:
            return self._read(h, turns, NativeAttention(self.config, lengths, cache))
        return self._read(h, turns, self._prepare_attention(lengths, held, cache))

    def _read(
        self, h: Tensor, turns: dict[str, Tensor | None], attend: Callable[..., Tensor]
    ) -> Tensor:
        """All layers, of tokens that look at the cache by `attend`.  [N, D] -> [N, D]"""
        if self.native_layers is not None and isinstance(attend, NativeAttention):
            return self.native_layers(h, turns, attend)
        for number, layer in enumerate(self.layers):
            turn = turns[self.tables[number]]
            # The native one turns by itself.
            qkv = layer.project(h, None if self.attends else turn, self.real)
            h = self._add_rest(layer, h, attend(number, qkv, turn, layer.window))
        return h

    def _prepare_attention(
        self, lengths: Tensor, held: Sequence[int], cache: KVCache
    ) -> Callable[..., Tensor]:
        """What is the same in every layer is made once: where to write, which blocks to read, and
        views of them. -> attention, as `NativeAttention` is called
        """
        c, b = self.config, len(lengths)
        group, seen = c.heads // c.kv_heads, max(held) + 1
        places, reach = cache.locate(lengths), count_reach(held, cache.block)
        views = cache.view_blocks(reach, seen)
        biases: dict[int, Tensor | None] = {}
        for window in {c.window, *c.windows}:
            whole = min(held) + 1 == seen and (not window or seen <= window)  # nothing to hide
            biases[window] = (
                None if whole else self._mask_unseen(lengths[:, None], seen, window)
            )  # [B, 1, S]

        def attend_layer(number: int, qkv: Tensor, _turn: Tensor | None, window: int) -> Tensor:
            q, kv = qkv.split([c.heads, 2 * c.kv_heads], 1)
            cache.write(number, places, kv)  # first: a token looks at itself too
            # The heads that share keys are the rows of one product with them.
            q = q.reshape(b * c.kv_heads, group, c.head_width).to(cache.store.dtype)
            blocks = [(k[number], v[number]) for k, v in views]
            return attend(q, blocks, biases[window], c.score_cap).reshape(b, -1)

        return attend_layer

    def extend(
        self, tokens: Tensor, starts: Tensor, slots: Tensor, ends: Sequence[int], cache: KVCache
    ) -> Tensor:
        """Prefill: several tokens for each of some slots, at positions from `starts` to `ends`, in
        the host's memory. Rows shorter than T are padded on the right.

        [B, T], [B], [B] -> [B, T, D]; of padding it is anything
        """
        c, (b, t) = self.config, tokens.shape
        positions = starts[:, None] + torch.arange(t, device=tokens.device)  # [B, T]
        if self.attends:
            return self._extend_packed(tokens, positions, slots, ends, cache)
        kept = positions.clamp(max=cache.positions - 1)
        h, turns = self._embed(tokens.flatten(), positions.flatten())  # [B·T, D]
        # What is written past a row's end is overwritten later.
        seen = min(max(ends), cache.positions)
        # Nothing is held that they look at.
        fresh = not bool(starts.any()) and t <= cache.positions
        masks: dict[int, Tensor | None] = {}
        for window in {c.window, *c.windows}:
            masks[window] = None
            if not fresh or window:
                # Padding looks somewhere too: of what sees nothing (beyond a window) a kernel may
                # make NaN, and a NaN key is heard though masked.
                unseen = self._mask_unseen(positions.clamp(max=seen - 1), seen, window)
                masks[window] = unseen[:, None].to(cache.store.dtype)  # [B, 1, T, S]
        for number, layer in enumerate(self.layers):
            projected = layer.project(h, turns[self.tables[number]], self.real)
            projected = projected.view(b, t, -1, c.head_width)
            q, kv = projected.to(cache.store.dtype).split([c.heads, 2 * c.kv_heads], 2)
            cache.extend(number, slots, kept, kv)
            # A prompt from its start on looks at what was just computed, and the kernel for causal
            # attention skips half of it; else the cache is gathered, and a mask says what is seen.
            mask = masks[layer.window]
            if mask is None:
                k, v = kv.unflatten(2, (2, -1)).permute(2, 0, 3, 1, 4)
            else:
                k, v = cache.gather(number, slots, seen)
            y = self._attend_many(q.transpose(1, 2), k, v, mask)
            h = self._add_rest(layer, h, y.transpose(1, 2).reshape(b * t, -1))
        return h.view(b, t, -1)

    def _extend_packed(
        self, tokens: Tensor, positions: Tensor, slots: Tensor, ends: Sequence[int], cache: KVCache
    ) -> Tensor:
        """As `extend`; the tokens of all rows one after the other, and none of the padding, nor of
        a guess that reaches past the slot.
        """
        real = positions < torch.tensor(ends).clamp(max=cache.positions)[:, None]  # [B, T]
        there, own = positions[real], slots[:, None].expand_as(real)[real]
        h, turns = self._embed(tokens[real], there)
        read = self._read(h, turns, NativeAttention(self.config, there, cache, own))
        hidden = read.new_zeros(*tokens.shape, read.shape[-1])
        hidden[real] = read
        return hidden

    def _attend_many(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """[B, heads, T, d], [B, kv_heads, S, d] twice -> [B, heads, T, d]"""
        c = self.config
        if c.score_cap:
            k, v = (x.repeat_interleave(c.heads // c.kv_heads, dim=1) for x in (k, v))
            return capped_attention(q, k, v, mask, 1.0, c.score_cap)
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=1.0,
            enable_gqa=c.heads != c.kv_heads,
        )  # fmt: skip

    def _mask_unseen(self, positions: Tensor, seen: int, window: int) -> Tensor:
        """What is added to scores: 0 where a query at `positions` [B, T] may look, −∞ elsewhere.
        -> [B, T, seen]
        """
        keys = torch.arange(seen, device=positions.device)
        hidden = keys > positions[..., None]
        if window:
            hidden |= keys <= positions[..., None] - window
        bias = torch.zeros(hidden.shape, dtype=self.real, device=hidden.device)
        return bias.masked_fill_(hidden, float("-inf"))

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, V], in float32 or better"""
        if self.norms_inside:
            logits = self.unembed.after_norm(hidden, self.config.norm_eps)
        else:
            logits = self.unembed(self.normalise(hidden, self.eps).to(self.last))
        return cap_logits(logits, self.network.logit_cap)
