"""Pairs of answers for the recipes that learn from preferences: read from a file, or made of the base's own answers by a task's judge."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fledge.errors import UserError
from fledge.models.folder import Loaded
from fledge.policy import TokenPolicy
from fledge.recipes.judge_fields import JudgeFields
from fledge.recipes.show import Show
from fledge.recipes.training import TrainingConfig
from fledge.sample.conversations import Row
from fledge.sample.generate import Completion, generate
from fledge.sample.rollouts import prompt_tokens
from fledge.score.verifier import Verifier
from fledge.seeds import generator_for
from fledge.text.pairs import judged_from_jsonl, pairs_from_jsonl
from fledge.text.tokenizer import Tokenizer
from fledge.worlds.tasks import Split, Task, check_task, load_task

Pair = tuple[Row, Row]  # preferred, rejected
Judged = tuple[Row, bool]  # one answer, and whether it is wanted


class PairsConfig(JudgeFields, TrainingConfig):
    """The fields that say where pairs come from."""

    base: Path = Field(description="the run or model folder to start from, usually a tuned one")
    data: Path | None = Field(default=None, description="pairs: a .jsonl with `prompt`, `chosen` and `rejected`")
    task: str | None = Field(
        default=None,
        description="in place of data: the base answers this task's prompts, and the task's judge ranks the answers",
    )
    shortest: int | None = Field(default=None, ge=1, description="letters a word, digits a number, of built-in tasks")
    longest: int | None = Field(default=None, ge=1, description="letters a word, digits a number, of built-in tasks")
    pairs: int = Field(default=4096, ge=8, description="how many to make (with task)")
    samples_per_prompt: int = Field(
        default=4,
        ge=2,
        description="answers the base gives to a prompt; the best and the worst make a pair (with task)",
    )
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer (with task)")
    pairs_per_step: int = Field(default=64, ge=1, description="pairs an optimizer step")
    steps: int = Field(default=300, ge=1, description="optimizer steps")


def read_or_make_pairs(
    config: PairsConfig, base: Loaded, verb: str, show: Show
) -> tuple[list[Pair], list[Pair], Task | None]:
    """Pairs to train on, pairs held out, and the task if one makes them. Raises UserError for data or a task that cannot be used."""
    if (config.data is None) == (config.task is None):
        raise UserError(f"{verb} needs either data=FILE.jsonl or task=NAME (such as reverse): give one of them.")
    if config.data is not None:
        return *file_pairs(config.data, base.tokenizer, base.network.config.context), None
    assert config.task is not None
    task = load_task(
        config.task, seed=config.seed, shortest=config.shortest, longest=config.longest, limits=config.limits(show)
    )
    check_task(task)
    policy = base.policy().to(config.on())
    pairs = task_pairs(policy, base.tokenizer, task, "train", config.pairs, config)
    return pairs, task_pairs(policy, base.tokenizer, task, "test", max(64, config.pairs // 8), config), task


def row_of(completion: Completion) -> Row:
    ids = completion.prompt + completion.tokens
    return ids, [i >= len(completion.prompt) for i in range(len(ids))]


def task_pairs(
    policy: TokenPolicy, tokenizer: Tokenizer, task: Task, split: Split, number: int, config: PairsConfig
) -> list[Pair]:
    """The best and the worst of several answers to each prompt; prompts whose answers all score alike make no pair.

    Raises UserError if the base's answers hardly ever differ in score.
    """
    generator = generator_for(config.seed, "samples", split)
    verifier, pairs, asked = Verifier(task), [], 0
    g, at_a_time = config.samples_per_prompt, 256
    while len(pairs) < number:
        examples = [task.example(asked + i, split) for i in range(at_a_time)]
        asked += at_a_time
        completions = generate(
            policy, [prompt_tokens(tokenizer, example.prompt) for example in examples], stop=tokenizer.end,
            max_new_tokens=config.max_new_tokens, generator=generator, samples=g,
        )  # fmt: skip
        texts = [tokenizer.decode(completion.tokens) for completion in completions]
        score = verifier([example for example in examples for _ in range(g)], completions, texts)["reward"]
        for a in range(0, len(score), g):
            order = sorted(range(a, a + g), key=score.__getitem__)
            if score[order[-1]] > score[order[0]]:
                pairs.append((row_of(completions[order[-1]]), row_of(completions[order[0]])))
        if asked >= 20 * at_a_time and len(pairs) < asked / 100:
            raise UserError(
                f"only {len(pairs)} of {asked} prompts of {config.task} got answers of different score from {config.base}: "
                "tune it on the task first."
            )
    return pairs[:number]


def file_pairs(path: Path, tokenizer: Tokenizer, context: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs of a file, one in ten held out. Raises UserError if fewer than 8 fit the context."""
    pairs = [p for p in pairs_from_jsonl(path, tokenizer) if max(len(p[0][0]), len(p[1][0])) <= context]
    if len(pairs) < 8:
        raise UserError(f"{path} has {len(pairs)} pairs that fit a context of {context} tokens: 8 or more are needed.")
    return [p for i, p in enumerate(pairs) if i % 10], pairs[::10]


def file_judged(path: Path, tokenizer: Tokenizer, context: int) -> tuple[list[Judged], list[Judged]]:
    """Single answers of a file, one in ten of the wanted and one in ten of the unwanted ones held out.

    Raises UserError if fewer than 4 of either kind fit the context.
    """
    fit = [judged for judged in judged_from_jsonl(path, tokenizer) if len(judged[0][0]) <= context]
    kinds = [[judged for judged in fit if judged[1] is wanted] for wanted in (True, False)]
    if min(map(len, kinds)) < 4:
        raise UserError(
            f"{path} has {len(kinds[0])} wanted and {len(kinds[1])} unwanted answers that fit a context of {context} tokens: "
            "4 or more of each are needed."
        )
    return [j for kind in kinds for i, j in enumerate(kind) if i % 10], [j for kind in kinds for j in kind[::10]]
