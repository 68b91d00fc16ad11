"""A network whose blocks are divided over ranks learns what a whole one does, in float64; and its
state is that of a whole one, at any number of ranks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge import ranks
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.preference.dpo import DPO
from fledge.learner import Learner, Schedule
from fledge.models.language.adapters import LoRA
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.virtual_tokens import Virtual
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.rank_sums import gather
from fledge.runs.checkpoint import Checkpoints
from fledge.runs.saving import Saving
from fledge.scale.layout import Layout
from fledge.scale.sharding import Sharded
from fledge.sharded import find_sharded, held_whole, put_together
from fledge.stopwatch import Stopwatch
from fledge.trained_state import trained_state
from fledge.trajectories import Pairs
from tests import subjects
from tests.every_rank import on_ranks
from tests.models.language.test_adapters import adapted, batch, move
from tests.subjects import figures_close, policy_of, rollouts, transformer
from tests.test_ranks import update_every_algorithm

EXACT: dict[str, Any] = {"rtol": 1e-7, "atol": 1e-10}
STEPS = 3


Made = tuple[TokenPolicy, Learner, Supervised]


def make(micro: int | None, tied: bool = True, **sizes: Any) -> Made:
    """Clipped at every step, so that a norm of one rank's part alone would tell."""
    actor = policy_of(transformer(0, dtype=torch.float64, tied=tied, **sizes), chunk=7)
    fit = Learner(
        actor, Schedule(0.01, 10), optimizer=adamw(weight_decay=0.1), clip=0.05,
        rows_per_micro_batch=micro,
    )  # fmt: skip
    return actor, fit, Supervised(actor, fit, Stopwatch())


def make_sharded(
    micro: int | None, tied: bool = True, layout: Layout | None = None, **sizes: Any
) -> Made:
    actor, _, _ = make(micro, tied, **sizes)
    Sharded(actor, "cpu", layout or Layout(1, ranks.world()))
    fit = Learner(
        actor, Schedule(0.01, 10), optimizer=adamw(weight_decay=0.1), clip=0.05,
        rows_per_micro_batch=micro,
    )  # fmt: skip
    return actor, fit, Supervised(actor, fit, Stopwatch())


def learn(made: Made, rows: slice, state: Any = None) -> tuple[Any, dict[str, float]]:
    """The state after some updates, and the figures of the last."""
    _, fit, algorithm = made
    if state is not None:
        fit.load_state_dict(copy.deepcopy(state))  # which it goes on to write
    batch = rollouts(policy_of(transformer(0, dtype=torch.float64), chunk=7))[rows]
    figures: dict[str, float] = {}
    for _ in range(STEPS):
        figures = algorithm.update(batch)
    return copy.deepcopy(put_together(fit.state_dict())), figures


def check_states(mine: Any, theirs: Any, **close: Any) -> None:
    """Weights and moments. close: how near, by default EXACT."""
    close = close or EXACT
    for name, value in theirs["module"].items():
        torch.testing.assert_close(mine["module"][name], value, **close)
    for number, moments in theirs["optimizer"]["state"].items():
        for name, value in moments.items():
            torch.testing.assert_close(mine["optimizer"]["state"][number][name], value, **close)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 2)], ids=["all rows", "fewer than ranks"])
def test_a_divided_network_takes_the_steps_of_a_whole_one(
    rows: slice, tied: bool, tmp_path: Path
) -> None:
    """Of 16 rows in pieces of 3, at 3 ranks, one rank has one piece less; the norm is that of all
    parts. What 3 ranks have come to and saved, each its part, is what they hold put together, to
    the bit, and one process and 2 ranks go on from it.
    """
    state, figures = learn(make(3, tied), rows)
    assert figures["grad_norm"] > 0.05
    again, further = learn(make(3, tied), rows, state)
    checkpoints = Checkpoints(tmp_path / "checkpoints")

    def learn_and_save() -> tuple[Any, dict[str, float]]:
        made = make_sharded(3, tied)
        learned = learn(made, rows)
        with Saving(checkpoints) as saving:
            saving.save(1, made[1].state_dict())
        return learned

    same: Any = None
    for same, said in on_ranks(3, learn_and_save, tmp_path / "three"):
        check_states(same, state)
        assert said == pytest.approx(figures, rel=1e-7)
    saved = checkpoints.load(1)
    fresh = make(3, tied)[1]
    fresh.load_state_dict(saved)
    check_states(fresh.state_dict(), same, rtol=0, atol=0)
    check_states(learn(make(3, tied), rows, saved)[0], again)
    for goes_on, said in on_ranks(
        2, lambda: learn(make_sharded(2, tied), rows, saved), tmp_path / "two"
    ):
        check_states(goes_on, again)
        assert said == pytest.approx(further, rel=1e-7)


