"""Tiny models with random weights for the server's tests: real folders with real tokenizers."""

from __future__ import annotations

from pathlib import Path

import torch

from fledge.hub.folder import save_model
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.text.tokenizer import train_tokenizer

TEXT = "the cat sat on a mat while seven birds sang over green hills and old rivers. " * 40


def make_model(folder: Path, *, seed: int = 0, context: int = 1024) -> Path:
    """A small transformer that has learned nothing, over 300 tokens of its own tokenizer."""
    tokenizer = train_tokenizer("bpe", [TEXT], 300)
    generator = torch.Generator().manual_seed(seed)
    config = transformer_config("nano", tokenizer.vocab_size, context=context)
    network = Transformer(config, border=tokenizer.border, generator=generator)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.mul_(2.0)  # far from uniform
    save_model(folder, network, tokenizer)
    return folder
