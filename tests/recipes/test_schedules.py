"""The learning rate of every optimizer step of a whole run is its schedule's, for every algorithm
that a verb can name.

What is expected is computed here, from the number of steps that were made or of world steps that
were seen: a schedule that reckons with others ends early, late or never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fledge.algorithms.parts.replayed import MemorySettings
from fledge.algorithms.registry import find_entry, names_of
from fledge.algorithms.settings import Passes
from fledge.hub.folder import Loaded
from fledge.policy import TokenPolicy
from fledge.recipes.control.kinds import IMITATORS
from fledge.recipes.language import align, prefer
from fledge.recipes.language.align import AlignConfig
from fledge.recipes.language.prefer import PreferConfig
from fledge.recipes.pacing import by_batches, by_world_steps
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs
from tests.recipes.control.control_subjects import ALGORITHMS, an_expert, subject
from tests.sample.test_rollouts import BYTES
from tests.subjects import learner, policy_of, rollouts, transformer

SHAPES = ("constant", "linear", "cosine")
PEAK, RISE, BATCHES = 1e-3, 3, 4


def left(shape: str, done: float) -> float:
    """Of the peak's distance from where the rate ends, after this share of the fall."""
    return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[
        shape
    ]


@dataclass(frozen=True)
class Made:
    """One optimizer step."""

    optimizer: int
    rate: float
    anew: bool  # whether the weights that it changes are those that the run began with


@contextmanager
def optimizer_steps() -> Iterator[list[Made]]:
    """Every step of every optimizer there is, whoever makes it."""
    made: list[Made] = []
    first: dict[int, list[torch.Tensor]] = {}

    def note(optimizer: Any, *_: Any) -> None:
        own = [p.detach() for group in optimizer.param_groups for p in group["params"]]
        before = first.setdefault(id(optimizer), [p.clone() for p in own])
        anew = all(torch.equal(a, b) for a, b in zip(own, before, strict=True))
        rates = {group["lr"] for group in optimizer.param_groups}
        assert len(rates) == 1
        made.append(Made(id(optimizer), rates.pop(), anew))

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield made
    finally:
        handle.remove()


def trainings(made: list[Made]) -> list[list[float]]:
    """The rates, cut where the weights went back to where they came from."""
    cuts = [i for i, step in enumerate(made) if step.anew] + [len(made)]
    return [[step.rate for step in made[a:b]] for a, b in pairwise(cuts)]


def risen_and_fallen(shape: str, steps: int) -> list[float]:
    """Up in a line over RISE steps, down to a tenth of the peak where `steps` have been made."""
    up = [PEAK * (k + 1) / (RISE + 1) for k in range(RISE)]
    down = [PEAK * (0.1 + 0.9 * left(shape, k / (steps - RISE))) for k in range(steps - RISE)]
    return up + down


def text_algorithm(name: str, policy: TokenPolicy, **fields: Any) -> Any:
    """As `fledge align` makes it; rows are what `rollouts` gives, 16 a batch."""
    given: dict[str, Any] = {
        "base": Path("base"), "task": "reverse", "algorithm": name, "steps": BATCHES,
        "prompts_per_step": 8, "samples_per_prompt": 2, "learning_rate": PEAK,
        "warmup_steps": RISE, **fields,
    }  # fmt: skip
    config = AlignConfig.read(given)
    base = Loaded(policy.network, BYTES, Path("base"), {})
    frozen, settings = policy.frozen_copy(), config.settings.for_rows(16)
    return align.build_algorithm(config, settings, policy, frozen, base, Stopwatch(), "fp32")


