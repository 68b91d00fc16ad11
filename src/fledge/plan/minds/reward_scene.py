"""A scene of kind `reward`: a map of kinds of ground, an expert who walks on it, and the question
what each kind of ground is worth to them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.chances import Chances
from fledge.plan.minds.reward_inference import (
    act_best,
    discount,
    follow_policy,
    solve_causal,
)
from fledge.plan.minds.scene_file import SceneFile, is_finite
from fledge.plan.minds.walk_file import find_moves
from fledge.plan.minds.walk_scene import ACTS, STAY
from fledge.seeds import generator_for

FIELDS = (
    "map", "worth", "demonstrations", "steps", "slip", "gamma", "features", "entropy",
    "iterations", "learning_rate", "penalty", "rationality",
    "chains", "spread",
)  # fmt: skip
MOVES = ACTS[: STAY + 1]
EXACT = "exact"


@dataclass(frozen=True)
class RewardScene:
    """One world, with W = 1: transition [1, 5, S, S], start [1, S], features [1, S, F] with their
    names, acts [1, T, S, A] and counts [1, F] of the demonstrations, means over them, true reward
    [1, S] where it is known.
    """

    title: str
    floor: Tensor
    transition: Tensor
    start: Tensor
    features: Tensor
    names: tuple[str, ...]
    acts: Tensor
    counts: Tensor
    reward: Tensor | None
    shown: int  # demonstrations; 0: all that could be, each as likely as it is
    steps: int
    gamma: float
    causal: bool
    iterations: int
    learning_rate: float
    penalty: float
    chains: int  # of a posterior; 0: the likeliest rewards
    spread: float


def read_reward_scene(file: SceneFile, seed: int) -> RewardScene:
    """seed: of demonstrations that are drawn.  Raises UserError for a scene that is none."""
    file.check_names(FIELDS)
    rows = [line for line in file.text("map").splitlines() if line.strip()]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise file.wrong("map", "a map whose lines are equally long")
    signs = "".join(rows)
    for sign in signs:
        if sign not in "#.S" and not (sign.isalpha() and sign.islower()):
            raise UserError(
                f"the map of {file.name} has {sign!r}: give '#' (wall), '.' (plain ground), 'S' "
                "(plain ground, where walks begin) or small letters for kinds of ground."
            )
    floor = torch.tensor([[sign != "#" for sign in row] for row in rows])
    number = torch.where(floor, floor.flatten().cumsum(0).view(floor.shape) - 1, -1)
    ground = [sign.replace("S", ".") for sign in signs if sign != "#"]
    kinds = tuple(sorted(set(ground)))
    of_places = file.text("features", "grounds") == "places"
    if not ground or (len(kinds) < 2 and not of_places):
        raise UserError(
            f"all ground of {file.name} is alike, so nothing on it can be wanted: draw other "
            'kinds of ground with small letters, or give features = "places".'
        )
    after = find_moves(number)
    slip = file.number("slip", 0.0, 0.0, 1.0)
    transition = make_chances(after, slip)
    begins = torch.tensor([sign == "S" for sign in signs if sign != "#"]).double()
    start = begins if bool(begins.any()) else torch.ones(len(ground), dtype=torch.float64)
    start = start[None] / start.sum()
    by_kind = torch.tensor([[one == kind for kind in kinds] for one in ground]).double()[None]
    features, names = by_kind, kinds
    if of_places:
        features = torch.eye(len(ground), dtype=torch.float64)[None]
        names = tuple(f"{i + 1}, {j + 1}" for i, j in floor.nonzero().tolist())
    elif file.text("features", "grounds") != "grounds":
        raise file.wrong("features", '"grounds" (a worth for each letter) or "places"')
    entropy = file.text("entropy", "causal")
    if entropy not in ("causal", "maximum"):
        raise file.wrong("entropy", '"causal" or "maximum"')
    reward = read_worth(file, kinds, by_kind)
    steps, gamma = file.whole("steps", 20, 2, 1000), file.number("gamma", 1.0, 0.0, 1.0)
    acts, shown = read_demonstrations(
        file, transition, start, reward, after, steps, gamma, slip, seed
    )
    counts = torch.einsum("wsf,ws->wf", features, discount(acts.sum(-1), gamma))
    chains = file.whole("chains", 0, 0, 10_000)
    if chains and (shown == 0 or gamma != 1.0 or entropy != "causal"):
        raise UserError(
            f"{file.name} has chains = {chains}, and a posterior is of a number of walks, without "
            "gamma and with causal entropy: give demonstrations as a number or a list, and leave "
            "the others out."
        )
    return RewardScene(
        file.title, floor, transition, start, features, names, acts, counts, reward, shown, steps,
        gamma, entropy == "causal", file.whole("iterations", 200, 1, 100_000),
        file.number("learning_rate", 0.2, 1e-9), file.number("penalty", 1e-3, 0.0), chains,
        file.number("spread", 3.0, 1e-9),
    )  # fmt: skip


def make_chances(after: Tensor, slip: float) -> Tensor:
    """A move goes as meant, or with `slip` by any of the five, evenly.  [5, S] -> [1, 5, S, S]"""
    S = after.shape[1]
    meant = torch.nn.functional.one_hot(after, S).double()  # [5, S, S]
    return ((1 - slip) * meant + slip * meant.mean(0))[None]


def read_worth(file: SceneFile, kinds: tuple[str, ...], by_kind: Tensor) -> Tensor | None:
    """The true worth of each kind of ground, 0 where none is said.  -> [1, S]"""
    table = file.table("worth")
    if not table.keys() <= set(kinds) or not all(map(is_finite, table.values())):
        raise file.wrong("worth", f"a table of numbers for some of {', '.join(kinds)}")
    if not table:
        return None
    return by_kind @ torch.tensor([float(table.get(k, 0)) for k in kinds], dtype=torch.float64)


def read_demonstrations(
    file: SceneFile, transition: Tensor, start: Tensor, reward: Tensor | None, after: Tensor,
    steps: int, gamma: float, slip: float, seed: int,
) -> tuple[Tensor, int]:  # fmt: skip
    """How often an expert does what where at each step, [1, T, S, 5], and how many walks that is
    of.
    """
    given = file.fields.get("demonstrations", EXACT)
    if isinstance(given, list) and given and all(isinstance(each, str) for each in given):
        if slip > 0:
            raise UserError(
                f"the walks of {file.name} are written down and slip is {slip:g}, so that nobody "
                "could say where they went: leave slip out, or give demonstrations as a number."
            )
        if int((start > 0).sum()) != 1:
            raise UserError(
                f"the walks of {file.name} are written down: mark the one place where they begin "
                "with S."
            )
        return follow_words(file, given, after, int(start.argmax()), steps), len(given)
    if reward is None:
        raise UserError(
            f"{file.name} has neither walks nor a true [worth] by which to draw them: give "
            'demonstrations = ["right 3 up", …], or [worth].'
        )
    beta = file.fields.get("rationality", math.inf)
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not beta > 0:
        raise file.wrong("rationality", "a number above 0, or inf for an expert who never errs")
    if beta == math.inf:
        expert = act_best(transition, reward, steps, gamma)
    else:
        model = solve_causal(Chances(transition), start, beta * reward, steps, gamma)
        expert = model.log_policy.exp()
    if given == EXACT:
        return follow_policy(transition, start, expert)[..., None] * expert, 0
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise file.wrong("demonstrations", 'a number, "exact", or a list of walks')
    generator = generator_for(seed, "actor", "demonstrations")
    place = start[0].multinomial(given, replacement=True, generator=generator)
    acts, here = torch.zeros_like(expert), torch.full((given,), 1 / given, dtype=torch.float64)
    for t in range(steps):
        act = expert[0, t, place].multinomial(1, generator=generator)[:, 0]
        acts[0, t].index_put_((place, act), here, accumulate=True)
        place = transition[0, act, place].multinomial(1, generator=generator)[:, 0]
    return acts, given


def follow_words(
    file: SceneFile, walks: list[str], after: Tensor, start: int, steps: int
) -> Tensor:
    """Walks in words; who has arrived stays.  -> [1, T, S, 5]"""
    every = torch.zeros(1, steps, after.shape[1], len(MOVES), dtype=torch.float64)
    for walk in walks:
        words = re.split(r"[\s,]+", walk.strip())
        acts: list[int] = []
        for before, word in zip(["", *words], words, strict=False):
            if word in MOVES:
                acts.append(MOVES.index(word))
            elif word.isdecimal() and before in MOVES and 1 <= int(word) <= steps:
                acts += [MOVES.index(before)] * (int(word) - 1)
            else:
                raise UserError(
                    f"the walk {walk!r} of {file.name} has {word!r}: give {', '.join(MOVES)}, and "
                    "after one a number that repeats it."
                )
        if len(acts) > steps - 1:
            raise UserError(
                f"the walk {walk!r} of {file.name} has {len(acts)} moves and is looked at for "
                f"{steps} steps: give steps = {len(acts) + 1} or more."
            )
        place = start
        for t in range(steps):
            act = acts[t] if t < len(acts) else STAY
            every[0, t, place, act] += 1 / len(walks)
            place = int(after[act, place])
    return every
