"""config.json of a model in Hugging Face's layout: read with types and bounds, and written.

Nothing in it is believed further than that: whether the sizes are true is asked of the weights
(`hub.weights_file`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fledge.hub.families import find_family
from fledge.hub.family import Family, ModelConfig
from fledge.json_file import check_shape, read_json
from fledge.text.tokenizer import Tokenizer

MEND = "write the model again, or use another"


def read_config(folder: Path) -> tuple[Family, ModelConfig, dict[str, Any]]:
    """The family of a model folder, and its config.json: checked, and as it stands. Raises
    UserError.
    """
    path = folder / "config.json"
    raw = read_json(path, dict[str, Any], mend=MEND)
    return *check_config(raw, path), raw


def check_config(raw: Mapping[str, Any], path: Path) -> tuple[Family, ModelConfig]:
    """The family that a config.json is of, and what is read of it. Raises UserError."""
    family = find_family(check_shape(raw, ModelConfig, str(path), mend=MEND).model_type, path)
    return family, check_shape(raw, family.config, str(path), mend=MEND)


def write_config(
    family: Family, network: Any, tokenizer: Tokenizer, scalar: bool
) -> dict[str, Any]:
    """config.json of a network of this family."""
    causal = family.causal_class or f"{family.name}ForCausalLM"
    scores = family.scalar_class or f"{family.name}ForSequenceClassification"
    return {
        "architectures": [scores if scalar else causal],
        "model_type": family.model_type,
        **tokenizer.config_ids(),
        **family.write_config(network.config),
        "dtype": str(network.unembedding.dtype).removeprefix("torch."),
        **({"num_labels": 1, **_separate_pad(tokenizer)} if scalar else {}),
    }


def _separate_pad(tokenizer: Tokenizer) -> dict[str, int]:
    """`transformers` reads a score at the last token that is no padding: where the token that ends
    a turn is the padding too, as in many models, it would read one too early. Another special token
    takes its place, and batches are to be padded with that.
    """
    if tokenizer.pad is None or tokenizer.pad not in tokenizer.ends:
        return {}
    others = sorted(set(tokenizer.special) - set(tokenizer.ends))
    return {"pad_token_id": others[0]} if others else {}
