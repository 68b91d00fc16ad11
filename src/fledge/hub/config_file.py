"""config.json of a model in Hugging Face's layout: read with types and bounds, understood as
`transformers` does, and written.

Nothing in it is believed further than that: whether the sizes are true is asked of the weights
(`models.weights_file`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.json_file import check_shape, read_json
from fledge.models.language.transformer import TransformerConfig
from fledge.text.tokenizer import Tokenizer

MEND = "write the model again, or use another"
Size = Annotated[int, Field(ge=1, lt=2**31)]
Window = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())


class Rope(_Part):
    """How positions turn; earlier versions of `transformers` wrote `type` and kept the theta
    beside.
    """

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Positive | None = None


class RewardScale(_Part):
    """Of a reward model of fledge's: its scores' mean and standard deviation."""

    mean: float
    std: Positive


class ModelConfig(_Part):
    """What fledge reads of a config.json. What is missing has the value that `transformers` 5.24
    gives it.
    """

    model_type: Literal["llama", "mistral", "qwen3"]
    architectures: list[str] | None = None
    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    max_position_embeddings: Size
    rms_norm_eps: Annotated[float, Field(ge=0, lt=1e30)]
    rope_parameters: Rope | None = None
    rope_scaling: Rope | None = None
    rope_theta: Positive | None = None
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    sliding_window: Window | None = None
    use_sliding_window: bool = False
    max_window_layers: Window | None = None
    layer_types: list[str] | None = None
    fledge_reward: RewardScale | None = None

    @property
    def scalar(self) -> bool:
        """Whether it is a reward model's."""
        return bool(self.architectures) and self.architectures[0].endswith(
            "ForSequenceClassification"
        )


def read_config(folder: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """config.json of a model folder, checked, and as it stands. Raises UserError."""
    path = folder / "config.json"
    raw = read_json(path, dict[str, Any], mend=MEND)
    return check_shape(raw, ModelConfig, str(path), mend=MEND), raw


def network_config(config: ModelConfig, folder: Path) -> TransformerConfig:
    """The sizes of fledge's network. Raises UserError for what it cannot compute."""
    if config.hidden_act != "silu":
        raise UserError(
            f"{folder} has hidden_act={config.hidden_act}: fledge reads models with "
            "hidden_act=silu."
        )
    rope = config.rope_parameters or Rope()
    scaling = config.rope_scaling or Rope()
    kinds = (rope.rope_type, rope.type, scaling.rope_type, scaling.type)
    kind = next((kind for kind in kinds if kind not in (None, "default")), None)
    if kind is not None:
        raise UserError(
            f"{folder} scales its rotary positions ({kind}): fledge reads unscaled ones."
        )
    qwen = config.model_type == "qwen3"
    unsaid = 128 if qwen and "head_dim" not in config.model_fields_set else 0
    try:
        return TransformerConfig(
            vocab_size=config.vocab_size,
            context=config.max_position_embeddings,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            mlp_width=config.intermediate_size,
            tied=config.tie_word_embeddings,
            qk_norm=qwen,
            rope_theta=rope.rope_theta or config.rope_theta or 10_000.0,
            norm_eps=config.rms_norm_eps,
            head_width=config.head_dim or unsaid,
            window=_window(config, folder),
        )
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from error


def _window(config: ModelConfig, folder: Path) -> int:
    """0 where every token looks at all before it. Raises UserError where some layers slide and
    others do not.
    """
    window = 4096 if "sliding_window" not in config.model_fields_set else config.sliding_window or 0
    if config.model_type == "mistral":
        return window
    if config.model_type == "llama" or not config.use_sliding_window or not window:
        return 0
    if config.layer_types is not None:
        slides = {kind == "sliding_attention" for kind in config.layer_types}
    else:
        first = 28 if config.max_window_layers is None else config.max_window_layers
        slides = (
            {False}
            if first >= config.num_hidden_layers
            else {True}
            if first == 0
            else {False, True}
        )
    if len(slides) > 1:
        raise UserError(
            f"{folder} slides its window in some layers only: fledge reads models that do in all "
            "or in none."
        )
    return window if True in slides else 0


def written_config(c: TransformerConfig, tokenizer: Tokenizer, scalar: bool) -> dict[str, Any]:
    """config.json of a network of fledge's: Llama, with normalised queries and keys Qwen3, with a
    window Mistral.
    """
    family = "Qwen3" if c.qk_norm else "Mistral" if c.window else "Llama"
    window = (
        {"sliding_window": c.window, "use_sliding_window": True, "max_window_layers": 0}
        if c.window
        else {}
    )
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
