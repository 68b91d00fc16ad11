"""`fledge align`: reinforcement learning on completions, rewarded by a task's verifier or by a
reward model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from fledge import ranks
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.algorithms.registry import Subject, names_of
from fledge.algorithms.settings import AlgorithmSettings
from fledge.engine.generation import Generation
from fledge.errors import UserError
from fledge.evaluate.distance import judge_distance
from fledge.evaluate.judge import Figures, Judge
from fledge.evaluate.judging import draw_held_out, judge_answers
from fledge.evaluate.likelihood import measure_held_out_loss
from fledge.hub.folder import Loaded, load_reward_model
from fledge.log_prob import Decoding
from fledge.loop import Sampler
from fledge.next_command import write_command
from fledge.policy import TokenPolicy
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.recipes.constraint_fields import ConstraintFields
from fledge.recipes.course import Course, Start, Summary, describe_result
from fledge.recipes.language.adapter_fields import AdapterFields, describe_size
from fledge.recipes.language.aligners import Making, make_algorithm
from fledge.recipes.language.judge_fields import (
    EarlyStopFields,
    JudgeFields,
    LengthFields,
    TaskName,
)
from fledge.recipes.language.large_defaults import ALIGN, LargeDefaults, count_kl_answers
from fledge.recipes.language.rows import ReadingFields
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import read_corpus
from fledge.recipes.memory import Sampling, list_evaluation, tell_memory
from fledge.recipes.pacing import Paced, by_batches
from fledge.recipes.training import count_parameters
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.generate import SLOTS
from fledge.sample.hints import Hints, check_hint
from fledge.sample.rollouts import ROUND, Rollouts, Scorer, encode_prompt
from fledge.score.kl_control import KLControl
from fledge.score.reward_model import RewardModelScore
from fledge.score.verifier import Verifier
from fledge.splits import HeldOut
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import Task, list_censuses
from fledge.text.own_copy import keep_shards
from fledge.text.shards import TokenStream
from fledge.trajectories import Trajectories, from_rows

GREEDY_SCORE = "greedy_true_score"  # of an evaluation


class AlignConfig(
    AlgorithmFields, AdapterFields, LengthFields, EarlyStopFields, JudgeFields, ReadingFields,
    ConstraintFields,
):  # fmt: skip
    """Align a tuned model: sample answers to a task's prompts, score them, and make the better ones
    likelier.
    """

    subject: ClassVar[Subject] = "texts"
    large: ClassVar[LargeDefaults] = ALIGN

    base: Path = Field(
        description="the run or model folder to start from; the reference of the KL, too"
    )
    task: TaskName = Field(
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
    steps: int = Field(default=100, ge=1, description="batches of samples")
    learning_rate: float = Field(default=5e-4, gt=0, description="at its peak")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="linear", description="of the learning rate after its rise"
    )
    warmup_steps: int = Field(
        default=5, ge=0, description="optimizer steps over which the learning rate rises"
    )


def align(config: AlignConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a base, a reward model, a task or settings that do not go together."""
    start, config = Start("align", show, run), config.composed()
    base, config = config.load_base(config.base)
    task = open_task(config, base.tokenizer, base.network.config.context, show)
    prompts = [
        encode_prompt(base.tokenizer, task.example(i, "train").prompt)
        for i in range(config.prompts_per_step)
    ]
    settings = check_sizes(config, config.settings, base, prompts)
    if (hint := settings.sampling().hint) is not None:
        check_hint(hint, task)
    rule = Decoding(config.temperature, config.top_k, config.top_p, config.min_p)
    policy = base.policy().with_rule(rule).bind(config.make_constraint(base)).to(config.on())
    reference = policy.frozen_copy()
    scorer: Scorer = Verifier(task, cut_reward=config.cut_reward)
    if config.reward is not None:
        scorer = load_scorer(config.reward, base, scorer, config, show)
    parents = [base.source, *([config.reward] if config.reward else [])]
    texts = list_mixed_texts(settings)
    with start.begin(
        config,
        parents=parents,
        data=[config.task, *config.own_code, *config.own_family, *config.constraint_files],
        copied=texts,
    ) as course:
        typical = make_typical_rows(config, base, prompts)
        tell_memory(
            course, config, policy, typical, networks=count_networks(settings),
            beside=[reference, *([scorer.model] if isinstance(scorer, RewardModelScore) else [])],
            held=[list_rollouts(config, base, prompts)],
            evaluation=list_evaluation(task, config, base.tokenizer),
        )  # fmt: skip
        speed = course.settle_speed(config, policy, typical)
        mixed = open_mixed_text(course, base, texts)
        algorithm = build_algorithm(
            config, settings, policy, reference, base, course.stopwatch, speed.precision, mixed
        )
        acting = reference if settings.sampling().of_base else policy
        sampler = make_sampler(config, settings, acting, base, task, scorer, course)
        rewarded = (
            f"reward model {config.reward}" if config.reward else f"verifier of {config.task}"
        )
        of = f"{config.base} ({describe_size(base)})"
        by = f"{config.algorithm}, rewarded by the {rewarded}, {speed.describe()}"
        course.say(f"{of} by {by}")
        judges = make_judges(config, course, policy, reference, base, task, mixed is not None)
        course.fit(
            algorithm, sampler, judges, figure="reward", stop_at=config.stop_at_exact_match,
            beside={"judge": task},
        )  # fmt: skip
        base.save(course.run.model_folder)
        return conclude(config, course, task)


