"""A model as a folder in Hugging Face's layout: config.json, model.safetensors and the tokenizer, written whole or not at all.

Plain models are LlamaForCausalLM, those with normalised queries and keys Qwen3ForCausalLM, reward models
LlamaForSequenceClassification or Qwen3ForSequenceClassification with one label: `transformers` loads what fledge writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.models.heads import ScalarModel
from fledge.models.transformer import Transformer, TransformerConfig
from fledge.policy import TokenPolicy
from fledge.runs.model_files import check_model, how_to_have_a_model, standing_model, written_model
from fledge.tensor_file import write_tensors
from fledge.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Loaded:
    """What a model folder holds."""

    network: Transformer
    tokenizer: Tokenizer
    folder: Path
    config: dict[str, Any]  # config.json, fledge's own entries included

    def policy(self, chunk: int = 1024) -> TokenPolicy:
        return TokenPolicy(self.network, actions(self.tokenizer), chunk=chunk)


def actions(tokenizer: Tokenizer) -> Tensor:
    """The tokens a policy may say: text and the stop token, no other special.  [V] bool"""
    allowed = torch.ones(tokenizer.vocab_size, dtype=torch.bool)
    for special in (tokenizer.pad, tokenizer.begin, tokenizer.system, tokenizer.user, tokenizer.assistant):
        allowed[special] = False
    return allowed


def find_model(path: Path) -> Path:
    """The model folder a user means: a run (its model/) or a model folder itself. Raises UserError for anything else."""
    for folder in (standing_model(path / "model"), standing_model(path)):
        if (folder / "model.safetensors").is_file() and (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise UserError(f"{path} does not exist: give a run such as runs/pretrain, or a model folder.")
    if (path / "model.safetensors.index.json").exists():
        raise UserError(
            f"the model in {path} is in several shards: save it again in one file, model.safetensors, which fledge reads."
        )
    raise UserError(f"{path} holds no model (model.safetensors with its config.json): {how_to_have_a_model(path)}")


def save_model(
    folder: Path, network: Transformer, tokenizer: Tokenizer, *, scalar: ScalarModel | None = None, **notes: Any
) -> None:
    """Write beside, sync, then rename. `notes` go into config.json as they are. Raises OSError, the earlier folder intact."""
    weights = {name: tensor.contiguous() for name, tensor in _to_hugging_face(network)}
    if scalar is not None:
        weights["score.weight"] = scalar.head.linear.weight.detach().cpu().contiguous()
    config = _hugging_face_config(network.config, tokenizer, scalar is not None) | notes
    with written_model(folder) as beside:
        write_tensors(beside / "model.safetensors", weights, {"format": "pt"})
        (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        tokenizer.save(beside)


def load_model(path: Path) -> Loaded:
    """The model of a run or a model folder.

    Raises UserError for one that is missing, damaged or not of a known kind, and for a reward model.
    """
    loaded = _load(find_model(path))
    if _is_scalar(loaded):
        raise UserError(
            f"{path} is a reward model, which scores texts and writes none: give the model it was made from."
        )
    return loaded


def _is_scalar(loaded: Loaded) -> bool:
    return loaded.config.get("architectures", [""])[0].endswith("ForSequenceClassification")


def _load(folder: Path) -> Loaded:
    check_model(folder)
    config = _read_config(folder)
    tokenizer = load_tokenizer(folder)
    network = Transformer(_our_config(config, folder), border=tokenizer.begin)
    weights = _read_weights(folder)
    network.load_state_dict(dict(_from_hugging_face(weights, network, folder)))
    return Loaded(network, tokenizer, folder, config)


def load_reward_model(path: Path) -> tuple[ScalarModel, Loaded]:
    """A reward model. Raises UserError if the folder holds another kind of model."""
    loaded = _load(find_model(path))
    weights = _read_weights(loaded.folder)
    if not _is_scalar(loaded) or "score.weight" not in weights:
        raise UserError(f"{path} is not a reward model: make one with `fledge reward`.")
    model = ScalarModel(loaded.network)
    model.head.linear.weight.data.copy_(weights["score.weight"])
    return model, loaded


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise UserError(
            f"{folder / 'config.json'} is damaged ({error}): write the model again, or use another run."
        ) from error


def _read_weights(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise UserError(
            f"{folder / 'model.safetensors'} is damaged ({error}): write it again, or use another run."
        ) from error


def _hugging_face_config(c: TransformerConfig, tokenizer: Tokenizer, scalar: bool) -> dict[str, Any]:
    family = "Qwen3" if c.qk_norm else "Mistral" if c.window else "Llama"
    window = {"sliding_window": c.window, "use_sliding_window": True, "max_window_layers": 0} if c.window else {}
    return {
        "architectures": [f"{family}For{'SequenceClassification' if scalar else 'CausalLM'}"],
        "model_type": family.lower(),
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_width,
        "max_position_embeddings": c.context,
        "rms_norm_eps": c.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_theta},
        "tie_word_embeddings": c.tied,
        "hidden_act": "silu",
        "attention_bias": False,
        "dtype": "float32",
        "bos_token_id": tokenizer.begin,
        "eos_token_id": tokenizer.end,
        "pad_token_id": tokenizer.pad,
    } | (window | ({"num_labels": 1} if scalar else {}))


def _our_config(config: dict[str, Any], folder: Path) -> TransformerConfig:
    kind = config.get("model_type")
    if kind not in ("llama", "mistral", "qwen3"):
        raise UserError(f"{folder} holds a model of type {kind!r}: fledge reads llama, mistral and qwen3.")
    # earlier versions of `transformers` wrote rope_theta and rope_scaling side by side
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10_000.0)} | (
        config.get("rope_scaling") or {}
    )
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if scaling != "default":
        raise UserError(f"{folder} scales its rotary positions ({scaling}): fledge reads unscaled ones.")
    if config.get("hidden_act", "silu") != "silu":
        raise UserError(f"{folder} has hidden_act={config['hidden_act']}: fledge reads models with hidden_act=silu.")
    slides = kind == "mistral" or config.get("use_sliding_window", False)
    if kind == "qwen3" and slides and config.get("max_window_layers", 0):
        raise UserError(
            f"{folder} slides its window in some layers only: fledge reads models that do in all or in none."
        )
    try:
        return TransformerConfig(
            vocab_size=config["vocab_size"],
            context=config["max_position_embeddings"],
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
            mlp_width=config["intermediate_size"],
            tied=config.get("tie_word_embeddings", False),
            qk_norm=kind == "qwen3",
            rope_theta=rope["rope_theta"],
            norm_eps=config["rms_norm_eps"],
            head_width=config.get("head_dim") or 0,
            window=(config.get("sliding_window") or 0) if slides else 0,
        )
    except KeyError as error:
        raise UserError(
            f"{folder / 'config.json'} has no {error}: it must be the config.json of a {kind} model."
        ) from error


# our name -> their name, one to one
_SAME = {
    "attention.out.weight": "self_attn.o_proj.weight",
    "attention.q_norm.weight": "self_attn.q_norm.weight",
    "attention.k_norm.weight": "self_attn.k_norm.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "down.weight": "mlp.down_proj.weight",
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
# our fused name -> the names it joins, along the first axis
_FUSED = {
    "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
}


def _parts(name: str) -> tuple[str, str]:
    """blocks.3.down.weight -> "model.layers.3.", "down.weight"."""
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    return (f"model.layers.{found[1]}.", found[2]) if found else ("", name)


def _sizes(config: TransformerConfig, ours: str) -> list[int]:
    if ours == "gate_up.weight":
        return [config.mlp_width] * 2
    return [config.heads * config.head_width, *[config.kv_heads * config.head_width] * 2]


def _to_hugging_face(network: Transformer) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in network.state_dict().items():
        prefix, ours = _parts(name)
        tensor = tensor.detach().cpu()
        if ours in _FUSED:
            pieces = tensor.split(_sizes(network.config, ours))
            yield from ((prefix + theirs, piece) for theirs, piece in zip(_FUSED[ours], pieces, strict=True))
        else:
            yield prefix + _SAME[ours], tensor


def _from_hugging_face(weights: dict[str, Tensor], network: Transformer, folder: Path) -> Iterator[tuple[str, Tensor]]:
    used = {"score.weight", *(("lm_head.weight",) if network.config.tied else ())}
    for name, own in network.state_dict().items():
        prefix, ours = _parts(name)
        wanted = [prefix + theirs for theirs in _FUSED.get(ours, (_SAME.get(ours, ours),))]
        used.update(wanted)
        missing = [theirs for theirs in wanted if theirs not in weights]
        if missing:
            raise UserError(
                f"{folder / 'model.safetensors'} has no {missing[0]}: the weights do not fit their config.json."
            )
        tensor = torch.cat([weights[theirs] for theirs in wanted]).to(own.dtype)
        if tensor.shape != own.shape:
            raise UserError(
                f"{wanted[0]} in {folder / 'model.safetensors'} makes {tuple(tensor.shape)}, config.json asks for {tuple(own.shape)}."
            )
        yield name, tensor
    left = sorted(name for name in weights.keys() - used if not name.endswith("rotary_emb.inv_freq"))
    if left:
        raise UserError(
            f"{folder / 'model.safetensors'} has {left[0]}, which fledge's network has no place for: it would be another model."
        )
