"""`fledge reward`: a reward model from pairs of answers, read from a file or made by a task that judges the model's own samples."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from fledge.algorithms.reward_model import RewardModel
from fledge.errors import UserError
from fledge.loop import train
from fledge.models.folder import load_model, save_model
from fledge.models.heads import ScalarModel
from fledge.policy import TokenPolicy
from fledge.recipes.show import Show
from fledge.recipes.speed import choose_speed
from fledge.recipes.training import TrainingConfig, open_run
from fledge.runs.folder import Run
from fledge.sample.conversations import PairRows, Row, Shuffled, pair_rows
from fledge.sample.generate import Completion, generate
from fledge.sample.rollouts import prompt_tokens
from fledge.score.verifier import Verifier
from fledge.stopwatch import Stopwatch
from fledge.text.pairs import pairs_from_jsonl
from fledge.text.tokenizer import Tokenizer
from fledge.worlds.tasks import Split, Task, check_task, load_task

Pair = tuple[Row, Row]  # preferred, rejected


class RewardConfig(TrainingConfig):
    """Train a reward model on preferences: −log σ(r(preferred) − r(rejected)), the score read at the last token."""

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
    margin: float = Field(default=0.0, ge=0, description="by how much the preferred score must lead")
    steps: int = Field(default=300, ge=1, description="optimizer steps")


def reward(config: RewardConfig, show: Show, run: Run | None = None) -> dict[str, Any]:
    """Raises UserError for a base, data or a task that cannot be used."""
    began = time.perf_counter()
    if (config.data is None) == (config.task is None):
        raise UserError("reward needs either data=FILE.jsonl or task=NAME (such as reverse): give one of them.")
    base = load_model(config.base)
    network, tokenizer = base.network.to(config.on()), base.tokenizer
    if config.task is not None:
        task = load_task(config.task, seed=config.seed, shortest=config.shortest, longest=config.longest)
        check_task(task)
        policy = base.policy().to(config.on())
        pairs = task_pairs(policy, tokenizer, task, "train", config.pairs, config)
        held_out = task_pairs(policy, tokenizer, task, "test", max(64, config.pairs // 8), config)
    else:
        assert config.data is not None
        pairs, held_out = file_pairs(config.data, tokenizer, network.config.context)
    run = open_run(run, "reward", config, parents=[config.base], data=[str(config.data or config.task)])
    model = ScalarModel(network).to(config.on())
    typical = pair_rows([pairs[i % len(pairs)] for i in range(config.pairs_per_step)]).preferred
    precision = choose_speed(run, config, base.policy().to(config.on()), typical, show)
    stopwatch = Stopwatch()
    show.line(f"reward: {len(pairs)} pairs, {len(held_out)} held out, from {config.base}, {precision} → {run.folder}")
    sampler = PairRows(Shuffled(pairs, config.seed), pairs_per_step=config.pairs_per_step)

    def evaluate(step: int) -> dict[str, float]:
        return {"validation_pair_accuracy": pair_accuracy(model, held_out)}

    with show.progress("reward", config.steps, "pair_accuracy") as watch:
        last = train(
            RewardModel(model, config.learner(model, precision), stopwatch, margin=config.margin), sampler, run, stopwatch,
            watch, steps=config.steps, evaluate=evaluate, evaluate_every=config.evaluate_every,
            better=lambda e: e["validation_pair_accuracy"], save_every_s=config.save_every_s,
        )  # fmt: skip
    scores = torch.cat([pair_scores(model, pairs[:1024])[side] for side in (0, 1)])
    scale = {"mean": float(scores.mean()), "std": max(float(scores.std()), 1e-6)}
    save_model(run.model_folder, network, tokenizer, scalar=model, fledge_reward=scale)
    summary = {
        "verb": "reward",
        "run": str(run.folder),
        "steps": config.steps,
        "pairs": len(pairs),
        "seconds": time.perf_counter() - began,
        "before": {"pair_accuracy": run.metrics.rows()[0]["validation_pair_accuracy"]},
        "after": {"pair_accuracy": last["validation_pair_accuracy"]},
    }
    run.finish(summary)
    show.line(f"reward: {last['validation_pair_accuracy']:.1%} of the held-out pairs ranked as preferred.")
    show.line(f"Next: fledge align base={config.base} reward={run.folder} task=…")
    return summary


def row_of(completion: Completion) -> Row:
    ids = completion.prompt + completion.tokens
    return ids, [i >= len(completion.prompt) for i in range(len(ids))]


def task_pairs(
    policy: TokenPolicy, tokenizer: Tokenizer, task: Task, split: Split, number: int, config: RewardConfig
) -> list[Pair]:
    """The best and the worst of several answers to each prompt; prompts whose answers all score alike make no pair.

    Raises UserError if the base's answers hardly ever differ in score.
    """
    generator = torch.Generator().manual_seed(config.seed + (split == "test"))
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


@torch.no_grad()
def pair_scores(model: ScalarModel, pairs: list[Pair], at_a_time: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the preferred and of the rejected answers, [N] each."""
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for a in range(0, len(pairs), at_a_time):
        batch = pair_rows(pairs[a : a + at_a_time]).to(model.network.unembedding.device)
        for side, rows in zip(found, (batch.preferred, batch.rejected), strict=True):
            side.append(model.score(rows.obs, rows.last()).cpu())
    return torch.cat(found[0]), torch.cat(found[1])


def pair_accuracy(model: ScalarModel, pairs: list[Pair]) -> float:
    """The share of pairs ranked as preferred; a tie is half right."""
    preferred, rejected = pair_scores(model, pairs)
    return float(((preferred > rejected).double() + 0.5 * (preferred == rejected).double()).mean())
