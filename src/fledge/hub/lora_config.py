"""adapter_config.json of LoRA as PEFT writes it: read with types, refused where it asks for what
fledge does not compute, and written.

Names of fields: https://huggingface.co/docs/peft/package_reference/lora
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.models.language.adapters import LoRA, LowRank

# What changes what an adapter computes, beyond W + s·BA: none of it is read. Null, false, "none"
# and nothing are the same here.
_NOT_READ = (
    "alora_invocation_tokens", "arrow_config", "layer_replication", "lora_bias", "megatron_config",
    "target_parameters", "trainable_token_indices", "use_qalora", "use_bdlora", "kasa_config",
    "velora_config", "monteclora_config",
)  # fmt: skip
# Starts that take something out of the base: W is then no longer the base's own, and PEFT itself
# reads such an adapter wrong on a fresh base.
_OWN_BASE = re.compile(r"pissa.*|olora|corda|loftq|lora_ga", re.IGNORECASE)


class AdapterConfig(BaseModel):
    """What is read of an adapter_config.json."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())

    r: Annotated[int, Field(ge=1, le=2**16)] = 8
    lora_alpha: Annotated[float, Field(gt=0)] = 8.0
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    bias: str = "none"
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    init_lora_weights: bool | str | None = True
    ensure_weight_tying: bool = False
    base_model_name_or_path: str | None = None
    task_type: str | None = None

    def settings_of(self, module: str, rank: int) -> LoRA:
        """Of one target, whose A has `rank` rows. A pattern is a regular expression for the end of
        a module's name.
        """
        alpha = _match(self.alpha_pattern, module)
        return LoRA(
            rank, self.lora_alpha if alpha is None else alpha, self.use_rslora, self.use_dora,
            self.lora_dropout,
        )  # fmt: skip


def read_adapter_config(path: Path) -> AdapterConfig:
    """Raises UserError for one that fledge would compute wrongly."""
    raw = read_json(path, dict[str, Any])
    config = read_json(path, AdapterConfig)
    for pattern in (*config.rank_pattern, *config.alpha_pattern):
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"{path} has the pattern {pattern[:60]!r}, which is no regular expression "
                f"({error}): write the adapter again."
            ) from None
    used = [name for name in _NOT_READ if raw.get(name) not in (None, False, [], {}, "none")]
    if config.bias != "none":
        used.append("bias")
    start = config.init_lora_weights
    if isinstance(start, str) and _OWN_BASE.fullmatch(start):
        used.append("init_lora_weights")
    if used:
        raise UserError(
            f"{path} has {used[0]}={str(raw[used[0]])[:60]}, which fledge does not compute: merge "
            "the adapter into its base with PEFT, and give that model."
        )
    return config


def write_adapter_config(
    adapters: Sequence[LowRank],
    trained: Sequence[str],
    *,
    base: str,
    task: str | None,
    tied: bool,
) -> dict[str, Any]:
    """adapter_config.json of these adapters.

    trained: modules that learned whole, by their full names: PEFT takes a short one, as `norm`, for
    every module whose name ends so, `input_layernorm` too. tied: whether an embedding among them is
    the output layer as well. task: PEFT's task_type.
    """
    common = adapters[0].settings
    odd = [a for a in adapters if a.settings != common]
    return {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base,
        "r": common.rank,
        "lora_alpha": common.alpha,
        "lora_dropout": common.dropout,
        "use_rslora": common.stabilised,
        "use_dora": common.dora,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(a.target.name for a in adapters),
        "rank_pattern": {a.target.name: a.settings.rank for a in odd},
        "alpha_pattern": {a.target.name: a.settings.alpha for a in odd},
        "modules_to_save": sorted(trained) or None,
        "ensure_weight_tying": tied,
    }


def _match(patterns: Mapping[str, float], module: str) -> float | None:
    """The first pattern that the module's name is, or ends with after a dot."""
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return None
