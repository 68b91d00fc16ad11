"""What a GGUF file says of a single architecture, beyond the sizes that all have, as the
config.json of its Hugging Face family; and what llama.cpp takes to be so where it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fledge.hub.gguf_architectures import Architecture

# said: the value of a field of the architecture, or a default; config: the common entries
Read = Callable[[Any, Mapping[str, Any]], dict[str, Any]]


def read_own(kind: Architecture, said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Entries beside the common ones, or in their place."""
    if kind.experts:
        return _read_mixture(said, config)
    return _OWN[kind.name](said, config) if kind.name in _OWN else {}


def _read_gemma2(said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    head = config["head_dim"]
    large = config["num_hidden_layers"] == 46  # the 27B model
    return {
        "sliding_window": said("attention.sliding_window", 4096),
        "attn_logit_softcapping": said("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": said("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": (
            config["hidden_size"] // config["num_attention_heads"] if large else head
        ),
    }


def _read_gemma3(said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    large = config["num_hidden_layers"] == 62  # the 27B model
    cap = said("final_logit_softcapping")
    return {
        "sliding_window": said("attention.sliding_window", 1024),
        "rope_local_base_freq": said("rope.freq_base_swa", 10_000.0),
        "query_pre_attn_scalar": (
            config["hidden_size"] // config["num_attention_heads"] if large else config["head_dim"]
        ),
        **({} if cap is None else {"final_logit_softcapping": cap}),
    }


def _read_mixture(said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """In llama.cpp the weights of the experts used always add up to 1."""
    return {
        "num_local_experts": said("expert_count"),
        "num_experts_per_tok": said("expert_used_count"),
        "moe_intermediate_size": said("expert_feed_forward_length"),
        "norm_topk_prob": True,
    }


def _read_turned(said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a family that turns a part of each head."""
    turned = said("rope.dimension_count", config["head_dim"])
    return {"partial_rotary_factor": turned / config["head_dim"]}


def _read_phi3(said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    # llama.cpp's own reader leaves its window out.
    return {"sliding_window": None, **_read_turned(said, config)}


def _read_layer_norms(said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "layer_norm_eps": float(f"{said('attention.layer_norm_epsilon', 1e-5):.6g}"),
        "use_parallel_residual": bool(said("use_parallel_residual", True)),
        "head_dim": None,
        **_read_turned(said, config),
    }


def _read_neox(said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"attention_bias": True, "hidden_act": "gelu", **_read_layer_norms(said, config)}


def _read_gpt2(said: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "n_positions": "max_position_embeddings",
        "n_embd": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "n_inner": "intermediate_size",
    }
    return {
        "layer_norm_epsilon": float(f"{said('attention.layer_norm_epsilon', 1e-5):.6g}"),
        "activation_function": "gelu_new",
        **{name: config[theirs] for name, theirs in names.items()},
    }


_OWN: Mapping[str, Read] = {
    "gemma2": _read_gemma2, "gemma3": _read_gemma3, "phi3": _read_phi3,
    "gptneox": _read_neox, "stablelm": _read_layer_norms, "gpt2": _read_gpt2,
}  # fmt: skip