def answers(
    policy: TokenPolicy,
    seed: int,
    worth: Callable[[torch.Tensor], torch.Tensor] = lambda x: 1 + x.abs(),
) -> Any:
    """All of them right unless told otherwise, and none as good as another."""
    batch = rollouts(policy, seed=seed)
    last = torch.zeros_like(batch.chosen).scatter_(1, batch.last()[:, None] - 1, True)
    total = worth(batch.reward.sum(1, keepdim=True))
    return batch.replace(reward=torch.where(last, total, 0.0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", names_of("texts"))
def test_of_align_from_the_first_step_to_the_last_and_in_each_training_from_the_base(
    name: str, shape: str
) -> None:
    policy = policy_of(transformer())
    algorithm = text_algorithm(name, policy, schedule=shape)
    with optimizer_steps() as made:
        for batch in range(BATCHES):
            algorithm.update(answers(policy, batch))
    assert len({step.optimizer for step in made}) == 1
    every = trainings(made)
    assert len(every) == (BATCHES if name in ("rest_em", "star") else 1)
    for rates in every:
        assert len(rates) >= BATCHES
        assert rates == pytest.approx(risen_and_fallen(shape, len(rates)), rel=1e-12)


@pytest.mark.parametrize(
    "name",
    [n for n in names_of("texts") if isinstance(find_entry("texts", n).settings("texts"), Passes)],
)
def test_epochs_alone_imply_how_many_updates_there_are(name: str) -> None:
    """Each pass in as many pieces as the algorithm cuts it: 1, of ppo 4, of an M-step 8; 16 rows
    are enough for all of them.
    """
    policy = policy_of(transformer())
    with optimizer_steps() as made:
        text_algorithm(name, policy, epochs=2).update(answers(policy, 0))
    assert len(made) == 2 * {"ppo": 4, "rest_em": 8, "star": 8}.get(name, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", names_of("pairs"))
def test_of_prefer(name: str, shape: str) -> None:
    policy = policy_of(transformer())
    given: dict[str, Any] = {
        "algorithm": name, "schedule": shape, "learning_rate": PEAK, "warmup_steps": RISE,
    }  # fmt: skip
    config = PreferConfig.read({"base": Path("base"), "steps": 6, **given})
    fit = config.learner(policy, "fp32")
    algorithm = prefer.make_algorithm(config, policy, policy.frozen_copy(), fit, Stopwatch())
    with optimizer_steps() as made:
        for seed in range(6):
            one, other = answers(policy, seed, lambda x: x), answers(policy, seed + 10)
            algorithm.update(one if name == "kto" else Pairs(one, other))
    assert [step.rate for step in made] == pytest.approx(risen_and_fallen(shape, 6), rel=1e-12)


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return an_expert(tmp_path_factory.mktemp("expert") / "run")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_of_control_by_the_share_of_the_world_steps_that_are_done(
    algorithm: str, shape: str, expert: Path
) -> None:
    """A batch's steps share its world steps evenly; those before learning starts and those that
    only begin an episode anew do not count.
    """
    fields: dict[str, Any] = {
        "schedule": shape,
        "learning_rate": PEAK,
        "steps": 150,
        "steps_per_batch": 8,
        "seed": 1,
    }
    with (
        subject(algorithm, expert if algorithm in IMITATORS else None, **fields) as made,
        optimizer_steps() as steps,
    ):
        own = made.config.settings
        starts = own.learning_starts if isinstance(own, MemorySettings) else 0
        running = by_world_steps(made.built.algorithm, made.paces)
        wanted: list[tuple[int, float]] = []
        while made.sampler.taken < 150:
            before, known = max(0, made.sampler.taken - starts), len(steps)
            running.update(next(made.sampler))
            after = min(150, made.sampler.taken) - starts
            for one in {step.optimizer for step in steps[known:]}:
                own = [place for place in range(known, len(steps)) if steps[place].optimizer == one]
                for k, place in enumerate(own):
                    done = (before + (after - before) * k / len(own)) / (150 - starts)
                    wanted.append((place, PEAK * left(shape, done)))
    rates = [step.rate for step in steps]
    assert rates == pytest.approx([rate for _, rate in sorted(wanted)], rel=1e-9)
    assert bool(rates) == bool(made.paces)
    if rates and shape != "constant":
        assert rates[0] == PEAK
        assert 0 < rates[-1] < PEAK / 2


def test_updates_that_end_early_and_batches_that_teach_nothing_move_no_schedule() -> None:
    policy = policy_of(transformer())
    early = text_algorithm("ppo", policy, schedule="linear", update_kl=1e-12)
    with optimizer_steps() as made:
        for batch in range(BATCHES):
            early.update(answers(policy, batch))
    whole = risen_and_fallen("linear", 4 * BATCHES)
    assert [step.rate for step in made] == pytest.approx(
        [whole[4 * batch + k] for batch in range(BATCHES) for k in (0, 1)]
    )

    fit = learner(policy)
    idle = text_algorithm("rloo", policy, schedule="linear", kl_coefficient=0.0)
    with optimizer_steps() as made:
        for batch in range(BATCHES):
            figures = idle.update(
                answers(policy, batch, torch.ones_like if batch == 1 else torch.abs)
            )
            assert ("steps_skipped" in figures) == (batch == 1)
    whole = risen_and_fallen("linear", BATCHES)
    assert [step.rate for step in made] == pytest.approx([whole[batch] for batch in (0, 2, 3)])
    assert fit.steps == 0


def test_an_update_of_more_steps_than_were_foreseen_stays_within_its_batch() -> None:
    """An algorithm of the user's own makes as many as it likes."""
    module = torch.nn.Linear(1, 1)
    fit = learner(module)

    class Several:
        unfinished = None

        def update(self, batch: Any, between_steps: Any) -> dict[str, float]:
            for _ in range(3):
                fit.clock.tick()
            return {"place": fit.clock.place}

    running = by_batches(Several(), fit, 1)
    assert [running.update(None)["place"] for _ in range(3)] == [1, 2, 3]
