"""The sizes of a model in a GGUF file, as the config.json of its Hugging Face family, and back.

A GGUF file leaves out what llama.cpp knows by itself: those numbers stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from fledge.errors import UserError
from fledge.hub.gguf_architectures import ARCHITECTURES, Architecture
from fledge.hub.gguf_file import GgufFile, uint32
from fledge.hub.gguf_own_fields import read_own
from fledge.models.language.rope_scaling import RopeScaling, scale_frequencies
from fledge.models.language.transformer_config import TransformerConfig

ROPE_FACTORS = "rope_freqs.weight"
# Of one layer in so many all before it is seen; llama.cpp's src/llama-model.cpp.
_EVERY = {"gemma2": 2, "gemma3": 6}
# Whose query, key and value have no sizes of their own there.
_WHOLE = ("phi3", "gpt2", "gptneox", "stablelm")
# Of Llama 3.1 and after: what the file's divisors of frequencies are made of.
_LLAMA3 = {
    "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip
_SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}


class Header(Protocol):
    """What is asked of a file."""

    path: Path
    fields: dict[str, Any]

    @property
    def tensors(self) -> Mapping[str, Any]: ...
    def read(self, name: str) -> torch.Tensor: ...


def find_architecture(file: GgufFile) -> Architecture:
    """Raises UserError for one that is not read."""
    name = file.fields.get("general.architecture")
    mixed = bool(file.fields.get(f"{name}.expert_count"))
    of_name = [known for known in ARCHITECTURES if known.name == name]
    for known in of_name:
        if bool(known.experts) == mixed:
            return known
    if of_name:
        raise UserError(
            f"{file.path} is of the architecture {name} {'with' if mixed else 'without'} experts, "
            "which fledge does not read from a GGUF file: give the model's Hugging Face folder."
        )
    names = dict.fromkeys(known.name for known in ARCHITECTURES)
    raise UserError(
        f"{file.path} is of the architecture {str(name)[:40]!r}: from a GGUF file fledge reads "
        f"{', '.join(names)}. Give the model's Hugging Face folder."
    )


def read_config(file: Header, kind: Architecture) -> dict[str, Any]:
    """config.json, as `transformers` would have it. Raises UserError."""

    def said(name: str, default: Any = None) -> Any:
        return file.fields.get(f"{kind.name}.{name}", default)

    for name in ("attention.head_count_kv", "feed_forward_length"):
        if isinstance(said(name), list):
            raise UserError(
                f"{file.path} has {kind.name}.{name}={str(said(name))[:40]}, which fledge does not "
                "read from a GGUF file: give the model's Hugging Face folder."
            )
    config: dict[str, Any] = {"model_type": kind.families[0], "architectures": None}
    for name, theirs in _SIZES.items():
        if said(name) is None:
            raise UserError(f"{file.path} has no {kind.name}.{name}: fetch it again.")
        config[theirs] = said(name)
    heads = config["num_attention_heads"]
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or not heads:
        raise UserError(f"{file.path} has no token_embd.weight, or no heads: fetch it again.")
    config |= {
        "vocab_size": embedding.shape[0],
        "num_key_value_heads": said("attention.head_count_kv", heads),
        "head_dim": said("attention.key_length", config["hidden_size"] // heads),
        # A file holds float32 numbers: 9.999999747378752e-06 was 1e-05.
        "rms_norm_eps": float(f"{said('attention.layer_norm_rms_epsilon', 1e-5):.6g}"),
        "rope_theta": said("rope.freq_base", 10_000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_bias": "blk.0.attn_output.bias" in file.tensors,
        "use_qkv_bias": "blk.0.attn_q.bias" in file.tensors,
    }
    if (scaling := _read_scaling(file, kind, config)) is not None:
        config["rope_scaling"] = scaling
    return config | read_own(kind, said, config)


def _read_scaling(
    file: Header, kind: Architecture, config: Mapping[str, Any]
) -> dict[str, Any] | None:
    if ROPE_FACTORS in file.tensors:
        return _read_factors(file, config)
    name = file.fields.get(f"{kind.name}.rope.scaling.type", "none")
    factor = file.fields.get(f"{kind.name}.rope.scaling.factor")
    # Gemma 3's says a factor and no type.
    if name == "none" and not (kind.name == "gemma3" and factor):
        return None
    scaling = {"rope_type": "linear" if name == "none" else name, "factor": factor}
    original = file.fields.get(f"{kind.name}.rope.scaling.original_context_length")
    return scaling | ({} if original is None else {"original_max_position_embeddings": original})


def _read_factors(file: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    """Llama 3's scaling stands in the file as what it divides frequencies by. Raises UserError for
    divisors that its formula does not give.
    """
    held = file.read(ROPE_FACTORS).double()
    scaling = _LLAMA3 | {"rope_type": "llama3", "factor": float(held.max())}
    if held.shape == (config["head_dim"] // 2,):
        made = list_factors(
            config["rope_theta"], config["head_dim"],
            RopeScaling("llama3", float(held.max()), 8192, 1.0, 4.0),
        )  # fmt: skip
        if torch.allclose(made, held, rtol=1e-3):
            return scaling
    raise UserError(
        f"{file.path} divides its rotary frequencies by numbers of its own ({ROPE_FACTORS}), which "
        "are not Llama 3's: give the model's Hugging Face folder."
    )


def list_factors(theta: float, width: int, scaling: RopeScaling) -> torch.Tensor:
    """What each frequency is divided by.  -> [width / 2]"""
    frequency = theta ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    return frequency / scale_frequencies(frequency, theta, scaling, long=False)


def choose_architecture(model_type: str, place: str) -> Architecture:
    """Raises UserError for a family that GGUF files are not written of."""
    for known in ARCHITECTURES:
        if model_type in known.families:
            return known
    written = sorted(family for known in ARCHITECTURES for family in known.families)
    raise UserError(
        f"{place} is of the family {model_type}, of which fledge writes no GGUF file: it does of "
        f"{', '.join(written)}. Export it with format=hf."
    )


def write_config(c: TransformerConfig, kind: Architecture) -> dict[str, Any]:
    """The fields that say the sizes. Raises UserError for what llama.cpp computes otherwise."""
    fields: dict[str, Any] = {
        "context_length": uint32(c.context),
        "embedding_length": uint32(c.width),
        "block_count": uint32(c.layers),
        "feed_forward_length": uint32(c.mlp_width),
        "attention.head_count": uint32(c.heads),
        "attention.head_count_kv": uint32(c.kv_heads),
        "attention.key_length": uint32(c.head_width),
        "attention.value_length": uint32(c.head_width),
        f"attention.layer_norm_{'' if c.norm == 'layer' else 'rms_'}epsilon": c.norm_eps,
        "vocab_size": uint32(c.vocab_size),
    }
    if not c.learned_positions:
        fields["rope.freq_base"] = c.rope_theta
        fields["rope.dimension_count"] = uint32(c.turned)
    if c.norm == "layer" and not c.learned_positions:
        fields["use_parallel_residual"] = c.residual != "in turn"
    if c.experts is not None:
        fields["expert_count"] = uint32(c.experts.number)
        fields["expert_used_count"] = uint32(c.experts.used)
        fields["expert_feed_forward_length"] = uint32(c.experts.width)
    if kind.name in _WHOLE and c.heads * c.head_width != c.width:
        raise UserError(
            f"llama.cpp takes the heads of a {kind.name} file to be as wide together as the model, "
            f"and here they are {c.heads} of {c.head_width} in {c.width}: export it with format=hf."
        )
    window = max((c.window, *c.windows))
    if window and kind.name not in _EVERY:
        raise UserError(
            f"llama.cpp reads no window of {window} tokens from a {kind.name} file, so longer rows "
            "would be said otherwise: export it with format=hf."
        )
    if window:
        fields["attention.sliding_window"] = uint32(window)
        _check_pattern(c, kind)
    elif kind.name == "phi3":  # which llama.cpp does not open without one
        fields["attention.sliding_window"] = uint32(0)
    if c.score_cap:
        fields["attn_logit_softcapping"] = c.score_cap
    if c.logit_cap:
        fields["final_logit_softcapping"] = c.logit_cap
    if c.local_rope_theta not in (0.0, 10_000.0):
        fields["rope.freq_base_swa"] = c.local_rope_theta
    fields |= _write_scaling(c, kind)
    return {f"{kind.name}.{name}": value for name, value in fields.items()}


def _check_pattern(c: TransformerConfig, kind: Architecture) -> None:
    every = _EVERY[kind.name]
    usual = [bool((layer + 1) % every) for layer in range(c.layers)]
    if usual != [c.window_of(layer) > 0 for layer in range(c.layers)]:
        raise UserError(
            f"llama.cpp takes every {every}th layer of a {kind.name} file to see all, and here it "
            "is others: export it with format=hf."
        )


def _write_scaling(c: TransformerConfig, kind: Architecture) -> dict[str, Any]:
    s = c.scaling
    if s.kind in ("none", "llama3", "dynamic"):  # llama3: a tensor says it
        return {}
    if s.kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": s.factor}
    raise UserError(
        f"rotary positions scaled by {s.kind} are not written into a GGUF file: export it with "
        "format=hf."
    )
