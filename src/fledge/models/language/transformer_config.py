"""The sizes and choices that make a decoder-only transformer: ours by default, and those in which
other makers' families differ from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fledge.errors import UserError
from fledge.models.language.mixture import Experts
from fledge.models.language.norms import NormKind
from fledge.models.language.rope_scaling import UNSCALED, RopeScaling

Activation = Literal["silu", "gelu", "gelu_tanh"]


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes. `width` is divided among `heads`; `kv_heads` of them have keys and values of their own
    (Ainslie et al. 2023).
    """

    vocab_size: int
    context: int = 256  # tokens
    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 4
    mlp_width: int = 0  # 0: 8/3 of the width, rounded up to a multiple of 32
    tied: bool = True
    qk_norm: bool = False
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    head_width: int = field(default=0)  # 0: width / heads
    # a token looks at so many tokens, itself included (Jiang et al. 2023, §2); 0: at all before it
    window: int = 0

    # Of other makers. The family that a network was read as: it is written as that again, where two
    # would do.
    family: str = field(default="", compare=False)
    windows: tuple[int, ...] = ()  # of each layer where they differ, in place of `window`
    scaling: RopeScaling = UNSCALED
    local_rope_theta: float = 0.0  # of layers with a window, unscaled; 0: as in the others
    rotary_width: int = 0  # of a head, from its start; 0: all of it
    unturned: tuple[int, ...] = ()  # layers without positions (Kazemnejad et al. 2023)
    learned_positions: bool = False  # a vector for each, added to the embedding; none is turned
    norm: NormKind = "rms"
    # of what enters attention and MLP, of what leaves them, or of both
    norm_places: Literal["before", "after", "around"] = "before"
    qk_norm_whole: bool = False  # over all heads together, not head by head
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    gated: bool = True
    activation: Activation = "silu"
    # parallel: attention and MLP read the same hidden states (Black et al. 2022, §2.2), each
    # through a norm of its own or both through one
    residual: Literal["in turn", "parallel", "parallel, one norm"] = "in turn"
    embedding_scale: float = 1.0
    score_scale: float = 0.0  # what q·k is multiplied by; 0: 1/√head_width
    score_cap: float = 0.0  # c: scores s become c·tanh(s/c) (Gemma Team 2024b, §2); 0: none
    logit_cap: float = 0.0  # the same of the logits
    experts: Experts | None = None  # in place of the MLP

    def __post_init__(self) -> None:
        # `transformers` refuses a config.json that writes 1 where 1.0 is meant
        for name in ("rope_theta", "norm_eps"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.mlp_width == 0:
            object.__setattr__(self, "mlp_width", 32 * math.ceil(self.width * 8 / 3 / 32))
        if self.head_width == 0:
            if self.width % self.heads:
                raise UserError(
                    f"width={self.width} cannot be divided among heads={self.heads}: choose a "
                    "multiple."
                )
            object.__setattr__(self, "head_width", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise UserError(
                f"heads={self.heads} cannot share kv_heads={self.kv_heads}: heads must be a "
                "multiple of it."
            )
        if not self.learned_positions and (self.turned % 2 or not self.turned):
            raise UserError(
                f"a head of width {self.turned} has no pairs to rotate: width / heads must be even."
            )
        if len(set(self.windows)) == 1:  # one description for one network
            object.__setattr__(self, "window", self.windows[0])
            object.__setattr__(self, "windows", ())

    @property
    def turned(self) -> int:
        """How much of a head rotary positions turn."""
        return self.rotary_width or self.head_width

    @property
    def scale(self) -> float:
        """What q·k is multiplied by."""
        return self.score_scale or self.head_width**-0.5

    @property
    def widest(self) -> int:
        """The most numbers that a layer makes of a token at once: an MLP's hidden ones."""
        return (2 if self.gated else 1) * self.mlp_width

    def count_cache(self, positions: int) -> int:
        """Numbers that are kept of a row of so many tokens while it is written: keys, values."""
        return 2 * self.layers * self.kv_heads * self.head_width * positions

    def window_of(self, layer: int) -> int:
        """How many tokens a layer looks at; 0: at all before it."""
        return self.windows[layer] if self.windows else self.window

    def is_local(self, layer: int) -> bool:
        """Whether a layer has the angles of layers with a window."""
        return self.local_rope_theta > 0 and self.window_of(layer) > 0

    def has_experts(self, layer: int) -> bool:
        return self.experts is not None and layer not in self.experts.dense

    @property
    def parameters(self) -> int:
        """How many numbers a network of these sizes learns."""
        return sum(self._count_block(layer) for layer in range(self.layers)) + self._count_outside()

    @property
    def active_parameters(self) -> int:
        """How many of them a token is computed with: of experts, those it uses."""
        if self.experts is None:
            return self.parameters
        idle = (self.experts.number - self.experts.used) * 3 * self.experts.width * self.width
        return self.parameters - idle * sum(map(self.has_experts, range(self.layers)))

    def _count_block(self, layer: int) -> int:
        wide = (self.heads + 2 * self.kv_heads) * self.head_width
        attention = (wide + self.heads * self.head_width) * self.width
        attention += wide * self.qkv_bias + self.width * self.out_bias
        if self.qk_norm:
            heads = self.heads + self.kv_heads if self.qk_norm_whole else 2
            attention += heads * self.head_width
        pieces = 2 if self.gated else 1
        if self.has_experts(layer):
            assert self.experts is not None
            mlp = self.experts.number * (3 * self.experts.width + 1) * self.width
        else:
            mlp = (pieces + 1) * self.width * self.mlp_width
            mlp += (pieces * self.mlp_width + self.width) * self.mlp_bias
        norms = 4 if self.norm_places == "around" else 2
        norms -= self.residual == "parallel, one norm"
        return attention + mlp + norms * self._norm_size()

    def _count_outside(self) -> int:
        embeddings = (1 if self.tied else 2) * self.vocab_size * self.width
        return embeddings + self._norm_size() + self.context * self.width * self.learned_positions

    def _norm_size(self) -> int:
        return (2 if self.norm == "layer" else 1) * self.width
