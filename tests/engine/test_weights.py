"""The engine goes by the weights as they are at each step: what is in its cache is never older."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import fledge.engine.running_batch as batch_module
from fledge.critics import SeparateCritic, SharedCritic
from fledge.engine.engine import Engine
from fledge.engine.generation import Generation
from fledge.engine.request import Completion, Request
from fledge.learner import Learner
from fledge.log_prob import Decoding
from fledge.models.language.heads import ScalarHead
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.trajectories import Trajectories
from tests.engine.strangers import plain, same
from tests.subjects import learner, policy_of, rollouts, seeded, transformer


def nudged(network: Transformer, seed: int) -> None:
    """In place, as an optimizer does."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=seeded(seed), dtype=weight.dtype))


def stepped(network: Transformer, seed: int, fused: bool = False) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=fused)
    for weight in network.parameters():
        weight.grad = torch.randn(weight.shape, generator=seeded(seed), dtype=weight.dtype)
    optimizer.step()


def fused_step(network: Transformer, seed: int) -> None:
    stepped(network, seed, fused=True)


def loaded(network: Transformer, seed: int) -> None:
    network.load_state_dict(transformer(seed, dtype=torch.float64, context=64).state_dict())


def assigned(network: Transformer, seed: int) -> None:
    network.load_state_dict(
        transformer(seed, dtype=torch.float64, context=64).state_dict(), assign=True
    )


def only_one(network: Transformer, seed: int) -> None:
    with torch.no_grad():
        network.blocks[1].attention_norm.weight[3] += 1 + seed


def learnt(network: Transformer, seed: int) -> None:
    """By a Learner of its own, over a critic that holds a policy of its own over this network."""
    policy = policy_of(network)
    head = ScalarHead(network.config.width).to(network.unembedding.dtype)
    take_step(learner(SharedCritic(policy, head), rate=0.1), policy, seed)


def take_step(
    teach: Learner, policy: TokenPolicy, seed: int, scale: float = 1.0
) -> dict[str, float]:
    def loss(rows: Trajectories) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return scale * policy.log_prob(rows.obs, rows.action, rows.chosen).sum(), {}

    return teach.step(loss, rollouts(policy, rows=4, seed=seed))


SEEN = [loaded, assigned, learnt]  # without a word to the engine
TOLD = [nudged, stepped, fused_step, only_one]


def as_the_weights_were(
    policy: TokenPolicy, row: Completion, networks: list[Transformer], changes: list[int]
) -> None:
    """changes: how much the row had said when each of the networks but the first came."""
    versions = [sum(t >= said for said in changes) for t in range(len(row.tokens))]
    tables = [plain(policy, network, row.prompt, row.tokens) for network in networks]
    expected = [
        float(tables[v][t, token])
        for t, (v, token) in enumerate(zip(versions, row.tokens, strict=True))
    ]
    assert row.raw_logp == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("change", SEEN + TOLD)
@pytest.mark.parametrize("prefix_cache_rows", [0, 4])
def test_rows_under_way_go_on_as_a_plain_forward_pass_with_the_new_weights_would(
    change: Callable[[Transformer, int], None], prefix_cache_rows: int
) -> None:
    """12 rows, two of a common beginning, in 5 slots; the weights change four times."""
    policy = policy_of(transformer(dtype=torch.float64, context=64))
    engine = Engine(policy, slots=5, prefix_cache_rows=prefix_cache_rows)
    beginning = list(range(2, 11)) * 3
    requests = [
        Request((beginning if i % 3 == 0 else []) + [3 + i % 8], 4 + 3 * i, sample=i)
        for i in range(12)
    ]
    said = dict.fromkeys(range(12), 0)

    def on_token(number: int, token: int) -> None:
        said[number] += 1

    for request in requests:
        engine.submit(request, on_token)
    networks = [copy.deepcopy(policy.network)]
    changes: list[dict[int, int]] = []
    rows: dict[int, Completion] = {}
    versions: dict[int, int] = {}
    for advance in range(1000):
        if advance in (3, 4, 11, 30):
            change(policy.network, advance)
            if change in TOLD:
                engine.renew()
            networks.append(copy.deepcopy(policy.network))
            changes.append(dict(said))
        for number, row in engine.advance():
            rows[number], versions[number] = row, len(changes)
        if not engine.busy:
            break
    assert engine.version == len(changes) == 4
    for number, row in rows.items():
        assert row.version == versions[number]
        as_the_weights_were(policy, row, networks, [before[number] for before in changes])
    assert len(rows) == 12
    assert {row.version for row in rows.values()} >= {0, 4}