def open_mixed_text(course: Course, base: Loaded, texts: Sequence[str]) -> TokenStream | None:
    """The training part of the run's own copy of the text of the pre-training term, made if it is
    not there.
    """
    if not texts:
        return None
    shards, say = course.run.folder / "shards", course.show.line
    ranks.first_then_others(
        lambda: keep_shards(shards, lambda: read_corpus(texts[0], say), base.tokenizer, say)
    )
    return TokenStream(shards, "train")


def make_sampler(
    config: AlignConfig,
    settings: AlgorithmSettings,
    acting: TokenPolicy,
    base: Loaded,
    task: Task,
    scorer: Scorer,
    course: Course,
) -> Sampler:
    """Answers to the task's prompts, asked as the algorithm wants them."""
    wanted = settings.sampling()
    rollouts = Rollouts(
        acting, base.tokenizer, task, scorer, course.stopwatch,
        prompts_per_step=config.prompts_per_step, samples_per_prompt=config.samples_per_prompt,
        max_new_tokens=config.max_new_tokens, seed=config.seed, redraws=wanted.redraws,
        precision=config.generation,
    )  # fmt: skip
    return rollouts if wanted.hint is None else Hints(rollouts, wanted.hint, wanted.threshold)


def make_judges(
    config: AlignConfig,
    course: Course,
    policy: TokenPolicy,
    reference: TokenPolicy,
    base: Loaded,
    task: Task,
    mixes: bool,
) -> list[Judge]:
    """Of greedy answers, by which checkpoints are ranked; of the distance from the base; and of
    the text that is mixed in.
    """
    questions = draw_held_out(task, config.evaluation_prompts)
    answers = judge_answers(
        policy, base.tokenizer, task, questions, config.max_new_tokens, course.run,
        config.cut_reward,
    )  # fmt: skip

    def read(part: HeldOut, step: int) -> Figures:
        figures = answers.read(part, step)
        if part == "test":
            return figures
        # `true_score` is logged at every step, of answers that were sampled
        return {"exact_match": figures["exact_match"], GREEDY_SCORE: figures["true_score"]}

    def read_text(part: HeldOut, step: int) -> Figures:
        if part == "test":
            return {}
        stream, context = (
            TokenStream(course.run.folder / "shards", part),
            base.network.config.context,
        )
        plain = policy.with_rule(Decoding()).bind(None)
        return {
            "validation_loss": measure_held_out_loss(
                plain, stream, base.tokenizer, min(256, context), 32
            )[0]
        }

    distance = judge_distance(
        policy, reference, base.tokenizer, task, config.max_new_tokens, config.seed, "kl_exact",
        count_kl_answers(count_parameters(base.network)),
    )  # fmt: skip
    greedy = Judge(
        read, ranks="exact_match", items=answers.items, what=answers.what, apart=answers.apart
    )
    return [greedy, distance, *([Judge(read_text)] if mixes else [])]


