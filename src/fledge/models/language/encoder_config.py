"""The sizes and choices that make an encoder: BERT's, a modern one's, and what stands on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fledge.errors import UserError

Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]
Classifier = Literal["", "sequence", "token", "choice"]


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes, by default of BERT's kind (Devlin et al. 2019): learned positions, token types, norms
    behind each part, biases. `make_modern` has those of ModernBERT (Warner et al. 2024).

    context: tokens of a row. first_position: the number of a row's first token in the table of
        positions (RoBERTa's is 2). types: kinds of token that have a vector each; 0: none.
    window: how far to either side a token of `local_layers` looks.
    transform, masked, next, replaced, classifier: what stands on the hidden states. transform: a
        product, an activation and a norm before the unembedding. masked: the unembedding of masked
        tokens. next: whether one text follows the other. replaced: which tokens are another's.
        classifier: of the row, of each token, or of one choice among several.
    pooler: a product and `pooler_activation` of the first token's hidden state.
    dropout: while it learns to label, of embeddings, of what each part of a block writes, and of
        what a classifier reads (Devlin et al. 2019, §A.2); attention's weights are never dropped.
    """

    vocab_size: int
    context: int = 512
    layers: int = 4
    width: int = 128
    heads: int = 4
    mlp_width: int = 0  # 0: 4 × width, or 8/3 of it where it is gated
    tied: bool = True
    learned_positions: bool = True
    first_position: int = 0
    types: int = 2
    embedding_width: int = 0  # 0: width; else a product brings it there (Clark et al. 2020)
    norm_first: bool = False
    norm_eps: float = 1e-12
    norm_bias: bool = True
    attention_bias: bool = True
    mlp_bias: bool = True
    gated: bool = False
    activation: Activation = "gelu"
    rope_theta: float = 160_000.0
    local_rope_theta: float = 10_000.0
    window: int = 0
    local_layers: tuple[int, ...] = ()

    transform: bool = False
    transform_bias: bool = True
    transform_activation: Activation = "gelu"
    masked: bool = False
    decoder_bias: bool = True
    pooler: bool = False
    pooler_activation: Literal["tanh", "relu", "gelu"] = "tanh"
    pooling: Literal["first", "mean"] = "first"
    next: bool = False
    replaced: bool = False
    classifier: Classifier = ""
    labels: tuple[str, ...] = ()  # of the classifier; ("",) of a choice

    dropout: float = field(default=0.0, compare=False)
    family: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("norm_eps", "rope_theta", "local_rope_theta"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.width % self.heads:
            raise UserError(
                f"width={self.width} cannot be divided among heads={self.heads}: choose a multiple."
            )
        if not self.learned_positions and self.head_width % 2:
            raise UserError(
                f"a head of width {self.head_width} has no pairs to rotate: width / heads must be "
                "even."
            )
        if not self.mlp_width:
            narrow = 32 * math.ceil(self.width * 8 / 3 / 32)
            object.__setattr__(self, "mlp_width", narrow if self.gated else 4 * self.width)

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def embedded(self) -> int:
        """How wide the embedding is."""
        return self.embedding_width or self.width

    @property
    def widest(self) -> int:
        """The most numbers that a layer makes of a token at once."""
        return max(3 * self.width, (2 if self.gated else 1) * self.mlp_width)

    def is_local(self, layer: int) -> bool:
        return layer in self.local_layers

    @property
    def parameters(self) -> int:
        """How many numbers a network of these sizes learns."""
        w, norm = self.width, 2 if self.norm_bias else 1
        attention = 4 * (w * w + w * self.attention_bias)
        high = (2 if self.gated else 1) * self.mlp_width
        mlp = high * w + self.mlp_width * w + (high + w) * self.mlp_bias
        # Where norms stand before each part, the first layer has one less and the end one more.
        norms = 2 * norm * w * self.layers
        return self.layers * (attention + mlp) + norms + self._count_outside() + self._count_heads()

    def _count_outside(self) -> int:
        e, norm = self.embedded, 2 if self.norm_bias else 1
        rows = self.vocab_size + self.types
        if self.learned_positions:
            rows += self.context + self.first_position
        project = (e + 1) * self.width if self.embedding_width else 0
        return rows * e + norm * e + project

    def _count_heads(self) -> int:
        w, e, norm = self.width, self.embedded, 2 if self.norm_bias else 1
        total = (w + 1) * w * self.pooler + 2 * (w + 1) * self.next
        if self.transform:
            total += w * e + e * self.transform_bias + norm * e
        if self.masked:
            total += self.vocab_size * (self.decoder_bias + e * (not self.tied))
        if self.replaced:
            total += (w + 1) * w + w + 1
        return total + len(self.labels) * (w + 1)


def make_modern(vocab_size: int, **sizes: object) -> EncoderConfig:
    """ModernBERT's choices (Warner et al. 2024, §2.1): rotary positions with two bases, norms
    before each part, a gated MLP, no biases, every third layer global and the others local.
    """
    layers = sizes.get("layers", EncoderConfig.layers)
    assert isinstance(layers, int)
    chosen: dict[str, object] = {
        "context": 1024, "learned_positions": False, "types": 0, "norm_first": True,
        "norm_eps": 1e-5, "norm_bias": False, "attention_bias": False, "mlp_bias": False,
        "gated": True, "window": 64, "transform_bias": False, "family": "modernbert",
        "local_layers": tuple(layer for layer in range(layers) if layer % 3),
    }  # fmt: skip
    return EncoderConfig(vocab_size, **{**chosen, **sizes})  # pyright: ignore[reportArgumentType]
