"""Files as earlier versions of `transformers` wrote them mean what they mean to this one: rope and
its scaling apart, torch_dtype, a bare trunk, tables and masks among the weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fledge.hub.folder import load_model
from tests.hub.foreign import LLAMA3, LONG, YARN, load, make, rows, save
from tests.hub.test_every_family import logits, read

pytest.importorskip("transformers")
SCALING = {name: value for name, value in LLAMA3.items() if name != "rope_theta"}
LONG_ROPE = {name: LONG[name] for name in ("short_factor", "long_factor")}
OLD: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", {"rope_parameters": LLAMA3}, {"rope_theta": 100.0, "rope_scaling": SCALING}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 70.0}},
     {"rope_theta": 70.0, "rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("llama", {}, {"rope_scaling": None, "dtype": ..., "torch_dtype": "float32"}),
    ("qwen2", {"rope_parameters": YARN, "hidden_size": 64},
     {"rope_theta": 50, "rope_scaling": {"type": "yarn", "factor": 4.0,
                                         "original_max_position_embeddings": 10}}),
    ("mistral", {}, {"sliding_window": ..., "head_dim": None}),
    ("smollm3", {}, {"rope_theta": ..., "layer_types": ..., "no_rope_layers": ...}),
    ("gemma", {"head_dim": 6}, {"rope_theta": 10000.0, "hidden_activation": None,
                                "hidden_act": "gelu"}),
    ("gemma2", {"head_dim": 6, "sliding_window": 5},
     {"layer_types": ..., "rope_theta": 10000.0, "hidden_act": "gelu_pytorch_tanh"}),
    ("gemma3_text",
     {"head_dim": 6, "sliding_window": 5, "sliding_window_pattern": 2, "rope_parameters": {
         "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500.0},
         "sliding_attention": {"rope_type": "default", "rope_theta": 20.0}}},
     {"rope_theta": 500.0, "rope_local_base_freq": 20.0, "layer_types": ...,
      "sliding_window_pattern": 2, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    ("phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 12},
     {"rope_theta": 50.0, "rope_scaling": {"type": "longrope"} | LONG_ROPE}),
    ("phi3", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
     {"partial_rotary_factor": 0.5, "rope_scaling": None}),
    ("gpt_neox", {}, {"rotary_pct": 0.25, "rotary_emb_base": 10000, "attention_bias": ...}),
    ("stablelm", {"partial_rotary_factor": 0.5}, {"partial_rotary_factor": 0.5,
                                                  "rope_theta": 10000}),
    ("mixtral", {"num_local_experts": 3}, {"rope_theta": 1e6, "sliding_window": ...}),
    ("qwen3_moe", {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
     {"num_experts": 3, "num_local_experts": ..., "rope_theta": 10000.0, "max_window_layers": 1}),
    ("olmo2", {}, {"rope_theta": 10000.0, "rms_norm_eps": ...}),
]  # fmt: skip


def rewrite(folder: Path, entries: dict[str, Any]) -> None:
    """Entries of a config.json; ... takes one out."""
    config = json.loads((folder / "config.json").read_text()) | entries
    kept = {name: value for name, value in config.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(kept))


@pytest.mark.parametrize(("family", "options", "old"), OLD, ids=lambda x: str(x)[:30])
@torch.no_grad()
def test_an_earlier_config_is_the_same_model(
    family: str, options: dict[str, Any], old: dict[str, Any], tmp_path: Path
) -> None:
    model = make(family, options)
    expected = read(model, rows(24))
    save(model, tmp_path)
    rewrite(tmp_path, {"rope_parameters": ..., **old})
    assert (read(load(tmp_path)[0], rows(24)) - expected).abs().max() < 1e-4
    assert (logits(load_model(tmp_path).network, rows(24)) - expected).abs().max() < 1e-4


@torch.no_grad()
def test_the_first_name_of_long_rope_is_read_too(tmp_path: Path) -> None:
    """`transformers` 5.24 knows it, and then misses the length that stands beside it."""
    model = make("phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 12})
    rewrite(save(model, tmp_path), {"rope_parameters": LONG | {"rope_type": "su"}})
    expected = read(model, rows(24))
    assert (logits(load_model(tmp_path).network, rows(24)) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("family", "prefix", "tables"),
    [
        ("gpt2", "transformer.", {"h.0.attn.bias": (1, 1, 40, 40), "h.1.attn.masked_bias": ()}),
        ("llama", "model.", {"layers.0.self_attn.rotary_emb.inv_freq": (2,)}),
        ("gpt_neox", "gpt_neox.", {"layers.0.attention.bias": (1, 1, 40, 40),
                                   "layers.2.attention.rotary_emb.inv_freq": (1,)}),
    ],
)  # fmt: skip
@torch.no_grad()
def test_a_bare_trunk_and_tables_that_are_no_weights_are_read(
    family: str, prefix: str, tables: dict[str, Any], tmp_path: Path
) -> None:
    model = make(family, {"tie_word_embeddings": True})
    file = save(model, tmp_path) / "model.safetensors"
    weights = {name.removeprefix(prefix): weight for name, weight in load_file(file).items()}
    save_file(weights | {name: torch.ones(shape) for name, shape in tables.items()}, file)
    expected = model(rows(24)).logits
    assert (logits(load_model(tmp_path).network, rows(24)) - expected).abs().max() < 1e-4


@torch.no_grad()
def test_a_neox_file_names_its_head_by_either_name(tmp_path: Path) -> None:
    model = make("gpt_neox", {})
    file = save(model, tmp_path) / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] = weights.pop("embed_out.weight")
    save_file(weights, file, {"format": "pt"})
    expected = model(rows(24)).logits
    assert (logits(load_model(tmp_path).network, rows(24)) - expected).abs().max() < 1e-4
