"""One block of a transformer, laid out once for many small steps: packed products, into which the
gains of norms and the scale of scores are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.engine.packed import Product
from fledge.engine.packed_weights import AdaptedProduct, PackedWeights
from fledge.models.language.hidden_units import ACTIVATIONS
from fledge.models.language.transformer_config import TransformerConfig

MakeProduct = Callable[..., Product]  # of a weight
# h [N, D], ε -> the same
Normalise = Callable[[Tensor, Tensor], Tensor]


def normalise(h: Tensor, eps: Tensor) -> Tensor:
    """h / √(mean h² + ε): as `F.rms_norm`, in half of its time.  [N, D] -> [N, D]"""
    size = torch.linalg.vector_norm(h, dim=-1, keepdim=True)
    return h * torch.addcmul(eps, size, size, value=1 / h.shape[-1]).rsqrt_()


def standardise(h: Tensor, eps: Tensor) -> Tensor:
    """(h − mean h) / √(variance h + ε): LayerNorm without gain and bias.  [N, D] -> [N, D]"""
    return normalise(h - h.mean(-1, keepdim=True), eps)


def choose_normalise(config: TransformerConfig) -> Normalise:
    return standardise if config.norm == "layer" else normalise


class Affine:
    """x ↦ x (W G)ᵀ + b: a linear layer after a norm, whose gain is in the weight and whose bias
    is in b.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        norm: Any,
        real: torch.dtype,
        make: MakeProduct,
        fold: bool = True,
    ) -> None:
        """norm: what stands before it, None for nothing. fold: the gain goes into the weight; else
        it stays beside it.
        """
        if getattr(norm, "bias", None) is not None:
            bias = weight @ norm.bias + (0 if bias is None else bias)
        self.gain: Tensor | None = None
        if norm is not None and fold:
            weight = weight * norm.gain()
        elif norm is not None:
            self.gain = norm.gain().detach().to(real)
        self.product: Any = make(weight)
        self.bias = None if bias is None else bias.to(real)

    def __call__(self, x: Tensor) -> Tensor:
        y = self.product(x if self.gain is None else (x * self.gain).to(x.dtype))
        return y if self.bias is None else y + self.bias

    def after_norm(self, h: Tensor, eps: float) -> Tensor:
        """Of h / √(mean h² + ε), by a native product."""
        y = self.product(h, eps, self.gain)
        return y if self.bias is None else y + self.bias

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        y = self.product.add(x, other)
        return y if self.bias is None else y + self.bias


