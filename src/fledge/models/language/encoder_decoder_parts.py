"""What an encoder–decoder is put together from: attention to itself and to the input, relative
positions in buckets, MLPs; a block of T5 and one of BART are the same parts with the norm before or
after.

Vaswani et al. 2017, §3; Raffel et al. 2020, §2.1; Lewis et al. 2020, §2.1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.models.language.encoder_decoder_config import EncoderDecoderConfig
from fledge.models.language.hidden_units import HiddenUnits
from fledge.models.language.norms import make_norm

KeysValues = tuple[Tensor, Tensor]  # each [B, heads, S, d]


def find_buckets(distance: Tensor, buckets: int, furthest: int, *, both_ways: bool) -> Tensor:
    """The bucket of each distance, key − query: half of them for one distance each, the others for
    ranges that widen as logarithms do up to `furthest`, and the last for all beyond (Raffel et al.
    2020, §2.1).

    both_ways: half of all are for keys behind the query; else such keys are as near as itself.
    """
    behind = torch.zeros_like(distance)
    if both_ways:
        buckets //= 2
        behind = (distance > 0) * buckets
        distance = distance.abs()
    else:
        distance = -distance.clamp(max=0)
    exact = buckets // 2
    share = torch.log(distance.clamp(min=1).float() / exact) / math.log(furthest / exact)
    far = (exact + (share * (buckets - exact)).long()).clamp(max=buckets - 1)
    return behind + distance.where(distance < exact, far)


class RelativeBias(nn.Module):
    """A number for each bucket and head, added to the scores of every layer."""

    def __init__(self, config: EncoderDecoderConfig, heads: int, *, both_ways: bool) -> None:
        super().__init__()
        self.buckets, self.furthest, self.both_ways = config.buckets, config.max_distance, both_ways
        self.weight = nn.Parameter(torch.empty(config.buckets, heads))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """queries [B, T], keys [B, S]: their positions -> [B, heads, T, S]"""
        distance = keys[:, None, :] - queries[:, :, None]
        numbers = find_buckets(distance, self.buckets, self.furthest, both_ways=self.both_ways)
        return self.weight[numbers].permute(0, 3, 1, 2)


class MultiHead(nn.Module):
    """Attention whose queries come from one side and whose keys from another, or the same."""

    def __init__(self, config: EncoderDecoderConfig, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        inner, bias = heads * head_width, config.biased
        self.scale = 1.0 if config.style == "t5" else head_width**-0.5
        self.query = nn.Linear(config.width, inner, bias=bias)
        self.key_value = nn.Linear(config.width, 2 * inner, bias=bias)
        self.out = nn.Linear(inner, config.width, bias=bias)

    def project(self, x: Tensor) -> KeysValues:
        """Keys and values of what is looked at.  [B, S, D] -> [B, heads, S, d] twice"""
        k, v = self.key_value(x).unflatten(2, (2, self.heads, self.head_width)).unbind(2)
        return k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x: Tensor, seen: KeysValues, bias: Tensor | None) -> Tensor:
        """bias: added to the scores, −inf where nothing is seen, [B or 1, heads or 1, T, S]; None
        for nothing.  [B, T, D] -> the same
        """
        q = self.query(x).unflatten(2, (self.heads, self.head_width)).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, *seen, attn_mask=bias, scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, config: EncoderDecoderConfig, wide: int) -> None:
        super().__init__()
        bias = config.biased
        self.up = nn.Linear(config.width, (2 if config.gated else 1) * wide, bias=bias)
        self.down = nn.Linear(wide, config.width, bias=bias)
        self.hidden = HiddenUnits(config.activation, config.gated)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> the same"""
        return self.down(self.hidden(self.up(x)))


def norm_of(config: EncoderDecoderConfig) -> nn.Module:
    """Of T5 without mean and bias, of BART with both."""
    kind = "rms" if config.style == "t5" else "layer"
    return make_norm(kind, config.width, config.norm_eps)


class EncoderBlock(nn.Module):
    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.norm_first = config.style == "t5"
        self.attention = MultiHead(config, config.heads, config.head_width)
        self.attention_norm = norm_of(config)
        self.mlp = MLP(config, config.mlp_width)
        self.mlp_norm = norm_of(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[B, S, D] -> the same"""
        read = self.attention_norm(x) if self.norm_first else x
        x = x + self.attention(read, self.attention.project(read), bias)
        x = x if self.norm_first else self.attention_norm(x)
        x = x + self.mlp(self.mlp_norm(x) if self.norm_first else x)
        return x if self.norm_first else self.mlp_norm(x)


class DecoderBlock(nn.Module):
    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.norm_first = config.style == "t5"
        sizes = config.decoder_heads, config.decoder_head_width
        self.attention = MultiHead(config, *sizes)
        self.attention_norm = norm_of(config)
        self.cross = MultiHead(config, *sizes)
        self.cross_norm = norm_of(config)
        self.mlp = MLP(config, config.decoder_mlp_width)
        self.mlp_norm = norm_of(config)

    def read(self, x: Tensor) -> Tensor:
        """What its own attention reads.  [B, T, D] -> the same"""
        return self.attention_norm(x) if self.norm_first else x

    def forward(
        self,
        x: Tensor,
        read: Tensor,
        own: KeysValues,
        given: KeysValues,
        own_bias: Tensor,
        given_bias: Tensor,
    ) -> Tensor:
        """read: of `read`. own: keys and values of the row's tokens so far, given: of the input,
        each with what is added to its scores.  [B, T, D] -> the same
        """
        x = x + self.attention(read, own, own_bias)
        x = x if self.norm_first else self.attention_norm(x)
        x = x + self.cross(self.cross_norm(x) if self.norm_first else x, given, given_bias)
        x = x if self.norm_first else self.cross_norm(x)
        x = x + self.mlp(self.mlp_norm(x) if self.norm_first else x)
        return x if self.norm_first else self.mlp_norm(x)
