"""Tiny encoder–decoders as `transformers` makes and saves them, with each option of theirs that
changes a number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.hub.foreign import CHARACTERS
from tests.subjects import seeded

T5: dict[str, Any] = {
    "vocab_size": 11, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 3,
    "num_decoder_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12, "pad_token_id": 0, "eos_token_id": 2,
    "decoder_start_token_id": 0,
}  # fmt: skip
BART: dict[str, Any] = {
    "vocab_size": 11, "d_model": 16, "encoder_layers": 3, "decoder_layers": 2,
    "encoder_ffn_dim": 24, "decoder_ffn_dim": 20, "encoder_attention_heads": 4,
    "decoder_attention_heads": 2, "max_position_embeddings": 40, "bos_token_id": 1,
    "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}  # fmt: skip
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("t5", {}),
    ("t5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "d_kv": 6}),
    ("t5", {"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128, "num_decoder_layers": None}),
    ("t5", {"feed_forward_proj": "gelu", "layer_norm_epsilon": 1e-3}),
    ("mt5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    ("bart", {}),
    ("bart", {"scale_embedding": True, "activation_function": "relu"}),
    ("bart", {"activation_function": "gelu_new", "decoder_attention_heads": 4,
              "encoder_layers": 1}),
]  # fmt: skip


@torch.no_grad()
def make(model_type: str, options: dict[str, Any], seed: int = 0) -> Any:
    """A model of `transformers` with weights that make every part of it matter."""
    import transformers

    sizes = BART if model_type == "bart" else T5
    config = transformers.AutoConfig.for_model(model_type, **sizes | options)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager")
    if options.get("tie_word_embeddings") is False:  # as T5 1.1 is, and `transformers` 5 makes none
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
        model.config.tie_word_embeddings = False
    for number, weight in enumerate(model.parameters()):
        noise = torch.randn(weight.shape, generator=seeded(1000 * seed + number))
        if weight.ndim == 1:
            weight += 0.3 * noise
        else:
            weight.copy_(noise / weight.shape[-1] ** 0.5)
    if model_type == "bart":
        model.final_logits_bias.normal_(generator=seeded(seed))
    return model.eval()


def save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    CHARACTERS.save(folder)
    return folder


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """As `transformers` reads it, and what it says of names."""
    import transformers

    read: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained
    return read(folder, output_loading_info=True, attn_implementation="eager")


def inputs(model_type: str) -> tuple[list[list[int]], Tensor]:
    """Inputs of unlike length with their ends, and targets as the decoder reads them.  -> [B][S],
    [B, M]
    """
    start = 2 if model_type == "bart" else 0
    drawn = torch.randint(3, 11, (3, 40), generator=seeded(9)).tolist()
    given = [[*row[:n], 2] for row, n in zip(drawn, (17, 5, 1), strict=True)]
    targets = torch.randint(3, 11, (3, 12), generator=seeded(10))
    targets[:, 0] = start
    return given, targets


def read(theirs: Any, given: list[list[int]], targets: Tensor) -> Tensor:
    """The logits of `transformers`.  -> [B, M, V]"""
    longest = max(map(len, given))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in given])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in given])
    return theirs(input_ids=ids, attention_mask=mask, decoder_input_ids=targets).logits


def join(model_type: str, given: list[list[int]], targets: Tensor) -> tuple[Tensor, list[int]]:
    """The same as rows of ours, padded on the right with tokens that mean nothing, and where in
    each the target begins.
    """
    shared = int(model_type == "bart")  # the token that ends an input starts a target
    rows = [[*row, *target[shared:]] for row, target in zip(given, targets.tolist(), strict=True)]
    longest = max(map(len, rows))
    padded = torch.tensor([[*row, *[7] * (longest - len(row))] for row in rows])
    return padded, [len(row) - shared for row in given]
