"""What moves the weights: each optimizer as torch's own alone would, on the parameters that are
its.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fledge.learner import Learner, Schedule
from fledge.optimizers import OptimizerMaker, Recorder, adamw, muon
from fledge.runs.checkpoint import load_state, save_state
from fledge.trajectories import Rows
from tests.subjects import policy_of, rollouts, seeded, transformer

BATCH = rollouts(policy_of(transformer()))


class Small(nn.Module):
    """One of each: what looks tokens up, a matrix between hidden states, a vector, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.inner = nn.Linear(4, 6)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=seeded(number)))


def slope(module: nn.Module, step: int) -> dict[str, Tensor]:
    """Any gradient, another one at every step."""
    return {
        name: torch.randn(p.shape, generator=seeded(100 * step + number))
        for number, (name, p) in enumerate(module.named_parameters())
    }


def learn(learner: Learner, steps: range) -> None:
    for step in steps:
        along = slope(learner.module, step)

        def loss(rows: Any, along: dict[str, Tensor] = along) -> tuple[Tensor, dict[str, Tensor]]:
            shares = [(along[name] * p).sum() for name, p in learner.module.named_parameters()]
            return torch.stack(shares).sum(), {}

        learner.step(loss, BATCH)


def make(maker: OptimizerMaker) -> Learner:
    return Learner(Small(), Schedule(0.03, 10, shape="linear"), optimizer=maker, clip=0.0)


def halve_inner(name: str) -> float:
    return 0.5 if name == "inner.weight" else 1.0


def weights(learner: Learner) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in learner.module.named_parameters()}


