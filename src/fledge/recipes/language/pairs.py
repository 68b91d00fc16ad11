"""Pairs of answers for the recipes that learn from preferences: read from a file, or made of the
base's own answers by a task's judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from fledge.errors import UserError
from fledge.evaluate.judging import draw_questions
from fledge.hub.folder import Loaded
from fledge.policy import TokenPolicy
from fledge.recipes.language.judge_fields import JudgeFields
from fledge.recipes.language.rows import RowsConfig, tell
from fledge.recipes.language.tasks import open_task
from fledge.rows.census import Census, Reading
from fledge.runs.show import Show
from fledge.sample.generate import Completion, generate
from fledge.sample.rollouts import encode_prompt
from fledge.score.verifier import Verifier
from fledge.seeds import generator_for
from fledge.splits import Split
from fledge.tasks.named import Example, Task, list_censuses
from fledge.text.held_out import Divided, divide_rows
from fledge.text.packed import Row
from fledge.text.pairs import judged_from_jsonl, pairs_from_jsonl
from fledge.text.tokenizer import Tokenizer

Pair = tuple[Row, Row]  # preferred, rejected
Judged = tuple[Row, bool]  # one answer, and whether it is wanted


class PairsConfig(JudgeFields, RowsConfig):
    """The fields that say where pairs come from."""

    base: Path = Field(description="the run or model folder to start from, usually a tuned one")
    data: Path | None = Field(
        default=None, description="pairs: a .jsonl with `prompt`, `chosen` and `rejected`"
    )
    task: str | None = Field(
        default=None,
        description=(
            "in place of data: the base answers this task's prompts, and the task's judge ranks "
            "the answers"
        ),
    )
    shortest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    longest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    pairs: int = Field(default=4096, ge=8, description="how many to make (with task)")
    samples_per_prompt: int = Field(
        default=4,
        ge=2,
        description=(
            "answers the base gives to a prompt; the best and the worst make a pair (with task)"
        ),
    )
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer (with task)")
    pairs_per_step: int = Field(default=64, ge=1, description="pairs an optimizer step")
    steps: int = Field(default=300, ge=1, description="optimizer steps")


@dataclass(frozen=True)
class Preferences:
    """Pairs (Pair), or answers (Judged), of kto only, by split; the task if one made them; the
    count of each file that was read.
    """

    kind: Literal["pairs", "answers"]
    divided: Divided[Any]
    task: Task | None
    censuses: list[Census]


def read_or_make_pairs(config: PairsConfig, base: Loaded, verb: str, show: Show) -> Preferences:
    """Pairs of a file, or of a task's prompts. Raises UserError for data or a task that cannot be
    used.
    """
    if (config.data is None) == (config.task is None):
        raise UserError(
            f"{verb} needs either data=FILE.jsonl or task=NAME (such as reverse): give one of them."
        )
    if config.data is not None:
        return read_pair_file(
            config.data, base.tokenizer, base.network.config.context, config.reading, show
        )
    task = open_task(config, base.tokenizer, base.network.config.context, show)
    policy = base.policy().to(config.on())
    fewer = max(64, config.pairs // 8)
    numbers: dict[Split, int] = {"train": config.pairs, "validation": fewer, "test": fewer}
    made = {
        split: make_task_pairs(policy, base.tokenizer, task, split, number, config)
        for split, number in numbers.items()
    }
    if not (made["validation"] and made["test"]):
        note = (
            f"{config.base} answers its held-out prompts all alike, so what is learned is not "
            "measured"
        )
        return Preferences("pairs", Divided(made["train"], [], [], note), task, list_censuses(task))
    return Preferences(
        "pairs", Divided(made["train"], made["validation"], made["test"]), task, list_censuses(task)
    )


def make_row(completion: Completion) -> Row:
    ids = completion.prompt + completion.tokens
    return ids, [i >= len(completion.prompt) for i in range(len(ids))]


AT_A_TIME = 256  # prompts the base answers
ROUNDS = 8  # in which a held-out prompt is asked until its answers differ in score


def make_task_pairs(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    task: Task,
    split: Split,
    number: int,
    config: PairsConfig,
) -> list[Pair]:
    """The best and the worst of several answers to each prompt; prompts whose answers all score
    alike make no pair.

    To learn from: exactly `number`. Held out: one pair a prompt at most, so that pairs are as
    different as prompts are. Raises UserError if the base's answers hardly ever differ in score.
    """
    ask = partial(
        sample_pairs,
        policy,
        tokenizer,
        Verifier(task),
        config,
        generator_for(config.seed, "samples", split),
    )
    pairs: list[Pair] = []
    if split != "train":
        waiting = draw_questions(task, split, number)
        for _ in range(ROUNDS):
            made = [
                pair
                for a in range(0, len(waiting), AT_A_TIME)
                for pair in ask(waiting[a : a + AT_A_TIME])
            ]
            pairs += [pair for pair in made if pair is not None]
            waiting = [example for example, pair in zip(waiting, made, strict=True) if pair is None]
        return pairs
    asked = 0
    while len(pairs) < number:
        made = ask([task.example(asked + i, split) for i in range(AT_A_TIME)])
        asked += AT_A_TIME
        pairs += [pair for pair in made if pair is not None]
        if asked >= 20 * AT_A_TIME and len(pairs) < asked / 100:
            raise UserError(
                f"only {len(pairs)} of {asked} prompts of {config.task} got answers of different "
                f"score from {config.base}: tune it on the task first."
            )
    return pairs[:number]


def sample_pairs(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    verifier: Verifier,
    config: PairsConfig,
    generator: torch.Generator,
    examples: Sequence[Example],
) -> list[Pair | None]:
    """The best and the worst of samples_per_prompt answers to each example; None where all score
    alike.
    """
    g = config.samples_per_prompt
    completions = generate(
        policy, [encode_prompt(tokenizer, example.prompt) for example in examples],
        stop=tokenizer.end, max_new_tokens=config.max_new_tokens, generator=generator, samples=g,
    )  # fmt: skip
    texts = [tokenizer.decode(completion.tokens) for completion in completions]
    score = verifier([example for example in examples for _ in range(g)], completions, texts)[
        "reward"
    ]
    pairs: list[Pair | None] = []
    for a in range(0, len(score), g):
        order = sorted(range(a, a + g), key=score.__getitem__)
        best, worst = order[-1], order[0]
        differ = score[best] > score[worst]
        pairs.append(
            (make_row(completions[best]), make_row(completions[worst])) if differ else None
        )
    return pairs


def read_pair_file(
    path: Path, tokenizer: Tokenizer, context: int, reading: Reading, show: Show
) -> Preferences:
    """Pairs of a file, by the split of their prompt. Raises UserError for fewer than 8."""
    census = Census(str(path), reading, rows="pairs")
    pairs = pairs_from_jsonl(path, tokenizer, context, census)
    tell([census], show)
    if len(pairs) < 8:
        raise UserError(
            f"{path} has {len(pairs)} pairs that fit a context of {context} tokens: 8 or more are "
            "needed."
        )
    divided = divide_rows(pairs, lambda pair: (pair[0][0], pair[1][0]), tokenizer)
    return Preferences("pairs", divided, None, [census])


def read_judged_file(
    path: Path, tokenizer: Tokenizer, context: int, reading: Reading, show: Show
) -> Preferences:
    """Single answers of a file, by the split of their prompt. Raises UserError for fewer than 4 of
    either kind.
    """
    census = Census(str(path), reading, rows="answers")
    answers = judged_from_jsonl(path, tokenizer, context, census)
    tell([census], show)
    wanted = sum(answers.wanted)
    if min(wanted, len(answers) - wanted) < 4:
        raise UserError(
            f"{path} has {wanted} wanted and {len(answers) - wanted} unwanted answers that fit a "
            f"context of {context} tokens: 4 or more of each are needed."
        )
    ids = lambda judged: (judged[0][0], (judged[1],))  # noqa: E731
    divided = divide_rows(answers, ids, tokenizer, kind=lambda judged: judged[1])
    return Preferences("answers", divided, None, [census])
