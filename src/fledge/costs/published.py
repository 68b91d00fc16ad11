"""Sizes of published models by name, for plans that need no weights."""

from __future__ import annotations

from typing import Any

from fledge.models.language.transformer_config import TransformerConfig

# Llama Team 2024, "The Llama 3 Herd of Models", table 3; for 1b the config.json of Llama 3.2 1B.
PUBLISHED: dict[str, dict[str, Any]] = {
    "1b": {"layers": 16, "width": 2048, "heads": 32, "mlp_width": 8192, "tied": True},
    "8b": {"layers": 32, "width": 4096, "heads": 32, "mlp_width": 14336, "tied": False},
    "70b": {"layers": 80, "width": 8192, "heads": 64, "mlp_width": 28672, "tied": False},
    "405b": {"layers": 126, "width": 16384, "heads": 128, "mlp_width": 53248, "tied": False},
}
_SAME = {"vocab_size": 128_256, "context": 131_072, "kv_heads": 8, "rope_theta": 500_000.0}


def published_config(name: str) -> TransformerConfig:
    return TransformerConfig(**PUBLISHED[name], **_SAME)