def test_each_rank_holds_its_part_and_the_first_a_whole_network_in_the_end(tmp_path: Path) -> None:
    whole = sum(p.numel() for block in make(None)[0].network.blocks for p in block.parameters())

    def ask() -> tuple[int, int, bool, Any]:
        actor, _, _ = make(None)
        before = trained_state(actor)
        sharded = Sharded(actor, "cpu", Layout(1, 2))
        parts: Callable[[], int] = lambda: sum(  # noqa: E731
            getattr(p, "to_local", lambda p=p: p)().numel()
            for block in actor.network.blocks
            for p in block.parameters()
        )
        held = parts()
        with held_whole(actor):
            gathered = parts()
        state = gather(trained_state(actor), actor)
        same = all(torch.equal(state[name], value) for name, value in before.items())
        sharded.end()
        return held, gathered, same, len(find_sharded(actor))

    told = on_ranks(2, ask, tmp_path / "ranks")
    assert sum(each[0] for each in told) == whole
    assert max(each[0] for each in told) < 0.6 * whole
    assert [each[1:3] for each in told] == [(whole, True)] * 2
    assert told[0][3] == 0  # nothing of the first rank's network is divided any more


@pytest.mark.parametrize("world", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_every_algorithm_has_one_gradient_whether_its_network_is_divided_or_not(
    world: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By 3 nothing divides without rest."""
    alone = update_every_algorithm(slice(None), None)

    def divide(module: Any, *given: Any, **named: Any) -> Learner:
        Sharded(module, "cpu", Layout(1, ranks.world()))
        return Learner(module, *given, **named)

    monkeypatch.setattr(subjects, "Learner", divide)
    each = on_ranks(world, lambda: update_every_algorithm(slice(None), 3), tmp_path / "ranks")
    for together in each:
        for name, (gradient, figures) in alone.items():
            torch.testing.assert_close(
                together[name][0], gradient, rtol=1e-6, atol=1e-9,
                msg=lambda text, name=name: f"{name}: {text}",
            )  # fmt: skip
            figures_close(together[name][1], figures, 1e-6)


ADAPTERS = {
    "lora": (LoRA(2, 4.0), "fp32"),
    "dora": (LoRA(2, 4.0, dora=True), "fp32"),
    "lora on int8": (LoRA(2, 4.0), "int8"),
    "houlsby": (Houlsby(3), "fp32"),
    "prefix": (Virtual("prefix", 2, ""), "fp32"),
}


def prefer_with(name: str, divided: bool) -> tuple[dict[str, Any], dict[str, float], float]:
    """What an adapter has learned from some pairs, the figures of the last step, and the share of
    the policy's and its reference's weights that is here.
    """
    settings, weights = ADAPTERS[name]
    policy = adapted(weights, settings=settings)  # pyright: ignore[reportArgumentType]
    reference = policy.frozen_copy()
    move(policy)
    networks = (policy.network, reference.network)
    every = sum(x.numel() for network in networks for x in network.parameters())
    if divided:
        Sharded(policy, "cpu", Layout(1, ranks.world()), [reference])
    here = sum(
        getattr(x, "to_local", lambda x=x: x)().numel()
        for network in networks
        for x in network.parameters()
    )
    fit = subjects.learner(policy, rows_per_micro_batch=3, clip=0.01)
    pairs = Pairs(rollouts(policy_of(transformer(dtype=torch.float64)), seed=1), batch())
    algorithm = DPO(policy, fit, Stopwatch(), reference=reference)
    figures: dict[str, float] = {}
    for _ in range(STEPS):
        figures = algorithm.update(pairs)
    return put_together(fit.state_dict()["module"]), figures, here / every


def test_adapters_learn_the_same_beside_a_base_that_is_divided(tmp_path: Path) -> None:
    """Clipped at every step; the reference, which shares what is frozen, is divided as well."""
    alone = {name: prefer_with(name, divided=False) for name in ADAPTERS}
    for world in (2, 3):
        each = on_ranks(
            world, lambda: {name: prefer_with(name, divided=True) for name in ADAPTERS},
            tmp_path / f"{world}",
        )  # fmt: skip
        for told in each:
            for name, (state, figures, _) in alone.items():
                mine, said, share = told[name]
                assert figures["grad_norm"] > 0.01
                assert said == pytest.approx(figures, rel=1e-6), name
                assert mine.keys() == state.keys()
                for key, value in state.items():
                    torch.testing.assert_close(mine[key], value, rtol=1e-6, atol=1e-9)
                assert share < 1 / world + 0.1, name
