"""Virtual tokens in PEFT's layout, prefix tuning and prompt tuning: one tensor,
`prompt_embeddings`, beside an adapter_config.json that says how it is cut.

Names of fields: https://huggingface.co/docs/peft/package_reference/prefix_tuning. Where PEFT made
the prefix by a small network (`prefix_projection`), what it stores is the prefix that came out:
that is read, and learns on by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.models.language.virtual_tokens import Prefix, Prompt, VirtualTokens

TENSOR = "prompt_embeddings"
PEFT_TYPES = ("PREFIX_TUNING", "PROMPT_TUNING")


class PromptedConfig(BaseModel):
    """What is read of an adapter_config.json."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())

    peft_type: Literal["PREFIX_TUNING", "PROMPT_TUNING"]
    num_virtual_tokens: Annotated[int, Field(ge=1, lt=2**31)]
    num_transformer_submodules: int | None = 1
    base_model_name_or_path: str | None = None
    task_type: str | None = None


def read_prompted_config(path: Path) -> PromptedConfig:
    """Raises UserError for one that fledge does not compute."""
    config = read_json(path, PromptedConfig)
    if config.num_transformer_submodules not in (None, 1):
        raise UserError(
            f"{path} has num_transformer_submodules={config.num_transformer_submodules}, which is "
            "of a model with encoder and decoder: fledge reads adapters of decoders alone."
        )
    return config


def make_virtual(
    network: Any, config: PromptedConfig, held: dict[str, Tensor], file: Path
) -> VirtualTokens:
    """Out of the tensors of `file`, for this Transformer. Raises UserError for another model's."""
    c, n = network.config, config.num_virtual_tokens
    is_prefix = config.peft_type == "PREFIX_TUNING"
    wide = c.layers * 2 * c.kv_heads * c.head_width if is_prefix else c.width
    tensor = held.get(TENSOR)
    if tensor is None:
        raise UserError(f"{file} holds no {TENSOR}: write the adapter again.")
    if more := min(held.keys() - {TENSOR}, default=None):
        raise UserError(
            f"{file} has {more} beside its virtual tokens, which fledge does not compute: train "
            "the virtual tokens alone."
        )
    if tuple(tensor.shape) != (n, wide):
        raise UserError(
            f"{TENSOR} in {file} is {tuple(tensor.shape)}, and {n} virtual tokens of the base are "
            f"{(n, wide)}: the adapter is another model's."
        )
    if n >= c.context:
        raise UserError(
            f"{file} has {n} virtual tokens, and the base's context holds {c.context} tokens: the "
            "adapter is another model's."
        )
    return (Prefix if is_prefix else Prompt)(tensor)


def write_prompted_config(network: Any, *, base: str, scalar: bool) -> dict[str, Any]:
    """adapter_config.json of the network's virtual tokens."""
    c, is_prefix = network.config, isinstance(network.virtual, Prefix)
    common = {
        "task_type": "SEQ_CLS" if scalar else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "num_virtual_tokens": network.virtual.number,
        "num_transformer_submodules": 1,
        "num_layers": c.layers,
    }
    if is_prefix:
        return common | {
            "peft_type": "PREFIX_TUNING",
            "token_dim": c.kv_heads * c.head_width,
            "num_attention_heads": c.kv_heads,
            "encoder_hidden_size": c.kv_heads * c.head_width,
            "prefix_projection": False,
        }
    return common | {
        "peft_type": "PROMPT_TUNING",
        "token_dim": c.width,
        "num_attention_heads": c.heads,
        "prompt_tuning_init": "RANDOM",  # where it starts from is not asked of one that is read
    }
