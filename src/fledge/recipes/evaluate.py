"""`fledge evaluate`: bits per byte on text, exact match on a task."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.models.folder import Loaded, load_model
from fledge.recipes.judge_fields import JudgeFields
from fledge.recipes.judging import judge_task
from fledge.recipes.show import Show
from fledge.sample.documents import text_rows
from fledge.text.corpus import deduplicate, read_documents, split_documents
from fledge.worlds.tasks import check_task, load_task


class EvaluateConfig(JudgeFields, BaseModel):
    """Measure a model: bits per byte on text it is given, exact match and score on a task's held-out prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Path = Field(description="the run or model folder to measure")
    data: str | None = Field(
        default=None, description="text: a .txt, .md, .jsonl (each also .gz), a folder, or python (its held-out part)"
    )
    whole: bool = Field(default=False, description="measure on all of the text, not on its held-out test part")
    task: str | None = Field(
        default=None, description="reverse, sort, numbers, add, upper, last, words, or a .jsonl or .py of your own"
    )
    shortest: int | None = Field(default=None, ge=1, description="letters a word, digits a number, of built-in tasks")
    longest: int | None = Field(default=None, ge=1, description="letters a word, digits a number, of built-in tasks")
    prompts: int = Field(default=512, ge=1, description="held-out prompts of the task")
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer to a task")
    seed: int = Field(default=0, ge=0, description="of the task's prompts")


def evaluate(config: EvaluateConfig, show: Show) -> dict[str, Any]:
    """Raises UserError where neither data nor a task is given, or they cannot be read."""
    if config.data is None and config.task is None:
        raise UserError("evaluate needs data=FILE (bits per byte) or task=NAME (exact match), or both.")
    model = load_model(config.base)
    found: dict[str, Any] = {"base": str(config.base)}
    if config.data is not None:
        documents = list(deduplicate(read_documents(config.data)))
        if not config.whole:
            documents = split_documents(documents)["test"]
        found |= text_loss(model, [document.text for document in documents])
        show.line(
            f"{found['bits_per_byte']:.3f} bits per byte ({found['nats_per_token']:.3f} nats per token) "
            f"on {found['bytes']:,} bytes of {config.data}"
        )
    if config.task is not None:
        task = load_task(
            config.task, seed=config.seed, shortest=config.shortest, longest=config.longest, limits=config.limits(show)
        )
        check_task(task)
        found |= judge_task(model.policy(), model.tokenizer, task, None, 0, config.prompts, config.max_new_tokens)
        show.line(
            f"{found['exact_match']:.1%} exact match, score {found['true_score']:.3f}, on {config.prompts} held-out prompts of {config.task}"
        )
    return found


@torch.no_grad()
def text_loss(model: Loaded, texts: list[str], rows_at_a_time: int = 16) -> dict[str, float]:
    """Every token of every document once, each document in windows of the context: nats per token and bits per byte."""
    tokenizer, policy, context = model.tokenizer, model.policy(), model.network.config.context
    windows: dict[int, list[np.ndarray]] = {}
    for ids in tokenizer.encode_many(texts):
        row = np.concatenate([[tokenizer.begin], ids, [tokenizer.end]])
        for start in range(0, len(row) - 1, context):
            window = row[start : start + context + 1]
            windows.setdefault(len(window), []).append(window)
    nats, tokens, size = 0.0, 0, 0
    for same_length in windows.values():
        for a in range(0, len(same_length), rows_at_a_time):
            batch = text_rows(torch.from_numpy(np.stack(same_length[a : a + rows_at_a_time])), tokenizer.begin)
            nats -= float(policy.log_prob(batch.obs, batch.action).double().sum())
            tokens += batch.action.numel()
            size += int(tokenizer.bytes_per_token(batch.action.numpy()).sum())
    if size == 0:
        raise UserError("the text to measure on is empty: give more text, or whole=true.")
    return {
        "nats_per_token": nats / tokens,
        "bits_per_byte": nats / math.log(2) / size,
        "tokens": tokens,
        "bytes": size,
    }
