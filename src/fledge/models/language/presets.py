"""Sizes by name, each field of which a run may set for itself."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from fledge.errors import UserError
from fledge.models.language.encoder_config import EncoderConfig, make_modern
from fledge.models.language.encoder_decoder_config import EncoderDecoderConfig, Style
from fledge.models.language.recurrent_config import Cell, RecurrentConfig
from fledge.models.language.transformer_config import TransformerConfig

# parameters without the embeddings stand behind each line
PRESETS: dict[str, dict[str, int | bool | float]] = {
    # 0.15 M: learns words in seconds
    "nano": {
        "layers": 3,
        "width": 64,
        "heads": 4,
        "kv_heads": 4,
        "context": 128,
    },
    "tiny": {"layers": 4, "width": 128, "heads": 4, "kv_heads": 4, "context": 256},  # 0.8 M
    "mini": {"layers": 6, "width": 256, "heads": 4, "kv_heads": 4, "context": 256},  # 4.7 M
    "small": {"layers": 12, "width": 512, "heads": 8, "kv_heads": 4, "context": 1024},  # 34 M
    # 78 M
    "base": {
        "layers": 12,
        "width": 768,
        "heads": 12,
        "kv_heads": 4,
        "context": 2048,
        "tied": False,
    },
    # 278 M
    "large": {
        "layers": 24,
        "width": 1024,
        "heads": 16,
        "kv_heads": 8,
        "context": 2048,
        "tied": False,
    },
}


def transformer_config(preset: str, vocab_size: int, **fields: Any) -> TransformerConfig:
    """The preset's sizes with the given fields (None: not given) in their place. Raises UserError
    for an unknown name.
    """
    sizes = find_preset(preset)
    given = {name: value for name, value in fields.items() if value is not None}
    if "heads" in given and "kv_heads" not in given:
        given["kv_heads"] = given["heads"]
    return TransformerConfig(**{**sizes, **given, "vocab_size": vocab_size})


def recurrent_config(preset: str, vocab_size: int, cell: Cell, **fields: Any) -> RecurrentConfig:
    """As many layers, as wide, as the preset's transformer, with the given fields in their place.
    Raises UserError for an unknown name, and for fields that only a transformer has.
    """
    sizes = find_preset(preset)
    own = {field.name for field in dataclasses.fields(RecurrentConfig)}
    given = {name: value for name, value in fields.items() if value is not None}
    idle = sorted(name for name in given if name not in own)
    if cell != "mingru" and "mlp_width" in given:
        idle.append("mlp_width")
    if idle:
        raise UserError(
            f"architecture={cell} has no {' and no '.join(idle)}: leave "
            f"{'it' if len(idle) == 1 else 'them'} out."
        )
    known = {name: value for name, value in sizes.items() if name in own}
    return RecurrentConfig(**{**known, **given, "vocab_size": vocab_size, "cell": cell})


def encoder_config(
    preset: str, vocab_size: int, architecture: str, above: Mapping[str, Any], **fields: Any
) -> EncoderConfig:
    """As many layers, as wide, as the preset's transformer, with the given fields in their place.
    architecture: bert or modernbert; above: fields of what stands on it. Raises UserError for an
    unknown name, and for fields that an encoder has not.
    """
    own = {"layers", "width", "heads", "mlp_width", "context"}
    own |= {"rope_theta", "tied"} if architecture == "modernbert" else set()
    given = {name: value for name, value in fields.items() if value is not None}
    if idle := sorted(given.keys() - own):
        raise UserError(
            f"architecture={architecture} has no {' and no '.join(idle)} to choose: leave "
            f"{'it' if len(idle) == 1 else 'them'} out."
        )
    sizes = {name: value for name, value in find_preset(preset).items() if name in own}
    sizes = {**sizes, "tied": given.get("tied", True), **given, **above}
    if architecture == "modernbert":
        return make_modern(vocab_size, **sizes)
    return EncoderConfig(vocab_size, **sizes)


def find_preset(preset: str) -> dict[str, Any]:
    """Raises UserError for an unknown name."""
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f" Perhaps you meant {near[0]}." if near else ""
        raise UserError(
            f"model={preset} is no preset: it must be one of {', '.join(PRESETS)}.{hint}"
        )
    return PRESETS[preset]


def encoder_decoder_config(
    preset: str, vocab_size: int, style: Style, start: int, **fields: Any
) -> EncoderDecoderConfig:
    """As wide as the preset's transformer, with half of its layers on either side, and the given
    fields in their place. Raises UserError for an unknown name, and for fields that only a decoder
    has.
    """
    sizes = find_preset(preset)
    given = {name: value for name, value in fields.items() if value is not None}
    own = {"layers", "width", "heads", "mlp_width", "context"}
    own |= {"tied"} if style == "t5" else set()
    if idle := sorted(name for name in given if name not in own):
        raise UserError(
            f"architecture={style} has no {' and no '.join(idle)}: leave "
            f"{'it' if len(idle) == 1 else 'them'} out."
        )
    layers = given.pop("layers", max(1, int(sizes["layers"]) // 2))
    tied = given.pop("tied", True)
    known = {name: sizes[name] for name in ("width", "heads", "context")}
    of_style: dict[str, Any] = {
        "t5": {"gated": True, "activation": "gelu_tanh", "scaled_output": tied},
        "bart": {"gated": False, "activation": "gelu", "norm_eps": 1e-5},
    }[style]
    return EncoderDecoderConfig(
        vocab_size=vocab_size, start=start, style=style, encoder_layers=layers,
        decoder_layers=layers, tied=tied, **{**known, **of_style, **given},
    )  # fmt: skip
