"""`fledge pretrain architecture=bert` or modernbert: an encoder from raw text, by masked tokens,
pairs of texts or replaced tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field

from fledge.algorithms.likelihood.masked import Masked, MaskedModel, read_rows
from fledge.algorithms.likelihood.replaced import Replaced
from fledge.data_names import split_sources
from fledge.errors import UserError
from fledge.evaluate.masked import judge_masked, mask_windows, read_held_out
from fledge.hub.folder import Loaded, load_encoder, save_model
from fledge.models.language.encoder import Encoder, with_heads
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.language.count import NgramFields
from fledge.recipes.language.freeze_fields import describe_trainable
from fledge.recipes.language.text_data import keep_text
from fledge.recipes.training import trains_every_weight
from fledge.runs.show import Show
from fledge.sample.masked_rows import MaskedPairs, MaskedWindows
from fledge.seeds import generator_for
from fledge.splits import Split
from fledge.text.encoder_tokenizer import make_encoder_tokenizer
from fledge.text.frames import Frame, read_frame
from fledge.text.masking import RATE, Masking, read_masking
from fledge.text.own_copy import load_whole_tokenizer
from fledge.text.own_tokenizers import OwnTokenizer
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer

SHOWN = 48  # tokens of the sample that an evaluation writes
SMALLER = 4  # the generator's width is this part of the encoder's (Clark et al. 2020, §3.2)

# Fields of `pretrain` that mean nothing here, unless they are left at this.
IDLE = {"carry": (False,), "compile": ("auto", "no"), "shard": ("none",), "tensor_parallel": (1,)}


class EncoderFields(BaseModel):
    """Of architecture=bert and modernbert."""

    objective: Literal["mlm", "nsp", "rtd"] | None = Field(
        default=None,
        description="of an encoder: mlm, masked tokens (by default); nsp, and which text follows "
        "another; rtd, which tokens a small generator has replaced (ELECTRA)",
    )
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
    if idle:
        raise UserError(
            f"{', '.join(idle)}: of an encoder, which was not asked for: give architecture=bert or "
            "modernbert, or leave them out."
        )


def pretrain_encoder(config: Any, start: Start, show: Show, make_tokenizer: Any) -> Summary:
    """Raises UserError for data, tokenizer or sizes that do not fit together."""
    run = start.run
    base = load_encoder(config.base) if config.base else None
    if start.new:
        check_fields(config, base)
    tokenizer, corpus = find_tokenizer(config, base, run, show, make_tokenizer)
    frame, masking = read_frame(tokenizer), read_masking(
        tokenizer, config.masking or "tokens", config.mask_rate or RATE
    )  # fmt: skip
    model = make_model(config, base, tokenizer, frame)
    network: Encoder = model.network
    row_tokens = choose_row(config, network.config.context)
    from_base = [config.base] if config.base else []
    only_begins = trains_every_weight(model)
    with start.begin(
        config, parents=[] if only_begins else from_base,
        initial=from_base if only_begins else [], copied=[config.data],
    ) as course:  # fmt: skip
        again = None if corpus is None else lambda: corpus
        text = keep_text(course.run, again, tokenizer, show.line)
        if min(len(text["validation"]), len(text["test"])) <= frame.count() + 1:
            raise UserError(
                f"{config.data} is too short to hold out a part to steer by and one to test by: "
                "give more text."
            )
        rows = MaskedPairs if network.config.next else MaskedWindows
        sampler = rows(
            text["train"], frame, masking, rows_per_step=config.tokens_per_step // row_tokens,
            context=row_tokens, seed=config.seed,
        )  # fmt: skip
        samples = partial(write_filled, course, network, tokenizer, text, frame, masking)
        judge = judge_masked(
            network, text, frame, masking, row_tokens, config.evaluation_rows, samples
        )
        learner = config.learner(model, settle(course, config))
        if model.generator is None:
            algorithm = Masked(model, learner, course.stopwatch)
        else:
            sayable = torch.zeros(network.config.vocab_size, dtype=torch.bool)
            sayable[masking.ordinary] = True
            algorithm = Replaced(model, learner, course.stopwatch, sayable)
        course.say(
            f"{network.config.parameters / 1e6:.2f} M parameters"
            f"{describe_trainable(network)} on {len(text['train']) / 1e6:.2f} M tokens "
            f"({text['train'].bytes / 1e6:.1f} MB of text, {tokenizer.kind})"
        )
        course.fit(algorithm, sampler, [judge], figure_unit=" nats")
        save_model(
            course.run.model_folder, network, tokenizer, pooling=None if base is None
            else base.pooling,
        )  # fmt: skip
        return course.finish(
            {
                "tokens": config.steps * config.tokens_per_step,
                "parameters": network.config.parameters,
            },
            held_out=judge.items,
            then=write_command("evaluate", base=course.run.folder, data=config.data),
        )


def settle(course: Course, config: Any) -> str:
    """The precision: float32 on a CPU and bfloat16 on a GPU, unless it is said."""
    chosen = config.precision
    if chosen == "auto":
        chosen = "bf16" if config.on().type == "cuda" else "fp32"
    return chosen


def check_fields(config: Any, base: Loaded | None) -> None:
    """Raises UserError for fields that would do nothing, or do not go together."""
    for name, usual in IDLE.items():
        value = getattr(config, name)
        if value not in usual:
            raise UserError(f"{name}={value} was given, which an encoder has not: leave it out.")
    idle = sorted(NgramFields.model_fields.keys() & config.model_fields_set)
    if idle:
        raise UserError(f"{', '.join(idle)}: of architecture=ngram, which was not given.")
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


def find_tokenizer(
    config: Any, base: Loaded | None, run: Any, show: Show, make_tokenizer: Any
) -> tuple[Tokenizer, Any]:
    """The run's, the base's, or a fresh one with a mask; and the text, unless the run's own copy of
    it is whole.
    """
    tokenizer = load_whole_tokenizer(run.folder / "shards") if run else None
    if tokenizer is not None:
        return tokenizer, None
    corpus = config.read(config.data, show.line)
    tokenizer = base.tokenizer if base else make_tokenizer(config, corpus, show)
    if isinstance(tokenizer, OwnTokenizer):
        tokenizer = make_encoder_tokenizer(tokenizer)
    return tokenizer, corpus


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


def list_heads(objective: str, architecture: str) -> dict[str, Any]:
    """Fields of the config for what is learned."""
    if objective == "rtd":
        return {"replaced": True, "pooler_activation": "gelu", "family": "electra"}
    heads = {"masked": True, "transform": True, "family": architecture}
    return heads | ({"next": True, "pooler": True} if objective == "nsp" else {})


def make_model(config: Any, base: Loaded | None, tokenizer: Tokenizer, frame: Frame) -> MaskedModel:
    """The base under the heads that are trained, or a fresh encoder. Raises UserError for sizes
    that do not fit, and for weights that cannot be frozen.
    """
    border, seed, device = frame.before[0], config.seed, config.on()
    if base is None:
        objective = config.objective or "mlm"
        network = config.make_encoder(
            tokenizer.vocab_size, list_heads(objective, config.architecture), border=border,
            seed=seed, device=device,
        )  # fmt: skip
    else:
        network = stand_heads(base.network, config.objective, seed)
        network.border = border
        config.freeze_parts(network)
    generator = make_generator(network, seed) if network.config.replaced else None
    config.set_checkpointing(network)
    return MaskedModel(network, generator).to(device)


def stand_heads(network: Encoder, objective: str | None, seed: int) -> Encoder:
    """A base with what it lacks for the objective; without one, for what it was trained on."""
    c = network.config
    if c.replaced and objective in (None, "rtd"):
        return network
    heads: dict[str, Any] = {
        "masked": True, "transform": True, "replaced": False, "classifier": "", "labels": (),
    }  # fmt: skip
    if objective == "nsp" or (objective is None and c.next):
        heads |= {"next": True, "pooler": True}
    elif not c.norm_first:
        heads |= {"next": False}
    return with_heads(network, heads, generator_for(seed, "weights", "heads"))


def make_generator(network: Encoder, seed: int) -> Encoder:
    """A quarter as wide, of heads as wide where they can be."""
    c = network.config
    heads = max(1, c.heads // SMALLER)
    sizes = replace(
        c, width=heads * c.head_width, heads=heads, mlp_width=max(1, c.mlp_width // SMALLER),
        embedding_width=0, replaced=False, masked=True, transform=True, pooler=False,
    )  # fmt: skip
    return Encoder(sizes, network.border, generator_for(seed, "weights", "generator"))


@torch.no_grad()
def write_filled(
    course: Course,
    network: Encoder,
    tokenizer: Tokenizer,
    text: Mapping[Split, TokenStream],
    frame: Frame,
    masking: Masking,
    step: int,
) -> None:
    """What the encoder puts in the place of masked tokens of a held-out text, the same at every
    evaluation.
    """
    if not network.config.masked:
        return
    shown = min(SHOWN, network.config.context)
    windows = read_held_out(text["validation"], frame, shown, 1)
    for row in mask_windows(windows, masking):
        row = row.to(network.unembedding.device)
        hidden = read_rows(network, row, row.tokens)
        best = network.masked_logits(hidden[row.chosen]).argmax(-1)
        filled = row.target.masked_scatter(row.chosen, best)[0].tolist()
        course.run.samples.write({
            "step": step,
            "prompt": spell_masked(tokenizer, row.tokens[0].tolist(), masking.mask),
            "completion": tokenizer.decode(filled),
        })  # fmt: skip


def spell_masked(tokenizer: Tokenizer, ids: list[int], mask: int) -> str:
    """The text with [mask] where a token is masked."""
    parts: list[list[int]] = [[]]
    for number in ids:
        if number == mask:
            parts.append([])
        else:
            parts[-1].append(number)
    return "[mask]".join(tokenizer.decode(part) for part in parts)
