"""`fledge evaluate`: bits per byte on text, exact match on a task."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from fledge.errors import Diverged, UserError
from fledge.evaluate.judging import judge_task
from fledge.evaluate.likelihood import measure_likelihood, read_documents
from fledge.evaluate.masked import (
    mask_windows,
    measure_masked,
    measure_replaced,
    replace_windows,
)
from fledge.evaluate.masked import read_documents as read_encoder_documents
from fledge.hub.folder import Loaded, is_encoder, load_encoder
from fledge.recipes.family_field import FamilyField
from fledge.recipes.language.judge_fields import JudgeFields, LengthFields, PerhapsTaskName
from fledge.recipes.language.rows import ReadingFields
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import TextFields
from fledge.recipes.look.evaluate_labels import evaluate_labels, labels_rows
from fledge.recipes.look.sound_model import load_sound_model
from fledge.runs.show import Show
from fledge.tasks.named import draw_questions
from fledge.text.documents import AnyDocument
from fledge.text.frames import read_frame
from fledge.text.masking import read_masking


class EvaluateConfig(FamilyField, LengthFields, JudgeFields, ReadingFields, TextFields):
    """Measure a model: bits per byte on text it is given, exact match and score on a task's test
    prompts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Path = Field(description="the run or model folder to measure")
    data: str | None = Field(
        default=None,
        description=(
            "text: a .txt, .md, .jsonl (each also .gz), a folder, or python (its held-out part); "
            "of an encoder that labels, rows as it was tuned on"
        ),
    )
    whole: bool = Field(
        default=False, description="measure on all of the text, not on its held-out test part"
    )
    task: PerhapsTaskName = Field(
        default=None,
        description=(
            "reverse, sort, numbers, add, upper, last, words, or a .jsonl or .py of your own"
        ),
    )
    prompts: int = Field(default=512, ge=1, description="test prompts of the task")
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer to a task")
    seed: int = Field(default=0, ge=0, description="of the task's prompts")


def evaluate(config: EvaluateConfig, show: Show) -> dict[str, Any]:
    """Raises UserError where neither data nor a task is given, or they cannot be read; Diverged
    where no number comes out.
    """
    if config.data is None and config.task is None:
        raise UserError(
            "evaluate needs data=FILE (bits per byte) or task=NAME (exact match), or both."
        )
    config.use_family()
    if config.task is None and labels_rows(config.base):
        return evaluate_labels(config, show)
    if is_encoder(config.base):
        return evaluate_encoder(config, show)
    model = load_sound_model(config.base)
    figures: dict[str, Any] = {"base": str(config.base)}
    if config.data is not None:
        corpus = config.read(config.data, show.line)
        test = (document for _, document in corpus.split("test"))
        figures |= measure_text_loss(model, corpus.documents() if config.whole else test)
        part = config.data if config.whole else f"the test part of {config.data}"
        size = figures["bytes"]
        show.line(
            f"{figures['bits_per_byte']:.3f} bits per byte ({figures['nats_per_token']:.3f} nats "
            f"per token) on {size:,} bytes of {part}"
            + ("" if config.whole or size >= FEW else "; whole=true measures on all of it")
        )
    if config.task is not None:
        task = open_task(config, model.tokenizer, model.network.config.context, show)
        examples = draw_questions(task, "test", config.prompts)
        figures |= judge_task(
            model.policy(), model.tokenizer, task, examples, config.max_new_tokens
        )
        figures["prompts"] = len(examples)
        different = "1 prompt" if len(examples) == 1 else f"{len(examples)} different prompts"
        part = (
            f"the test part of {config.task}"
            if task.holds_out
            else f"{config.task}, which holds none out"
        )
        show.line(
            f"score {figures['true_score']:.3f}, {figures['exact_match']:.1%} right, on "
            f"{different} of {part}, greedy answers of up to {config.max_new_tokens} tokens"
        )
    return figures


def evaluate_encoder(config: EvaluateConfig, show: Show) -> dict[str, Any]:
    """By masked tokens, or replaced ones. Raises UserError for a task, and for an encoder without a
    head for either.
    """
    if config.task is not None or config.data is None:
        raise UserError(
            f"{config.base} is an encoder, which answers no task: give data=TEXT, of which it "
            "foretells masked tokens."
        )
    model = load_encoder(config.base)
    network, c = model.network, model.network.config
    if not c.masked and not c.replaced:
        raise UserError(
            f"{config.base} is an encoder that foretells no masked tokens (it has no head for "
            "them): `fledge pretrain base=…` gives it one."
        )
    frame, masking = read_frame(model.tokenizer), read_masking(model.tokenizer, "tokens")
    network.border = frame.before[0]
    corpus = config.read(config.data, show.line)
    test = (document for _, document in corpus.split("test"))
    documents = corpus.documents() if config.whole else test
    windows = read_encoder_documents(documents, model.tokenizer, frame, c.context)
    if c.replaced:
        figures = measure_replaced(network, replace_windows(windows, masking))
        said = (
            f"{figures['replaced_nats']:.3f} nats a token, of which replaced at random, "
            f"{figures['replaced_accuracy']:.1%} right,"
        )
    else:
        figures = measure_masked(network, mask_windows(windows, masking))
        said = (
            f"{figures['masked_nats']:.3f} nats a masked token (no bits per byte: what is around "
            f"it is given), {figures['masked_accuracy']:.1%} right,"
        )
    part = config.data if config.whole else f"the test part of {config.data}"
    show.line(f"{said} on {part}")
    return {"base": str(config.base), **figures}


FEW = 10_000  # bytes, of which a figure says little


def measure_text_loss(model: Loaded, documents: Iterable[AnyDocument]) -> dict[str, float]:
    """Every token of every document once: nats per token and bits per byte."""
    windows = read_documents(documents, model.tokenizer, model.network.config.context)
    measured = measure_likelihood(model.policy(), windows, model.tokenizer)
    if measured.bytes == 0:
        raise UserError("the text to measure on is empty: give more text, or whole=true.")
    if not math.isfinite(measured.nats):
        raise Diverged(
            f"{model.folder} gives the text {measured.nats} nats, which is no number: its weights "
            "overflow, or hold values that are none. Use a run from before that."
        )
    return {
        "nats_per_token": measured.nats_per_token,
        "bits_per_byte": measured.bits_per_byte,
        "tokens": measured.tokens,
        "bytes": measured.bytes,
    }