def test_muon_moves_the_matrices_between_and_adamw_the_rest_each_as_if_alone() -> None:
    learner, twin = make(muon(momentum=0.9, weight_decay=0.2)), Small()
    own = dict(twin.named_parameters())
    matrices = torch.optim.Muon(
        [own["inner.weight"]],
        lr=1.0, momentum=0.9, weight_decay=0.2, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    tables = torch.optim.AdamW(
        [own["embedding.weight"], own["head.weight"]], betas=(0.9, 0.95), weight_decay=0.2
    )
    vectors = torch.optim.AdamW([own["inner.bias"]], betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(3):
        learn(learner, range(step, step + 1))
        for name, gradient in slope(twin, step).items():
            own[name].grad = gradient
        for optimizer in (matrices, tables, vectors):
            optimizer.param_groups[0]["lr"] = learner.schedule.rate(step)
            optimizer.step()
        assert torch.equal(weights(learner)["inner.weight"], own["inner.weight"])
        for name in own:
            torch.testing.assert_close(weights(learner)[name], own[name].detach())


def test_a_rate_of_its_own_is_a_part_of_the_learning_rate_and_decay_is_not_of_it() -> None:
    """A first step of Adam is η, whatever the gradient; what decays is η · decay of the weight."""
    learner = make(adamw(weight_decay=0.2, rates=halve_inner))
    before, rate = weights(learner), learner.schedule.rate(0)
    learn(learner, range(1))
    for name, own in {"inner.weight": 0.5, "embedding.weight": 1.0, "inner.bias": 1.0}.items():
        decayed = before[name] * (1 - (0.2 * rate if before[name].ndim == 2 else 0.0))
        step = (weights(learner)[name] - decayed).abs()
        torch.testing.assert_close(step, torch.full_like(step, own * rate), rtol=1e-4, atol=1e-7)


def test_a_first_step_of_muon_has_all_its_singular_values_alike() -> None:
    """Which is what it is for: AdamW's first step is the sign of every number, whose singular
    values differ.
    """
    spread = {}
    for name, maker in {"muon": muon(weight_decay=0.0), "adamw": adamw(weight_decay=0.0)}.items():
        learner = make(maker)
        before = weights(learner)["inner.weight"]
        learn(learner, range(1))
        moved = torch.linalg.svdvals(weights(learner)["inner.weight"] - before)
        spread[name] = float(moved.max() / moved.min())
    assert spread["muon"] < 2
    assert spread["adamw"] > 2


def quintic(x: Tensor) -> Tensor:
    """Five steps of Newton and Schulz (Jordan et al. 2024) on a singular value."""
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    return x


def test_a_step_of_muon_is_the_papers_equation_by_singular_values_in_double_precision() -> None:
    """O = U f(Σ/‖M‖) Vᵀ of the momentum that Nesterov looks ahead by, −η · 0.2 · √max(A, B) · O;
    torch computes O in bfloat16, of which 2⁻⁸ is half a step, some twenty times in a row.
    """
    learner, momentum = make(muon(momentum=0.9, weight_decay=0.0)), 0.9
    mean = torch.zeros(6, 4, dtype=torch.float64)
    for step in range(3):
        before = weights(learner)["inner.weight"].double()
        learn(learner, range(step, step + 1))
        gradient = slope(Small(), step)["inner.weight"].double()
        mean = momentum * mean + (1 - momentum) * gradient
        ahead = momentum * mean + (1 - momentum) * gradient
        u, sigma, v = torch.linalg.svd(ahead / ahead.norm(), full_matrices=False)
        wanted = -learner.schedule.rate(step) * 0.2 * 6**0.5 * (u * quintic(sigma)) @ v
        moved = weights(learner)["inner.weight"].double() - before
        assert float((moved - wanted).norm() / wanted.norm()) < 0.03


def test_in_a_language_model_only_what_lies_between_the_tokens_is_muons() -> None:
    network = transformer(tied=False)
    parts = muon()(list(network.named_parameters()), 0.1).parts  # pyright: ignore[reportAttributeAccessIssue]
    by_muon = {id(p) for p in parts["muon"].param_groups[0]["params"]}
    names = {name for name, p in network.named_parameters() if id(p) in by_muon}
    wanted = {"attention.qkv", "attention.out", "gate_up", "down"}
    assert names == {f"blocks.{i}.{name}.weight" for i in range(2) for name in wanted}


@pytest.mark.parametrize(
    "maker", [adamw(), muon(), adamw(rates=halve_inner), muon(rates=halve_inner)]
)
def test_what_is_saved_goes_on_with_the_same_bits(maker: OptimizerMaker, tmp_path: Path) -> None:
    straight, resumed = make(maker), make(maker)
    learn(straight, range(2))
    save_state(tmp_path / "state", straight.state_dict())
    learn(straight, range(2, 5))
    resumed.load_state_dict(load_state(tmp_path / "state"))
    learn(resumed, range(2, 5))
    for name, value in weights(straight).items():
        assert torch.equal(weights(resumed)[name], value), name


@pytest.mark.parametrize("maker", [adamw(), muon()])
def test_a_restart_forgets_what_was_learned_before(maker: OptimizerMaker) -> None:
    fresh, again = make(maker), make(maker)
    learn(again, range(3))
    with torch.no_grad():
        for mine, first in zip(again.parameters, Small().parameters(), strict=True):
            mine.copy_(first)
    again.restart()
    learn(fresh, range(7, 9))
    learn(again, range(7, 9))
    for name, value in weights(fresh).items():
        assert torch.equal(weights(again)[name], value), name


def test_a_module_without_such_matrices_is_adamws_and_one_without_others_muons() -> None:
    vector, matrix = nn.Parameter(torch.ones(3)), nn.Parameter(torch.eye(3))
    for name, parameter in {"scale": vector, "inner": matrix}.items():
        optimizer = muon()([(name, parameter)], 0.1)
        parameter.grad = torch.ones_like(parameter)
        before = parameter.detach().clone()
        optimizer.step()
        assert not torch.equal(parameter, before)


def test_a_recorder_writes_down_and_moves_nothing() -> None:
    module, calls = Small(), []
    recorder = Recorder(list(module.parameters()), after=lambda: calls.append(1))
    learner = Learner(module, Schedule(0.1, 10), optimizer=lambda named, rate: recorder, clip=0.0)
    before = weights(learner)
    learn(learner, range(2))
    for step, gradients in enumerate(recorder.taken):
        for gradient, wanted in zip(gradients, slope(module, step).values(), strict=True):
            assert torch.equal(gradient, wanted)
    assert len(recorder.taken) == len(calls) == 2
    assert all(torch.equal(weights(learner)[name], value) for name, value in before.items())


@dataclass(frozen=True)
class Numbers(Rows):
    x: Tensor


def test_a_convolution_whose_channels_come_last_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path,
) -> None:
    """Its moments lie row by row in the file."""

    def make() -> tuple[nn.Module, Learner]:
        torch.manual_seed(0)
        module: Any = nn.Conv2d(4, 4, 3)
        module.to(memory_format=torch.channels_last)
        return module, Learner(module, Schedule(0.1, 100))

    def step(module: nn.Module, own: Learner, seed: int) -> None:
        x = torch.randn(8, 4, 8, 8, generator=seeded(seed))
        own.step(lambda rows: (module(rows.x).square().mean(), {}), Numbers(x))

    (module, own), (other, again) = make(), make()
    for seed in range(3):
        step(module, own, seed)
    assert not own.optimizer.state[own.parameters[0]]["exp_avg"].is_contiguous()
    save_state(tmp_path, own.state_dict())
    again.load_state_dict(load_state(tmp_path))
    step(module, own, 3)
    step(other, again, 3)
    for weight, same in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, same)