def conclude(config: AlignConfig, course: Course, task: Task) -> Summary:
    """The test part, and what rose: of evaluations, and of the samples of the first and the last
    step.
    """
    test, before, last = course.test(), course.first, course.last
    updates = (row for row in course.run.metrics.each() if "kl_k1" in row)
    first = latest = next(updates)
    for latest in updates:  # noqa: B007 (to the last one)
        pass
    sampled = [name for name in ("reward", "true_score", "reward_model_score") if name in latest]
    greedy = course.judges[0]
    name, items = choose_figure(before, last, test), greedy.items
    told = describe_result(
        "align", name, before[name], last[name], test[name.removeprefix("greedy_")],
        (items["validation"], items["test"]), greedy.what, apart=greedy.apart,
    )  # fmt: skip
    compared = {"exact_match": "exact_match", "kl": "kl_exact"}
    own = {
        when: {name: evaluation[logged] for name, logged in compared.items()}
        | {name: row[name] for name in sampled}
        for when, evaluation, row in (("before", before, first), ("after", last, latest))
    }
    return course.finish(
        own, test=test, held_out=items, censuses=list_censuses(task),
        lines=[told, f"align: {last['kl_exact']:.2f} nats from {config.base}."],
        then=write_command("chat", base=course.run.folder),
    )  # fmt: skip


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
    return "exact_match" if any(each["exact_match"] for each in figures) else GREEDY_SCORE


def make_typical_rows(config: AlignConfig, base: Loaded, prompts: list[list[int]]) -> Trajectories:
    """Rows of the size that a step will train on, to measure speed with: prompts and as many stop
    tokens as an answer may take.
    """
    room = [
        min(config.max_new_tokens, base.network.config.context - len(prompt)) for prompt in prompts
    ]
    stop = min(base.tokenizer.ends, default=0)
    rows = [prompt + [stop] * n for prompt, n in zip(prompts, room, strict=True)]
    chosen = [[False] * len(prompt) + [True] * n for prompt, n in zip(prompts, room, strict=True)]
    return from_rows(rows * config.samples_per_prompt, chosen * config.samples_per_prompt)


def count_networks(settings: AlgorithmSettings) -> int:
    """How many learn: the policy, and a critic that is a network of its own."""
    return 2 if isinstance(settings, PPO.InTexts) and settings.critic == "separate" else 1


def list_rollouts(config: AlignConfig, base: Loaded, prompts: list[list[int]]) -> Sampling:
    """What samples the answers of a step."""
    longest = max(map(len, prompts)) + config.max_new_tokens
    rows = min(SLOTS, config.prompts_per_step * config.samples_per_prompt)
    return Sampling(rows, min(-(-longest // ROUND) * ROUND, base.network.config.context))


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


def load_scorer(
    path: Path, base: Loaded, truth: Verifier, config: AlignConfig, show: Show
) -> RewardModelScore:
    """The reward model's score, scaled as it says; one of others says nothing, and is taken as it
    is. Raises UserError if it reads other tokens than the policy
    writes.
    """
    model, loaded = load_reward_model(path)
    if loaded.tokenizer.fingerprint() != base.tokenizer.fingerprint():
        raise UserError(
            f"the reward model {path} has another tokenizer than {config.base}: train it on the "
            "same base."
        )
    model = model.to(config.on()).requires_grad_(False).eval()
    scale = loaded.config.get("fledge_reward")
    if scale is None:
        show.line(f"{path} says nothing of the scale of its scores: they are taken as they are.")
        scale = {"mean": 0.0, "std": 1.0}
    return RewardModelScore(
        model, mean=scale["mean"], std=scale["std"], truth=truth, cut_reward=config.cut_reward
    )
