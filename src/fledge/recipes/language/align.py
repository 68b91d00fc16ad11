"""`fledge align`: reinforcement learning on completions, rewarded by a task's verifier or by a
reward model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from fledge import ranks
from fledge.algorithms.likelihood.search_teacher import SearchTeacher
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.log_prob import Decoding
from fledge.loop import Sampler
from fledge.next_command import write_command
from fledge.policy import TokenPolicy
from fledge.recipes.course import Course, Start, Summary, describe_result
from fledge.recipes.language.adapter_fields import describe_size
from fledge.recipes.language.align_fields import AlignConfig as AlignConfig
from fledge.recipes.language.align_fields import check_conversed, check_sizes
from fledge.recipes.language.align_judges import choose_figure, load_scorer, make_judges
from fledge.recipes.language.aligners import Making, make_algorithm
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import read_corpus
from fledge.recipes.memory import Sampling, list_evaluation, size_engine, tell_memory
from fledge.recipes.pacing import Paced, by_batches
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.curriculum import Curriculum
from fledge.sample.generate import SLOTS
from fledge.sample.hints import Hints, check_hint
from fledge.sample.rollouts import ROUND, Rollouts, Scorer
from fledge.sample.searched import SearchedRollouts
from fledge.sample.token_search import SearchPlan
from fledge.score.kl_control import KLControl
from fledge.score.reward_model import RewardModelScore
from fledge.score.verifier import Verifier
from fledge.stopwatch import Stopwatch
from fledge.tasks.answered import render_example
from fledge.tasks.conversed import count_turns
from fledge.tasks.named import Task, list_censuses
from fledge.text.asking import encode_prompt
from fledge.text.own_copy import keep_shards
from fledge.text.shards import TokenStream
from fledge.trajectories import Trajectories, from_rows


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
    check_conversed(settings, task)
    curriculum = make_curriculum(config, settings, task)
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
        typical = make_typical_rows(config, base, prompts, task)
        tell_memory(
            course, config, policy, typical, networks=count_networks(settings),
            beside=[reference, *([scorer.model] if isinstance(scorer, RewardModelScore) else [])],
            sampling=[
                *([] if config.server else [list_rollouts(config, base, prompts, task)]),
                *list_evaluation(task, config, base),
            ],
        )  # fmt: skip
        speed = course.settle_speed(
            config, policy, typical, beside=[reference], tokenizer=base.tokenizer
        )  # fmt: skip
        mixed = open_mixed_text(course, base, texts)
        algorithm = build_algorithm(
            config, settings, policy, reference, base, course.stopwatch, speed.precision, mixed
        )
        acting = reference if settings.sampling().of_base else policy
        sampler = make_sampler(config, settings, acting, base, task, scorer, course, curriculum)
        rewarded = (
            f"reward model {config.reward}" if config.reward else f"verifier of {config.task}"
        )
        of = f"{config.base} ({describe_size(base)})"
        by = f"{config.algorithm}, rewarded by the {rewarded}, {speed.describe()}"
        course.say(f"{of} by {by}")
        judges = make_judges(config, course, policy, reference, base, task, mixed is not None)
        course.fit(
            algorithm, course.with_whole_weights(sampler), judges, figure="reward",
            stop_at=config.stop_at_exact_match, beside={"judge": task},
        )  # fmt: skip
        base.save(course.run.model_folder)
        return conclude(config, course, task)


def make_curriculum(
    config: AlignConfig, settings: AlgorithmSettings, task: Task
) -> Curriculum | None:
    """Raises UserError for a task of one part, and for a search, which asks each in turn."""
    if not config.curriculum:
        return None
    if isinstance(settings, SearchTeacher.Settings):
        raise UserError("curriculum=true was given with algorithm=search, which asks each part of "
                        "a task in turn: leave it out.")  # fmt: skip
    return Curriculum(task, config.seed)


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
    curriculum: Curriculum | None = None,
) -> Sampler:
    """Answers to the task's prompts, asked as the algorithm wants them."""
    wanted = settings.sampling()
    rollouts = Rollouts(
        acting, base.tokenizer, task, scorer, course.stopwatch,
        prompts_per_step=config.prompts_per_step, samples_per_prompt=config.samples_per_prompt,
        max_new_tokens=config.max_new_tokens, seed=config.seed, redraws=wanted.redraws,
        precision=config.generation,
        served=config.make_served(acting, base, course.run.folder, course.show.line),
        curriculum=curriculum,
    )  # fmt: skip
    if isinstance(settings, SearchTeacher.Settings):
        s = settings
        plan = SearchPlan(s.simulations, s.width, s.leaves, s.exploration)
        return SearchedRollouts(rollouts, plan, s.teacher_beta if s.target == "soft" else None)
    return rollouts if wanted.hint is None else Hints(rollouts, wanted.hint, wanted.threshold)


def conclude(config: AlignConfig, course: Course, task: Task) -> Summary:
    """The test part, and what rose: of evaluations, and of the samples of the first and the last
    step.
    """
    test, before, last = course.test(), course.first, course.last
    updates = (row for row in course.run.metrics.each() if "reward" in row)
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
        max_new_tokens=config.max_new_tokens,
        sampled_in_fp32=config.generation == "fp32" and config.server is None,
        text=texts,
    )  # fmt: skip
    made = make_algorithm(making, config.entry.algorithm, settings)
    return by_batches(made, made.learner, updates)


def list_mixed_texts(settings: AlgorithmSettings) -> list[str]:
    """The text of the pre-training term, where there is one."""
    if isinstance(settings, PPO.InTexts) and settings.ptx_coefficient:
        return [settings.ptx_data]
    return []


def make_typical_rows(
    config: AlignConfig, base: Loaded, prompts: list[list[int]], task: Task
) -> Trajectories:
    """Rows of the size that a step will train on, to measure speed with: prompts and as many stop
    tokens as an answer may take; conversations that reach the goal where the task answers and
    knows such.
    """
    if count_turns(task) > 1:
        examples = [task.example(i, "train") for i in range(config.prompts_per_step)]
        known = [example for example in examples if example.answer is not None]
        if known:
            talks = [render_example(base.tokenizer, example, task) for example in known]
            rows = config.prompts_per_step * config.samples_per_prompt
            talks = list(islice(cycle(talks), rows))
            return from_rows([ids for ids, _ in talks], [own for _, own in talks])
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


def list_rollouts(
    config: AlignConfig, base: Loaded, prompts: list[list[int]], task: Task
) -> Sampling:
    """What samples the answers of a step."""
    rows = min(SLOTS, config.prompts_per_step * config.samples_per_prompt)
    engine = size_engine(task, base, rows, max(map(len, prompts)), config.max_new_tokens)
    rounded = -(-engine.positions // ROUND) * ROUND
    return replace(engine, positions=min(rounded, base.network.config.context))
