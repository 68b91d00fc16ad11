"""`fledge align`: reinforcement learning on completions, rewarded by a task's verifier or by a
reward model.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import nn

from fledge.algorithms.policy.ppo import PPO, PPOSettings
from fledge.engine.generation import Generation
from fledge.errors import UserError
from fledge.evaluate.distance import judge_kl
from fledge.evaluate.judging import judge_task
from fledge.evaluate.likelihood import measure_held_out_loss
from fledge.hub.folder import Loaded, load_model, load_reward_model, save_model
from fledge.log_prob import Decoding
from fledge.loop import Algorithm, Sampler, train
from fledge.models.language.heads import ScalarHead, ScalarModel
from fledge.policy import SeparateCritic, SharedCritic, TokenPolicy
from fledge.recipes.course import describe_result, read_test
from fledge.recipes.language.aligners import (
    FROM_PAIRS,
    KINDS,
    NAMES,
    build,
    check_algorithm,
    choose_sampler_settings,
    count_optimizer_steps,
    load_algorithm,
)
from fledge.recipes.language.judge_fields import JudgeFields
from fledge.recipes.language.prefer import PreferConfig, prefer
from fledge.recipes.language.rows import ReadingFields
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import read_corpus
from fledge.recipes.pacing import by_batches, say_skipped
from fledge.recipes.speed import settle_speed
from fledge.recipes.training import (
    TrainingConfig,
    close_what_it_opens,
    open_run,
    remove_if_it_cannot_begin,
)
from fledge.rows.census import summarise_rows
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.documents import DocumentRows
from fledge.sample.hints import HINT, Hints, check_hint
from fledge.sample.rollouts import Rollouts, Scorer, encode_prompt
from fledge.score.kl_control import KLControl
from fledge.score.reward_model import RewardModelScore
from fledge.score.verifier import Verifier
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import draw_questions, list_censuses
from fledge.text.own_copy import keep_shards
from fledge.text.shards import TokenStream
from fledge.trajectories import Trajectories, from_rows


class AlignConfig(JudgeFields, ReadingFields, TrainingConfig):
    """Align a tuned model: sample answers to a task's prompts, score them, and make the better ones
    likelier.
    """

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
        description=f"one of {', '.join(NAMES)}; or FILE.py:Class for one of your own",
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
    baseline: Literal["none", "constant", "batch", "group", "leave_one_out", "optimal"] = Field(
        default="leave_one_out", description="of reinforce; a critic's values are ppo's"
    )
    baseline_value: float = Field(
        default=0.0, description="reinforce with baseline=constant, off_policy: that constant"
    )
    keep: Literal["correct", "posterior", "best"] = Field(
        default="correct",
        description=(
            "em: the right answers, all in proportion to their reward, or the best of a group"
        ),
    )
    redraws: int | None = Field(
        default=None,
        ge=0,
        description=(
            "dapo: rounds in which prompts whose answers all earned the same give way to the next "
            "prompts; its own: 3"
        ),
    )
    hint: str | None = Field(
        default=None,
        description=f"star: how a prompt without a right answer is asked again; its own: {HINT}",
    )
    pairs: int | None = Field(
        default=None,
        ge=8,
        description=(
            "dpo, ipo, kto, orpo, simpo: how many pairs of the base's own answers to learn from; "
            "their own: 4096"
        ),
    )
    threshold: float = Field(
        default=1.0, description="em, star: the reward from which an answer is right"
    )
    reward_temperature: float | None = Field(
        default=None,
        gt=0,
        description="rwr, awr: an answer weighs exp(reward / this); their own: 1",
    )
    weight_cap: float | None = Field(
        default=None, gt=0, description="rwr, awr: the largest weight; their own: none, 20"
    )
    importance: Literal["trajectory", "decision"] = Field(
        default="decision",
        description=(
            "off_policy, which learns from the base's answers: what an importance weight is of"
        ),
    )
    truncate_at: float | None = Field(
        default=None,
        gt=0,
        description="off_policy: the largest importance weight, bias for variance; none: any",
    )
    gamma: float = Field(default=1.0, gt=0, le=1, description="discount per token")
    gae_lambda: float = Field(default=0.95, ge=0, le=1, description="of ppo's advantage estimation")
    updates_per_step: int | None = Field(
        default=None,
        ge=1,
        description=(
            "optimizer steps over each batch of samples; by default in each of its epochs 4 for "
            "ppo, 8 for rest_em and star, else 1"
        ),
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description=(
            "passes over each batch of samples, within updates_per_step; by default 4 for rest_em "
            "and star, else 1"
        ),
    )
    clip_low: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="the ratio counts down to 1 − this; ppo, grpo, dapo 0.2; gspo 0.0003; cispo 1",
    )
    clip_high: float | None = Field(
        default=None,
        gt=0,
        description=(
            "the ratio counts up to 1 + this; ppo, grpo 0.2; dapo 0.28; gspo 0.0004; cispo 4"
        ),
    )
    value_clip: float | None = Field(
        default=0.2,
        gt=0,
        description="ppo: the value may move this far from its old one; none: freely",
    )
    value_coefficient: float = Field(
        default=0.5, ge=0, description="ppo, control_variate: of the value error in the loss"
    )
    entropy_coefficient: float = Field(default=0.0, ge=0, description="ppo: of the entropy bonus")
    update_kl: float | None = Field(
        default=0.05,
        gt=0,
        description="ppo: nats a token between new and old policy that end a step's updates early",
    )
    critic: Literal["shared", "separate"] = Field(
        default="shared",
        description="ppo: a value head on the policy's trunk, or a network of its own",
    )
    ptx_coefficient: float = Field(
        default=0.0, ge=0, description="ppo: γ_ptx, of the pre-training loss mixed in"
    )
    ptx_data: str = Field(
        default="python", description="ppo: the text of that loss (as in `fledge pretrain data=…`)"
    )
    ptx_tokens_per_step: int = Field(
        default=2048, ge=2, description="ppo: tokens of that text an optimizer step"
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
    fields = AlignConfig.model_fields
    check_algorithm(
        config.algorithm, {name for name in fields if getattr(config, name) != fields[name].default}
    )
    if config.algorithm in FROM_PAIRS:
        return prefer(convert_to_prefer(config), show, run)
    base = load_model(config.base)
    tokenizer = base.tokenizer
    task = open_task(config, tokenizer, base.network.config.context, show)
    prompts = [
        encode_prompt(tokenizer, task.example(i, "train").prompt)
        for i in range(config.prompts_per_step)
    ]
    check_sizes(config, base, prompts)
    sampling = choose_sampler_settings(config)
    if "hint" in sampling:
        check_hint(sampling["hint"], task)
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
    text = [config.ptx_data] if config.ptx_coefficient else []
    data = [config.task, *own]
    run = open_run(run, opened, "align", config, began, parents=parents, data=data, copied=text)
    stopwatch = Stopwatch()
    typical = make_typical_rows(config, base, prompts)
    precision = settle_speed(run, config, policy, typical, show).precision
    with remove_if_it_cannot_begin(run):
        if config.ptx_coefficient:
            keep_shards(
                run.folder / "shards",
                lambda: read_corpus(config.ptx_data, show.line),
                base.tokenizer,
                show.line,
            )
        algorithm = make_algorithm(config, policy, reference, base, run, stopwatch, precision)
    kind = KINDS.get(config.algorithm)
    sampler: Sampler
    sampler = rollouts = Rollouts(
        reference if kind and kind.samples_of_base else policy, tokenizer, task, scorer, stopwatch,
        prompts_per_step=config.prompts_per_step, samples_per_prompt=config.samples_per_prompt,
        max_new_tokens=config.max_new_tokens, seed=config.seed, redraws=sampling.get("redraws", 0),
        precision=config.generation,
    )  # fmt: skip
    if "hint" in sampling:
        sampler = Hints(rollouts, sampling["hint"], config.threshold)
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
        text = open_ptx_stream(config, run, "validation")
        if text is not None:
            context = min(256, base.network.config.context)
            figures["validation_loss"] = measure_held_out_loss(
                policy.with_rule(Decoding()), text, tokenizer, context, 32
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


def check_sizes(config: AlignConfig, base: Loaded, prompts: list[list[int]]) -> None:
    """Raises UserError, before anything is computed, for settings that cannot work together."""
    longest = max(len(prompt) for prompt in prompts)
    context = base.network.config.context
    if longest >= context:
        raise UserError(
            f"a prompt of {config.task} has {longest} tokens and the model's context is {context}: "
            "shorten the prompts, or pre-train with a longer `context`."
        )
    kind = KINDS.get(config.algorithm)
    compares = kind is not None and kind.compares
    if config.algorithm == "reinforce" and config.baseline in ("leave_one_out", "optimal"):
        compares = True
    if compares and config.samples_per_prompt < 2:
        other = ", or baseline=batch" if config.algorithm == "reinforce" else ""
        raise UserError(
            f"samples_per_prompt=1 leaves no other answer to compare with: give 2 or more{other}."
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
    rows, (updates, epochs) = (
        config.prompts_per_step * config.samples_per_prompt,
        count_optimizer_steps(config),
    )
    if updates % epochs or rows % (updates // epochs):
        raise UserError(
            f"updates_per_step={updates} in epochs={epochs} does not cut the {rows} rows of a step "
            "into equal parts: choose a multiple of epochs that divides the rows."
        )


def convert_to_prefer(config: AlignConfig) -> PreferConfig:
    """The same run as `fledge prefer` has it: what the user gave keeps its value, the rest takes
    prefer's own defaults.
    """
    given = config.model_dump(include=config.model_fields_set)
    if config.pairs is None:
        given.pop("pairs", None)
    if config.algorithm in ("dpo", "ipo", "kto") and "kl_coefficient" in given:
        given["beta"] = given.pop("kl_coefficient")  # the same β
    # `epochs` are passes over a batch of samples here, and passes over all pairs there.
    unknown = sorted(given.keys() - (PreferConfig.model_fields.keys() - {"epochs"}))
    if unknown:
        raise UserError(
            f"{unknown[0]} says nothing to algorithm={config.algorithm}, which learns from pairs: "
            "see `fledge prefer --help`."
        )
    return PreferConfig(**given)


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


def make_algorithm(
    config: AlignConfig,
    policy: TokenPolicy,
    reference: TokenPolicy,
    base: Loaded,
    run: Run,
    stopwatch: Stopwatch,
    precision: str,
) -> Algorithm:
    kl, (updates, epochs) = (
        KLControl(config.kl_coefficient, config.kl_target),
        count_optimizer_steps(config),
    )
    if config.algorithm != "ppo":
        module: nn.Module = policy
        named: dict[str, Any] = {
            "reference": reference,
            "kl": kl,
            "generator": generator_for(config.seed, "batches"),
            "sampled_in_fp32": config.generation == "fp32",
        }
        if config.algorithm == "control_variate":
            named["action_value"] = guess = nn.Linear(
                base.network.config.width, base.network.config.vocab_size, bias=False
            )
            nn.init.zeros_(guess.weight)  # at first it takes nothing from the return
            module = SharedCritic(policy, guess).to(config.on())
        kind = KINDS.get(config.algorithm)
        restarts = kind is not None and kind.restarts
        learner = config.learner(module, precision, updates if restarts else config.steps * updates)
        if kind is None:
            algorithm: Any = load_algorithm(config.algorithm, policy, learner, stopwatch, **named)
        else:
            algorithm = build(kind, config, policy, learner, stopwatch, **named)
        return by_batches(algorithm, learner, updates)
    width = base.network.config.width
    if config.critic == "shared":
        actor_critic: nn.Module = SharedCritic(policy, ScalarHead(width))
    else:
        actor_critic = SeparateCritic(policy, ScalarModel(copy.deepcopy(base.network), bias=True))
    actor_critic.to(config.on())
    pretraining = None
    if config.ptx_coefficient:
        text = open_ptx_stream(config, run, "train")
        assert text is not None
        context = min(256, base.network.config.context)
        rows = max(1, config.ptx_tokens_per_step // context)
        plain = policy.with_rule(Decoding())
        pretraining = (
            plain,
            DocumentRows(
                text, base.tokenizer.begin, rows_per_step=rows, context=context, seed=config.seed
            ),
        )
    settings = PPOSettings(
        gamma=config.gamma, gae_lambda=config.gae_lambda, clip_low=config.clip_low or 0.2,
        clip_high=config.clip_high or 0.2, value_clip=config.value_clip,
        value_coefficient=config.value_coefficient, entropy_coefficient=config.entropy_coefficient,
        epochs=epochs, updates_per_step=updates, target_kl=config.update_kl,
        ptx_coefficient=config.ptx_coefficient,
    )  # fmt: skip
    learner = config.learner(actor_critic, precision, config.steps * updates)
    ppo = PPO(
        actor_critic, learner, stopwatch, settings, generator=generator_for(config.seed, "batches"),
        reference=reference, kl=kl, pretraining=pretraining,
    )  # fmt: skip
    return by_batches(ppo, learner, updates)


def open_ptx_stream(
    config: AlignConfig, run: Run, split: Literal["train", "validation"]
) -> TokenStream | None:
    """The text of the pre-training term, which is in the run; None without such a term."""
    return TokenStream(run.folder / "shards", split) if config.ptx_coefficient else None