def test_what_is_remembered_is_forgotten_when_the_weights_change() -> None:
    policy = policy_of(transformer(dtype=torch.float64, context=64))
    engine = Engine(policy, slots=2, prefix_cache_rows=2)
    (first,) = engine.run([Request([3] * 20, 10)])
    before, logp = copy.deepcopy(policy.network), list(first.raw_logp)
    nudged(policy.network, 0)
    engine.renew()
    (second,) = engine.run([Request(first.prompt + first.tokens, 10)])
    as_the_weights_were(policy, second, [policy.network], [])
    assert (first.raw_logp, first.version, second.version) == (logp, 0, 1)
    as_the_weights_were(policy, first, [before], [])


def test_weights_that_were_no_numbers_leave_nothing_behind() -> None:
    """Long rows under NaN, then shorter ones of unequal length in their slots under numbers
    again.
    """
    policy = policy_of(transformer(dtype=torch.float64, context=64))
    engine, good = Engine(policy, slots=3), copy.deepcopy(policy.network.state_dict())
    long, short = Request([3] * 40, 20), [Request([4] * (1 + 6 * i), 9, sample=i) for i in range(5)]
    expected = Engine(policy, slots=3).run(short)
    with torch.no_grad():
        policy.network.embedding.weight[3] = math.nan
    engine.renew()
    assert {row.ended for row in engine.run([long] * 3)} == {"error"}
    policy.network.load_state_dict(good)
    for row, other in zip(engine.run(short), expected, strict=True):
        same(row, other, 1e-10)


def test_weights_that_do_not_change_are_not_laid_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(transformer())
    engine = Engine(policy)
    network = engine.batch.network
    for _ in range(3):
        engine.run([Request([3], 4, rule=Decoding(temperature=0))])
    assert engine.batch.network is network
    assert engine.version == 0


def test_every_policy_over_the_network_sees_a_step_and_no_copy_of_it_does() -> None:
    policy = policy_of(transformer(dtype=torch.float64, context=64))
    copy_of_it, greedy = policy.frozen_copy(), policy.with_rule(Decoding(temperature=0))
    other, engines = policy_of(policy.network), [Engine(greedy), Engine(copy_of_it)]
    before = [engine.batch.network for engine in engines]
    request = Request([2, 3], 6, rule=Decoding(temperature=0))
    for engine in engines:
        engine.run([request])
    learnt(policy.network, 0)
    assert policy.version == greedy.version == other.version == 1
    assert copy_of_it.version == 0
    rows = [engine.run([request])[0] for engine in engines]
    assert [engine.batch.network is old for engine, old in zip(engines, before, strict=True)] == [
        False,
        True,
    ]
    as_the_weights_were(policy, rows[0], [policy.network], [])
    as_the_weights_were(policy, rows[1], [copy_of_it.network], [])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_form_of_every_precision_is_made_anew_once_a_step_and_not_between(
    precision: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = batch_module.make_form

    def count(network: Transformer, precision: Generation, *rest: Any) -> Any:
        made.append(precision)
        return make(network, precision, *rest)

    monkeypatch.setattr(batch_module, "make_form", count)
    policy = policy_of(transformer())
    engine = Engine(policy, precision=precision)
    for steps in (0, 1, 0, 3):
        before, layers = len(made), engine.batch.network.layers
        for seed in range(steps):
            learnt(policy.network, seed)
        for _ in range(3):
            engine.run([Request([3], 4)])
        assert len(made) - before == (steps > 0)
        assert (engine.batch.network.layers is layers) == (steps == 0)
    assert made == [precision] * 3


def test_a_direct_write_is_unknown_until_the_engine_is_told_and_then_known_to_all() -> None:
    policy = policy_of(transformer(dtype=torch.float64, context=64))
    engine, beside = Engine(policy), Engine(policy.with_rule(Decoding(temperature=0.5)))
    before = engine.batch.network
    nudged(policy.network, 0)
    [unaware] = engine.run([Request([2, 3], 4)])
    assert (unaware.version, engine.batch.network) == (0, before)
    engine.renew()
    for one in (engine, beside):
        [aware] = one.run([Request([2, 3], 4)])
        as_the_weights_were(policy, aware, [policy.network], [])
        assert aware.version == policy.version == 1


def test_a_batch_without_a_gradient_changes_no_version() -> None:
    policy = policy_of(transformer())
    assert take_step(learner(policy), policy, 0, scale=0.0)["steps_skipped"] == 1
    assert policy.version == 0


def test_a_learner_that_goes_on_from_a_checkpoint_raises_the_version() -> None:
    policy = policy_of(transformer())
    teach = learner(SeparateCritic(policy, nn.Linear(2, 1)))
    teach.load_state_dict(teach.state_dict())
    assert policy.version == 1
