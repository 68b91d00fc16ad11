"""`fledge pretrain architecture=bert` or modernbert: an encoder from raw text, by masked tokens,
pairs of texts or replaced tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from fledge.algorithms.likelihood.masked import Masked, read_rows
from fledge.algorithms.likelihood.replaced import Replaced
from fledge.errors import UserError
from fledge.evaluate.masked import judge_masked, mask_windows, read_held_out
from fledge.hub.folder import Loaded, load_encoder, save_model
from fledge.models.language.encoder import Encoder
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.language.encoder_fields import check_fields, choose_row
from fledge.recipes.language.encoder_start import make_model
from fledge.recipes.language.freeze_fields import describe_trainable
from fledge.recipes.language.text_data import keep_text
from fledge.recipes.training import trains_every_weight
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.masked_rows import MaskedPairs, MaskedWindows
from fledge.splits import Split
from fledge.text.corpus import Corpus
from fledge.text.encoder_tokenizer import make_encoder_tokenizer
from fledge.text.frames import Frame, read_frame
from fledge.text.masking import RATE, Masking, read_masking
from fledge.text.own_copy import load_whole_tokenizer
from fledge.text.own_tokenizers import OwnTokenizer
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer

MakeTokenizer = Callable[[Any, Corpus, Show], Tokenizer]
SHOWN = 48  # tokens of the sample that an evaluation writes


def pretrain_encoder(
    config: Any, start: Start, show: Show, make_tokenizer: MakeTokenizer
) -> Summary:
    """config: of `pretrain`. make_tokenizer: a fresh one of the kind that it asks for. Raises
    UserError for data, tokenizer or sizes that do not fit together.
    """
    run = start.run
    base = load_encoder(config.base) if config.base else None
    if start.new:
        check_fields(config, base)
    tokenizer, corpus = find_tokenizer(config, base, run, show, make_tokenizer)
    frame = read_frame(tokenizer)
    masking = read_masking(tokenizer, config.masking or "tokens", config.mask_rate or RATE)
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
        learner = config.learner(model, choose_precision(config))
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
        pooling = None if base is None else base.pooling
        save_model(course.run.model_folder, network, tokenizer, pooling=pooling)
        return course.finish(
            {
                "tokens": config.steps * config.tokens_per_step,
                "parameters": network.config.parameters,
            },
            held_out=judge.items,
            then=write_command("evaluate", base=course.run.folder, data=config.data),
        )


def choose_precision(config: Any) -> str:
    """bfloat16 on a GPU and float32 on a CPU, unless it is said."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if config.on().type == "cuda" else "fp32"


def find_tokenizer(
    config: Any, base: Loaded | None, run: Run | None, show: Show, make_tokenizer: MakeTokenizer
) -> tuple[Tokenizer, Corpus | None]:
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
