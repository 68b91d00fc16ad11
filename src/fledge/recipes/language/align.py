"""`fledge align`: reinforcement learning on completions, rewarded by a task's verifier or by a
reward model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.algorithms.registry import Subject, names_of
from fledge.algorithms.settings import AlgorithmSettings
from fledge.engine.generation import Generation
from fledge.errors import UserError
from fledge.evaluate.judging import draw_questions, judge_kl, judge_task
from fledge.hub.folder import Loaded, load_model, load_reward_model, save_model
from fledge.log_prob import Decoding
from fledge.loop import Sampler, train
from fledge.policy import TokenPolicy
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.recipes.language.aligners import Making, make_algorithm
from fledge.recipes.language.held_out import describe_result, read_test
from fledge.recipes.language.judge_fields import JudgeFields
from fledge.recipes.language.pretrain import measure_held_out_loss
from fledge.recipes.language.rows import ReadingFields, summarise_rows
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import keep_shards, read_corpus
from fledge.recipes.pacing import Paced, by_batches, say_skipped
from fledge.recipes.speed import choose_speed
from fledge.recipes.training import (
    TrainingConfig,
    close_what_it_opens,
    open_run,
    remove_if_it_cannot_begin,
)
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.hints import Hints, check_hint
from fledge.sample.rollouts import Rollouts, Scorer, encode_prompt
from fledge.score.kl_control import KLControl
from fledge.score.reward_model import RewardModelScore
from fledge.score.verifier import Verifier
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import list_censuses
from fledge.text.shards import TokenStream
from fledge.trajectories import Trajectories, from_rows


class AlignConfig(AlgorithmFields, JudgeFields, ReadingFields, TrainingConfig):
    """Align a tuned model: sample answers to a task's prompts, score them, and make the better ones
    likelier.
    """

    subject: ClassVar[Subject] = "texts"

    base: Path = Field(
        description="the run or model folder to start from; the reference of the KL, too"
    )
    task: str = Field(
        description=(
            "where prompts come from, and the true score: reverse, sort, numbers, add, upper, "
            "last, words, or a .jsonl or .py of your own"
        )
    )
    reward: Path | None = Field(
        default=None,
        description=(
            "a reward model (a run of `fledge reward`); by default the task's own verifier rewards"
        ),
    )
    cut_reward: float = Field(
        default=0.0,
        description=(
            "the most that an answer cut at max_new_tokens earns, whoever judges (a reward model's "
            "scores are 0 on average)"
        ),
    )
    algorithm: str = Field(
        default="reinforce",
        description=f"one of {', '.join(names_of('texts'))}; or FILE.py:Class for one of your own",
    )
    shortest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    longest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    prompts_per_step: int = Field(default=64, ge=1, description="different prompts a step")
    samples_per_prompt: int = Field(default=8, ge=1, description="answers sampled to each")
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer")
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="of the sampled distribution, which is the one that is trained",
    )
    top_k: int = Field(default=0, ge=0, description="0 keeps every token")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus mass")
    min_p: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="drops tokens less than this times as likely as the likeliest",
    )
    generation: Generation = Field(
        default="fp32",
        description=(
            "precision of the samples' generation; the trainer scores them at its own, and logs "
            "the drift between the two"
        ),
    )
    kl_coefficient: float = Field(
        default=0.02,
        ge=0,
        description=(
            "β: reward lost per nat of log π/π_base; the em family measures the KL and does not "
            "punish it"
        ),
    )
    kl_target: float | None = Field(
        default=None,
        gt=0,
        description="nats an answer; steers β towards it (adaptive), instead of a fixed β",
    )
    evaluation_prompts: int = Field(
        default=256,
        ge=1,
        description=(
            "validation prompts an evaluation answers, greedily, and test prompts at the end"
        ),
    )
    steps: int = Field(default=100, ge=1, description="batches of samples")
    learning_rate: float = Field(default=5e-4, gt=0, description="at its peak")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="linear", description="of the learning rate after its rise"
    )
    warmup_steps: int = Field(
        default=5, ge=0, description="optimizer steps over which the learning rate rises"
    )
    stop_at_exact_match: float | None = Field(
        default=None, gt=0, le=1, description="end as soon as an evaluation reaches this"
    )


@close_what_it_opens
def align(config: AlignConfig, show: Show, run: Run | None, opened: ExitStack) -> dict[str, Any]:
    """Raises UserError for a base, a reward model, a task or settings that do not go together."""
    began = time.perf_counter()
    settings = config.settings
    base = load_model(config.base)
    tokenizer = base.tokenizer
    task = open_task(config, tokenizer, base.network.config.context, show)
    prompts = [
        encode_prompt(tokenizer, task.example(i, "train").prompt)
        for i in range(config.prompts_per_step)
    ]
    settings = check_sizes(config, settings, base, prompts)
    sampling = settings.sampling()
    if sampling.hint is not None:
        check_hint(sampling.hint, task)
    policy = (
        base.policy()
        .with_rule(Decoding(config.temperature, config.top_k, config.top_p, config.min_p))
        .to(config.on())
    )
    reference = policy.frozen_copy()
    truth = Verifier(task, cut_reward=config.cut_reward)
    scorer: Scorer = truth
    if config.reward is not None:
        scorer = load_scorer(config.reward, base, truth, config)
    parents = [config.base, *([config.reward] if config.reward else [])]
    own = [config.algorithm] if ".py:" in config.algorithm else []
    text = list_mixed_texts(settings)
    data = [config.task, *own]
    run = open_run(run, opened, "align", config, began, parents=parents, data=data, copied=text)
    stopwatch = Stopwatch()
    precision = choose_speed(run, config, policy, make_typical_rows(config, base, prompts), show)
    with remove_if_it_cannot_begin(run):
        if text:
            keep_shards(
                run.folder / "shards",
                lambda: read_corpus(text[0], show.line),
                base.tokenizer,
                show.line,
            )
        texts = TokenStream(run.folder / "shards", "train") if text else None
        algorithm = build_algorithm(
            config, settings, policy, reference, base, stopwatch, precision, texts
        )
    sampler: Sampler
    sampler = rollouts = Rollouts(
        reference if sampling.of_base else policy, tokenizer, task, scorer, stopwatch,
        prompts_per_step=config.prompts_per_step, samples_per_prompt=config.samples_per_prompt,
        max_new_tokens=config.max_new_tokens, seed=config.seed, redraws=sampling.redraws,
        precision=config.generation,
    )  # fmt: skip
    if sampling.hint is not None:
        sampler = Hints(rollouts, sampling.hint, sampling.threshold)
    rewarded_by = (
        f"the reward model {config.reward}" if config.reward else f"the verifier of {config.task}"
    )
    show.line(
        f"align: {config.base} by {config.algorithm}, rewarded by {rewarded_by} → {run.folder}"
    )

    steering = draw_questions(task, "validation", config.evaluation_prompts)

    def evaluate(step: int) -> dict[str, float]:
        figures = judge_task(
            policy,
            tokenizer,
            task,
            steering,
            config.max_new_tokens,
            run,
            step,
            cut_reward=config.cut_reward,
        )
        figures["kl_exact"] = judge_kl(
            policy, reference, tokenizer, task, config.max_new_tokens, config.seed
        )
        if text:
            held_out = TokenStream(run.folder / "shards", "validation")
            context = min(256, base.network.config.context)
            figures["validation_loss"] = measure_held_out_loss(
                policy.with_rule(Decoding()), held_out, tokenizer, context, 32
            )[0]
        return {
            f"greedy_{name}" if name == "true_score" else name: value
            for name, value in figures.items()
        }

    def enough(evaluation: dict[str, float]) -> bool:
        return (
            config.stop_at_exact_match is not None
            and evaluation["exact_match"] >= config.stop_at_exact_match
        )

    with show.progress("align", config.steps, "reward") as watch:
        last = train(
            algorithm, sampler, run, stopwatch, watch, steps=config.steps, evaluate=evaluate,
            evaluate_every=config.evaluate_every, better=lambda e: e["exact_match"], enough=enough,
            save_every_s=config.save_every_s, beside={"judge": task},
        )  # fmt: skip
    save_model(run.model_folder, base.network, tokenizer)
    tested = draw_questions(task, "test", config.evaluation_prompts)
    test = judge_task(
        policy, tokenizer, task, tested, config.max_new_tokens, cut_reward=config.cut_reward
    )
    read_test(run, last["step"], test)
    before = next(run.metrics.each())
    updates = (row for row in run.metrics.each() if "kl_k1" in row)
    first = latest = next(updates)
    for latest in updates:  # noqa: B007 (to the last one)
        pass
    names = [name for name in ("reward", "true_score", "reward_model_score") if name in latest]
    summary = {
        "verb": "align",
        "run": str(run.folder),
        "steps": int(last["step"]),
        "seconds": run.seconds,
        "before": {
            "exact_match": before["exact_match"],
            **{name: first[name] for name in names},
            "kl": before["kl_exact"],
        },
        "after": {
            "exact_match": last["exact_match"],
            **{name: latest[name] for name in names},
            "kl": last["kl_exact"],
        },
        "test": test,
        "held_out": {"validation": len(steering), "test": len(tested)},
        **summarise_rows(list_censuses(task)),
    }
    run.finish(summary)
    say_skipped(run, show)
    items, name = (len(steering), len(tested)), choose_figure(before, last, test)
    risen = (before[name], last[name], test[name.removeprefix("greedy_")])
    show.line(describe_result("align", name, *risen, items, "prompt", apart=task.holds_out))
    show.line(f"align: {last['kl_exact']:.2f} nats from {config.base}.")
    show.line(f"Next: fledge chat base={run.folder}")
    return summary


def build_algorithm(
    config: AlignConfig,
    settings: AlgorithmSettings,
    policy: TokenPolicy,
    reference: TokenPolicy,
    base: Loaded,
    stopwatch: Stopwatch,
    precision: str,
    texts: TokenStream | None = None,
) -> Paced:
    """The algorithm with its schedule at its pace. settings: for as many rows as a batch has."""
    updates, _ = settings.count_updates()
    making = Making(
        policy, reference, base, KLControl(config.kl_coefficient, config.kl_target), stopwatch,
        lambda module, steps: config.learner(module, precision, steps),
        updates=updates if settings.restarts else config.steps * updates, seed=config.seed,
        max_new_tokens=config.max_new_tokens, sampled_in_fp32=config.generation == "fp32",
        text=texts,
    )  # fmt: skip
    made = make_algorithm(making, config.entry.algorithm, settings)
    return by_batches(made, made.learner, updates)


def list_mixed_texts(settings: AlgorithmSettings) -> list[str]:
    """The text of the pre-training term, where there is one."""
    if isinstance(settings, PPO.InTexts) and settings.ptx_coefficient:
        return [settings.ptx_data]
    return []


def choose_figure(*figures: Mapping[str, float]) -> str:
    """The share of right answers, or the mean score where none was right: a judge may give points
    and call nothing right.
    """
    return "exact_match" if any(each["exact_match"] for each in figures) else "greedy_true_score"


def make_typical_rows(config: AlignConfig, base: Loaded, prompts: list[list[int]]) -> Trajectories:
    """Rows of the size that a step will train on, to measure speed with: prompts and as many stop
    tokens as an answer may take.
    """
    room = [
        min(config.max_new_tokens, base.network.config.context - len(prompt)) for prompt in prompts
    ]
    rows = [prompt + [base.tokenizer.end] * n for prompt, n in zip(prompts, room, strict=True)]
    chosen = [[False] * len(prompt) + [True] * n for prompt, n in zip(prompts, room, strict=True)]
    return from_rows(rows * config.samples_per_prompt, chosen * config.samples_per_prompt)


def check_sizes(
    config: AlignConfig, settings: AlgorithmSettings, base: Loaded, prompts: list[list[int]]
) -> AlgorithmSettings:
    """The settings with as many optimizer steps as they make on a batch of such a size.

    Raises UserError, before anything is computed, for settings that cannot work together.
    """
    longest = max(len(prompt) for prompt in prompts)
    context = base.network.config.context
    if longest >= context:
        raise UserError(
            f"a prompt of {config.task} has {longest} tokens and the model's context is {context}: "
            "shorten the prompts, or pre-train with a longer `context`."
        )
    smallest = settings.sampling().smallest_group
    if config.samples_per_prompt < smallest:
        other = ", or baseline=batch" if isinstance(settings, Reinforce.Settings) else ""
        raise UserError(
            f"samples_per_prompt={config.samples_per_prompt} leaves no other answer to compare "
            f"with: give {smallest} or more{other}."
        )
    if config.algorithm == "online_dpo" and not config.kl_coefficient:
        raise UserError(
            "kl_coefficient=0 was given: it is online_dpo's β, which must be above 0 (0.1 is "
            "usual)."
        )
    if config.algorithm == "off_policy" and (config.top_k or config.top_p < 1):
        raise UserError(
            f"top_k={config.top_k}, top_p={config.top_p} were given: off_policy weighs the base's "
            "answers, and wants a probability for every token. Give top_k=0, top_p=1 and min_p=0; "
            "the temperature is free."
        )
    rows = config.prompts_per_step * config.samples_per_prompt
    updates, epochs = settings.count_updates(rows)
    if updates % epochs or rows % (updates // epochs):
        raise UserError(
            f"updates_per_step={updates} in epochs={epochs} does not cut the {rows} rows of a step "
            "into equal parts: choose a multiple of epochs that divides the rows."
        )
    return settings.for_rows(rows)


def load_scorer(path: Path, base: Loaded, truth: Verifier, config: AlignConfig) -> RewardModelScore:
    """The reward model's score. Raises UserError if it reads other tokens than the policy
    writes.
    """
    model, loaded = load_reward_model(path)
    if loaded.tokenizer.fingerprint() != base.tokenizer.fingerprint():
        raise UserError(
            f"the reward model {path} has another tokenizer than {config.base}: train it on the "
            "same base."
        )
    model = model.to(config.on()).requires_grad_(False).eval()
    scale = loaded.config.get("fledge_reward", {"mean": 0.0, "std": 1.0})
    return RewardModelScore(model, **scale, truth=truth, cut_reward=config.cut_reward)
