"""`fledge evaluate`: bits per byte on text, exact match on a task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, Field

from fledge.errors import Diverged, UserError
from fledge.evaluate.judging import draw_questions, judge_task
from fledge.hub.folder import Loaded, load_model
from fledge.recipes.language.judge_fields import JudgeFields
from fledge.recipes.language.rows import ReadingFields
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import TextFields
from fledge.runs.show import Show
from fledge.sample.documents import text_rows
from fledge.text.documents import AnyDocument
from fledge.text.encoding import encode_documents
from fledge.text.tokenizer import Tokenizer


class EvaluateConfig(JudgeFields, ReadingFields, TextFields):
    """Measure a model: bits per byte on text it is given, exact match and score on a task's test
    prompts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Path = Field(description="the run or model folder to measure")
    data: str | None = Field(
        default=None,
        description=(
            "text: a .txt, .md, .jsonl (each also .gz), a folder, or python (its held-out part)"
        ),
    )
    whole: bool = Field(
        default=False, description="measure on all of the text, not on its held-out test part"
    )
    task: str | None = Field(
        default=None,
        description=(
            "reverse, sort, numbers, add, upper, last, words, or a .jsonl or .py of your own"
        ),
    )
    shortest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    longest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
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
    model = load_model(config.base)
    figures: dict[str, Any] = {"base": str(config.base)}
    if config.data is not None:
        corpus = config.read(config.data, show.line)
        test = (document for _, document in corpus.split("test"))
        figures |= measure_text_loss(model, corpus.documents() if config.whole else test)
        show.line(
            f"{figures['bits_per_byte']:.3f} bits per byte ({figures['nats_per_token']:.3f} nats "
            f"per token) on {figures['bytes']:,} bytes of {config.data}"
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
            f"{figures['exact_match']:.1%} exact match, score {figures['true_score']:.3f}, on "
            f"{different} of {part}"
        )
    return figures


@torch.no_grad()
def measure_text_loss(
    model: Loaded,
    documents: Iterable[AnyDocument],
    rows_at_a_time: int = 16,
    tokens_waiting: int = 2**20,
) -> dict[str, float]:
    """Every token of every document once, each document in windows of the context: nats per token
    and bits per byte.

    Windows of the same length wait for each other until there are `rows_at_a_time`, or more than
    `tokens_waiting` in all.
    """
    tokenizer, policy, context = model.tokenizer, model.policy(), model.network.config.context
    nats, tokens, size, waiting = 0.0, 0, 0, 0
    windows: dict[int, list[np.ndarray]] = {}

    def measure(rows: list[np.ndarray]) -> None:
        nonlocal nats, tokens, size
        batch = text_rows(torch.from_numpy(np.stack(rows)), tokenizer.begin)
        nats -= float(policy.log_prob(batch.obs, batch.action).double().sum())
        tokens += batch.action.numel()
        size += int(tokenizer.bytes_per_token(batch.action.numpy()).sum())

    for window in _cut_windows(documents, tokenizer, context):
        same_length = windows.setdefault(len(window), [])
        same_length.append(window.copy())  # not a view, which would keep its whole batch
        waiting += len(window)
        if len(same_length) == rows_at_a_time:
            measure(windows.pop(len(window)))
            waiting -= len(window) * rows_at_a_time
        if waiting > tokens_waiting:
            for rows in windows.values():
                measure(rows)
            windows, waiting = {}, 0
    for rows in windows.values():
        measure(rows)
    if size == 0:
        raise UserError("the text to measure on is empty: give more text, or whole=true.")
    if not math.isfinite(nats):
        raise Diverged(
            f"{model.folder} gives the text {nats} nats, which is no number: its weights overflow, "
            "or hold values that are none. Use a run from before that."
        )
    return {
        "nats_per_token": nats / tokens,
        "bits_per_byte": nats / math.log(2) / size,
        "tokens": tokens,
        "bytes": size,
    }


def _cut_windows(
    documents: Iterable[AnyDocument], tokenizer: Tokenizer, context: int
) -> Iterator[np.ndarray]:
    """Each document's tokens with its ends, in windows of context + 1, of which the last token
    opens the next window.
    """
    row = np.zeros(0, dtype=np.int64)
    for _, ids, _ in encode_documents(((None, document) for document in documents), tokenizer):
        for part in np.split(ids, np.flatnonzero(ids == tokenizer.begin)):
            # what is left of the document before is its end
            if len(part) and part[0] == tokenizer.begin:
                if len(row) > 1:
                    yield row
                row = part
            else:
                row = np.concatenate([row, part])
            start = 0
            while len(row) - start > context + 1:
                yield row[start : start + context + 1]
                start += context
            row = row[start:]
    if len(row) > 1:
        yield row
