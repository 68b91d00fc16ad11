"""Tiny models of every family as `transformers` makes and saves them, with each option of theirs
that changes a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.text.tokenizer import train_tokenizer
from tests.subjects import seeded

CHARACTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens
COMMON: dict[str, Any] = {
    "vocab_size": 11, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 40,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0,
        "original_max_position_embeddings": 10}  # fmt: skip
LONG = {"rope_type": "longrope", "rope_theta": 50.0, "short_factor": [1.0, 1.5],
        "long_factor": [2.0, 5.0]}  # fmt: skip
GPT2 = {"vocab_size": 11, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 40,
        "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
WINDOW = {"use_sliding_window": True, "sliding_window": 5}
SOME = ["sliding_attention", "full_attention", "sliding_attention"]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True, "head_dim": 6, "num_key_value_heads": 1}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}),
    ("llama", {"rope_parameters": LLAMA3}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}}),
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 100.0}}),
    ("llama", {"rope_parameters": YARN, "head_dim": 16}),
    ("llama", {"rope_parameters": YARN | {"truncate": False, "beta_fast": 4, "mscale": 2.0,
                                          "mscale_all_dim": 0.5}, "head_dim": 16}),
    ("mistral", {"sliding_window": 5}),
    ("mistral", {"sliding_window": None, "head_dim": 6}),
    ("qwen2", {}),
    ("qwen2", WINDOW | {"max_window_layers": 1, "tie_word_embeddings": True}),
    ("qwen3", {"head_dim": 6}),
    ("qwen3", WINDOW | {"head_dim": 4, "attention_bias": True, "max_window_layers": 0}),
    ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
                   "norm_topk_prob": True}),
    ("qwen3_moe", {"num_experts": 3, "num_experts_per_tok": 3, "moe_intermediate_size": 8,
                   "mlp_only_layers": [1], "head_dim": 6, "attention_bias": True}),
    ("qwen3_moe", WINDOW | {"num_experts": 3, "num_experts_per_tok": 1,
                            "moe_intermediate_size": 8, "decoder_sparse_step": 2}),
    ("smollm3", {"no_rope_layer_interval": 2}),
    ("smollm3", WINDOW | {"no_rope_layers": [1, 0, 0], "tie_word_embeddings": False,
                          "attention_bias": True, "mlp_bias": True}),
    ("gemma", {"head_dim": 6}),
    ("gemma", {"head_dim": 4, "hidden_act": "gelu", "tie_word_embeddings": False}),
    ("gemma2", {"head_dim": 6, "sliding_window": 5, "query_pre_attn_scalar": 9,
                "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.5}),
    ("gemma2", {"head_dim": 256, "layer_types": SOME, "attn_logit_softcapping": None,
                "final_logit_softcapping": None, "attention_bias": True}),
    ("gemma3_text", {"head_dim": 6, "sliding_window": 5, "query_pre_attn_scalar": 9,
                     "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
                     "final_logit_softcapping": 1.5}),
    ("gemma3_text", {"head_dim": 6, "sliding_window": 5, "layer_types": SOME, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0}}}),
    ("phi3", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
    ("phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 12,
              "sliding_window": 7}),
    ("phi3", {"rope_parameters": LONG | {"attention_factor": 1.7}, "max_position_embeddings": 40,
              "original_max_position_embeddings": 40}),
    ("olmo2", {}),
    ("olmo2", {"attention_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 4}),
    ("gpt2", {}),
    ("gpt2", {"n_inner": 20, "activation_function": "gelu", "tie_word_embeddings": False,
              "scale_attn_weights": False}),
    ("gpt_neox", {}),
    ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False, "rotary_pct": 1.0,
                  "tie_word_embeddings": True, "hidden_act": "gelu_new"}),
    ("stablelm", {"partial_rotary_factor": 0.5}),
    ("stablelm", {"use_parallel_residual": True, "use_qkv_bias": True, "hidden_size": 32}),
    ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    ("mixtral", {"num_local_experts": 3, "num_experts_per_tok": 1, "sliding_window": 5,
                 "head_dim": 6, "tie_word_embeddings": True}),
    ("minimax_m2", {"num_local_experts": 3, "num_experts_per_tok": 2, "head_dim": 8,
                    "rotary_dim": 4, "tie_word_embeddings": True}),
    ("minimax_m2", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 4}),
]  # fmt: skip


def name(variant: tuple[str, dict[str, Any]]) -> str:
    family, options = variant
    return "-".join([family, *options])[:60]


def list_sizes(model_type: str) -> dict[str, Any]:
    """Of a model's config.json; of one that turns a quarter of each head, heads of 8."""
    if model_type == "gpt2":
        return GPT2
    return COMMON | {"hidden_size": 32} if model_type == "gpt_neox" else COMMON


@torch.no_grad()
def make(model_type: str, options: dict[str, Any], seed: int = 0) -> Any:
    """A model of `transformers` with weights that make every part of it matter."""
    import transformers

    config = transformers.AutoConfig.for_model(model_type, **list_sizes(model_type) | options)
    # of all families, whose fused kernels know no cap
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    for number, weight in enumerate(model.parameters()):
        noise = torch.randn(weight.shape, generator=seeded(1000 * seed + number))
        if weight.ndim == 1:
            weight += 0.3 * noise
        else:
            weight.copy_(noise / weight.shape[-1] ** 0.5)
    for name, bias in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            bias.normal_(0, 0.3, generator=seeded(len(name)))
    return model.eval()


def save(model: Any, folder: Path) -> Path:
    """As `transformers` saves it, with a tokenizer of ours beside."""
    model.save_pretrained(folder)
    CHARACTERS.save(folder)
    return folder


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """As `transformers` reads it, and what it says of names."""
    import transformers

    read: Any = transformers.AutoModelForCausalLM.from_pretrained
    return read(folder, output_loading_info=True, attn_implementation="eager")


def rows(length: int = 24, count: int = 3) -> Tensor:
    return torch.randint(0, 11, (count, length), generator=seeded(length))


def list_ids(variants: Sequence[tuple[str, dict[str, Any]]] = VARIANTS) -> list[str]:
    return [name(variant) for variant in variants]
