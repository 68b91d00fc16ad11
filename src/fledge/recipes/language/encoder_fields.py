"""The fields of `pretrain` that an encoder has, and which of the others it has not."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, Field

from fledge.data_names import split_sources
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.recipes.language.count import NgramFields
from fledge.recipes.language.expert_fields import ExpertFields
from fledge.recipes.language.objective_fields import EncoderObjective, ObjectiveFields
from fledge.recipes.language.packing_fields import PackingFields
from fledge.text.masking import RATE

OBJECTIVES = get_args(EncoderObjective)

# Fields of `pretrain` that mean nothing here, unless they are left at this.
IDLE = {
    "carry": (False,),
    "backward": (False,),
    "compile": ("auto", "no"),
    "shard": ("none",),
    "tensor_parallel": (1,),
    "parameterization": ("standard",),
}


class EncoderFields(BaseModel):
    """Of architecture=bert and modernbert."""

    masking: Literal["tokens", "words", "spans"] | None = Field(
        default=None,
        description="of an encoder: what is masked whole, tokens (by default), words, or spans of "
        "words",
    )
    mask_rate: float | None = Field(
        default=None, gt=0, lt=1, description="of an encoder: the share of tokens that are foretold"
        f" ({RATE} by default)",
    )  # fmt: skip


def check_idle(config: Any) -> None:
    """Raises UserError for fields of encoders given to another model."""
    idle = sorted(EncoderFields.model_fields.keys() & config.model_fields_set)
    if config.objective in OBJECTIVES:
        idle.append(f"objective={config.objective}")
    if idle:
        raise UserError(
            f"{', '.join(idle)}: of an encoder, which was not asked for: give architecture=bert or "
            "modernbert, or leave them out."
        )


def check_fields(config: Any, base: Loaded | None) -> None:
    """Raises UserError for fields that would do nothing, or do not go together."""
    for name, usual in IDLE.items():
        value = getattr(config, name)
        if value not in usual:
            raise UserError(f"{name}={value} was given, which an encoder has not: leave it out.")
    if config.objective not in (None, *OBJECTIVES):
        raise UserError(
            f"objective={config.objective} is none of an encoder's: give {', '.join(OBJECTIVES)}."
        )
    others = (NgramFields, ExpertFields, ObjectiveFields, PackingFields)
    foreign = {name for each in others for name in each.model_fields} - {"objective"}
    if idle := sorted(foreign & config.model_fields_set):
        raise UserError(f"{', '.join(idle)} was given, which an encoder has not: leave it out.")
    if len(split_sources(config.data)) > 1:
        raise UserError(
            f"data={config.data} has weights, and an encoder learns from one text: leave them out."
        )
    if base is not None:
        given = config.list_given("tokenizer", "vocab_size")
        if given:
            raise UserError(
                f"base={config.base} brings its own sizes and tokenizer: leave out "
                f"{', '.join(given)}."
            )
    modern = config.architecture == "modernbert" if base is None else base.network.config.norm_first
    if modern and config.objective in ("nsp", "rtd"):
        raise UserError(
            f"objective={config.objective} was given with a modern encoder, which has no head for "
            "it: choose architecture=bert, or objective=mlm."
        )
    if base is not None and config.objective == "nsp" and base.network.config.family != "bert":
        raise UserError(
            f"objective=nsp goes on with a BERT, and {config.base} is none: leave it out."
        )
    if base is not None and config.objective == "rtd" and not base.network.config.replaced:
        raise UserError(
            f"objective=rtd goes on with an ELECTRA, and {config.base} is none: leave it out, or "
            "leave base out."
        )
    if config.freeze and base is None:
        raise UserError(
            f"freeze={config.freeze} keeps weights of a base as they are, and a fresh model has "
            "none: give base=, or leave it out."
        )


def choose_row(config: Any, context: int) -> int:
    """Raises UserError for rows that do not fit the context, or do not make up a step."""
    row_tokens = config.row_tokens or context
    if row_tokens > context:
        raise UserError(
            f"row_tokens={row_tokens} is more than the model's context of {context} tokens."
        )
    if row_tokens < 4:
        raise UserError(f"row_tokens={row_tokens}: a row of an encoder takes 4 tokens or more.")
    if config.tokens_per_step % row_tokens:
        raise UserError(
            f"tokens_per_step={config.tokens_per_step} is no multiple of the {row_tokens} tokens "
            "of a row."
        )
    return row_tokens