class LayerForm:
    """h are the hidden states, x is what a product reads of them, y what attention has read."""

    @torch.no_grad()
    def __init__(
        self,
        block: Any,
        layer: int,
        real: torch.dtype,
        compute: torch.dtype,
        make: MakeProduct,
        *,
        follows: bool,
        native: bool,
        fold: bool,
        packed: PackedWeights | None,
    ) -> None:
        """follows: `make` gives products that do what follows them in the same pass. native: it
        gives native ones. fold: gains go into the weights. packed: of native ones, and unfolded,
        what other networks have too.
        """
        self.real, self.make, self.fold, self.packed = real, make, fold, packed
        self.block, self.compute = block, compute
        self.config: TransformerConfig = block.config
        self.window = self.config.window_of(layer)
        self.turned = 0 if layer in self.config.unturned else self.config.turned
        if self.config.learned_positions:
            self.turned = 0
        self.eps = torch.tensor(
            self.config.norm_eps, dtype=real, device=block.attention.out.weight.device
        )
        self.normalise = choose_normalise(self.config)
        before = self.config.norm_places != "after"
        self.before = before
        # A native product norms what it reads.
        self.norms_inside = native and before and self.normalise is normalise
        # A norm, an adapter's bottleneck, or both.
        self.attention_out_norm, self.mlp_out_norm = (
            None if isinstance(part, nn.Identity) else part
            for part in (block.attention_out_norm, block.mlp_out_norm)
        )
        affine = self._lay_out
        attention_norm = block.attention_norm if before else None
        self._lay_out_attention(block.attention, attention_norm)
        if hasattr(block, "mixture"):
            return
        one_norm = self.config.residual == "parallel, one norm"
        norm = attention_norm if one_norm else block.mlp_norm if before else None
        self.down = affine(block.down, None)
        # Where nothing else comes between, gate and up have what follows them in their own pass.
        plain = self.config.activation == "silu" and getattr(norm, "bias", None) is None
        plain = plain and self.config.gated and block.gate_up.bias is None
        self.two, self.one = follows and plain, native and plain and self.config.mlp_width % 16 == 0
        if not self.config.gated:
            self.up = affine(block.up, norm)
        elif self.one:
            self.gate_up = affine(block.gate_up, norm, gated=True)
        elif self.two:
            gate, up = block.gate_up.weight.chunk(2)
            self.gate, self.up = (
                Affine(weight, None, norm, real, make, fold) for weight in (gate, up)
            )
        else:
            self.gate_up = affine(block.gate_up, norm)

    def _lay_out(
        self,
        linear: Any,
        norm: Any,
        arrange: Callable[[Tensor], Tensor] = Tensor.detach,
        **how: bool,
    ) -> Affine:
        """A linear layer after a norm. arrange: the order, and scales, that its outputs have here;
        of [O, …]. how: of the product.
        """
        bias = None if linear.bias is None else arrange(linear.bias.detach())
        shared = None
        if self.packed is not None and getattr(norm, "bias", None) is None:
            shared = self.packed.split(linear)
        if shared is None:
            weight = arrange(linear.weight.detach())
            make = partial(self.make, **how)
            return Affine(weight, bias, norm, self.real, make, self.fold)

        def make_shared(weight: Tensor) -> Product:
            assert self.packed is not None
            product = self.packed.pack(weight, arrange, **how)
            if shared.down is None or shared.up is None:
                return product
            return AdaptedProduct(product, shared.down, arrange(shared.up))

        return Affine(shared.weight, bias, norm, self.real, make_shared, self.fold)

    def _lay_out_attention(self, attention: Any, norm: Any) -> None:
        """1/√d of attention goes into the matrix, or into the norms of queries and keys."""
        c = self.config
        self.order = order = self._order_pairs().to(attention.out.weight.device)
        turned = c.heads + c.kv_heads  # values are not turned
        self.norms: Tensor | None = None
        rows = torch.arange((turned + c.kv_heads) * c.head_width, device=order.device)
        rows = rows.view(-1, c.head_width)
        rows = torch.cat([rows[:turned, order], rows[turned:]]).flatten()
        if c.qk_norm:  # a norm comes between: what scales its input is undone by it
            q, k = (
                norm.gain().view(-1, c.head_width)[:, order]
                for norm in (attention.q_norm, attention.k_norm)
            )
            both = torch.cat([(q * c.scale).expand(c.heads, -1), k.expand(c.kv_heads, -1)])
            self.norms = both.to(self.real)  # [heads + kv_heads, d]

        def arrange(outputs: Tensor) -> Tensor:
            arranged = outputs[rows]  # a copy
            if not c.qk_norm:
                arranged[: c.heads * c.head_width] *= c.scale
            return arranged

        self.qkv = self._lay_out(attention.qkv, norm, arrange)
        self.out = self._lay_out(attention.out, None)

    def _order_pairs(self) -> Tensor:
        """The pair (i, i + r/2) that is turned together comes to lie at (2i, 2i + 1), which is a
        complex number in memory. q and k are put in the same order, which leaves q·k as it is.
        """
        places = torch.arange(self.config.head_width)
        turned = places[: self.turned].view(2, self.turned // 2).T.flatten()
        return torch.cat([turned, places[self.turned :]])

    def _read(self, affine: Affine, h: Tensor) -> Tensor:
        """A layer after the norm that stands before it.  [N, D] -> [N, O]"""
        if self.norms_inside:
            return affine.after_norm(h, self.config.norm_eps)
        return affine(self._normalise(h))

    def _normalise(self, h: Tensor) -> Tensor:
        """[N, D] -> the same, in the precision of the products"""
        return (self.normalise(h, self.eps) if self.before else h).to(self.compute)

    def project(self, h: Tensor, turn: Tensor | None, real: torch.dtype) -> Tensor:
        """Queries, keys and values, turned and scaled.  [N, D], [N, 1, r/2] -> [N, heads + 2
        kv_heads, d]
        """
        c = self.config
        qkv = self._read(self.qkv, h).to(real).view(h.shape[0], -1, c.head_width)
        qk = qkv[:, : c.heads + c.kv_heads]
        if self.norms is not None:
            qk.copy_(self._normalise_heads(qk) * self.norms)
        if turn is not None:
            pairs = torch.view_as_complex(qk[..., : self.turned].unflatten(-1, (-1, 2)))
            pairs.mul_(turn)
        return qkv

    def _normalise_heads(self, qk: Tensor) -> Tensor:
        c = self.config
        if not c.qk_norm_whole:
            return F.rms_norm(qk, (c.head_width,), None, c.norm_eps)
        parts = (part.flatten(1) for part in qk.split([c.heads, c.kv_heads], 1))
        whole = [F.rms_norm(part, part.shape[-1:], None, c.norm_eps) for part in parts]
        return torch.cat(whole, 1).view(qk.shape)

    def add_attention(self, h: Tensor, y: Tensor) -> Tensor:
        """[N, D], [N, heads · d] -> [N, D]"""
        return _add(self.out, y.to(self.compute), h, self.attention_out_norm)

    def add_mlp(self, h: Tensor, read: Tensor) -> Tensor:
        """read: the hidden states that the MLP reads.  [N, D] twice -> [N, D]"""
        c = self.config
        if hasattr(self.block, "mixture"):  # its experts run as they are
            x = self.block.mlp_norm(read.to(self.block.mixture.down.dtype))
            return h + self.block.mlp_out_norm(self.block.mixture(x)).to(h.dtype)
        activate = ACTIVATIONS[c.activation]
        if not c.gated:
            inner = activate(self._read(self.up, read))
        elif self.one:
            inner = self._read(self.gate_up, read)
        elif self.two:
            x, gate, up = self._normalise(read), self.gate.product, self.up.product
            inner = up.multiply(x, gate.silu(x))
        else:
            gate, up = self._read(self.gate_up, read).chunk(2, dim=-1)
            inner = activate(gate).mul_(up)
        return _add(self.down, inner.to(self.compute), h, self.mlp_out_norm)


def _add(affine: Affine, x: Tensor, h: Tensor, norm: nn.Module | None) -> Tensor:
    """h + norm(x Wᵀ + b), in the precision of h."""
    return affine.add(x, h) if norm is None else h + norm(affine(x).to(h.dtype))
