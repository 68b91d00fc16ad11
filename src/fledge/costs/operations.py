"""Floating-point operations of a training step: of the model, as its efficiency is counted, and of
the hardware, which computes some of them twice.

Kaplan et al. 2020, §2.1: a product with a matrix of n numbers is 2n operations a token forward, and
twice as many backward. Attention's own: Chowdhery et al. 2022, appendix B, of the keys that are
looked at.
"""

from __future__ import annotations

from fledge.costs.work import Work
from fledge.models.language.transformer_config import TransformerConfig


def count_multiplied(sizes: TransformerConfig) -> int:
    """Numbers of the blocks' matrices that a token is multiplied by: of experts, those it uses."""
    wide = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_width
    attention = (wide + sizes.heads * sizes.head_width) * sizes.width
    pieces = 3 if sizes.gated else 2
    total = 0
    for layer in range(sizes.layers):
        total += attention
        if sizes.has_experts(layer):
            assert sizes.experts is not None
            expert = 3 * sizes.experts.width * sizes.width
            total += sizes.experts.used * expert + sizes.experts.number * sizes.width
        else:
            total += pieces * sizes.width * sizes.mlp_width
    return total


def count_keys(tokens: int, window: int) -> float:
    """How many keys a token of a row looks at, itself included, in the mean: causal, and within the
    window where there is one (0: none).
    """
    if not 0 < window < tokens:
        return (tokens + 1) / 2
    return (window * (window + 1) / 2 + (tokens - window) * window) / tokens


def count_attention(sizes: TransformerConfig, tokens: int) -> float:
    """Operations a token forward of scores and what they weigh: 2 · 2 · heads · head width · keys
    a layer.
    """
    keys = sum(count_keys(tokens, sizes.window_of(layer)) for layer in range(sizes.layers))
    return 4 * sizes.heads * sizes.head_width * keys


def count_forward(sizes: TransformerConfig, tokens: int) -> float:
    """Operations a token of the blocks, in a row of so many tokens."""
    return 2 * count_multiplied(sizes) + count_attention(sizes, tokens)


def count_model(sizes: TransformerConfig, tokens: int) -> float:
    """Operations a token of a step: 3 · (2 · (blocks' matrices + V·D) + attention), by which the
    utilisation (MFU) is counted.
    """
    return 3 * (count_forward(sizes, tokens) + 2 * sizes.vocab_size * sizes.width)


def count_hardware(work: Work) -> float:
    """Operations a token that are really computed: the logits once more in the backward pass
    (`fledge.log_prob`), and with gradient checkpointing the blocks (Chen et al. 2016).
    """
    sizes = work.sizes
    again = count_forward(sizes, work.tokens) if work.layout.gradient_checkpointing else 0.0
    return count_model(sizes, work.tokens) + 2 * sizes.vocab_size * sizes.width + again
