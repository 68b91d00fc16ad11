"""The engine goes by the weights as they are at each step: what is in its cache is never older."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.log_prob import Decoding
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from tests.engine.strangers import plain, same
from tests.subjects import learner, policy_of, seeded, transformer


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


CHANGES = [nudged, stepped, fused_step, loaded, assigned, only_one]


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


@pytest.mark.parametrize("change", CHANGES)
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
    assert {row.ended for row in engine.run([long] * 3)} == {"error"}
    policy.network.load_state_dict(good)
    for row, other in zip(engine.run(short), expected, strict=True):
        same(row, other, 1e-10)


def test_weights_that_do_not_change_are_not_laid_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(transformer())
    engine = Engine(policy)
    network = engine.network
    for _ in range(3):
        engine.run([Request([3], 4, rule=Decoding(temperature=0))])
    assert engine.network is network
    assert engine.version == 0


def test_a_step_of_the_learners_own_optimizer_is_seen() -> None:
    """It is fused: it writes the weights and leaves their version counters as they were."""
    policy = policy_of(transformer(dtype=torch.float64))
    teach = learner(policy, rate=0.1)
    engine, row = Engine(policy), torch.tensor([[2, 3, 4, 5, 6, 7]])
    engine.run([Request([2, 3], 4)])
    (-policy.log_prob(row, row[:, 1:]).mean()).backward()
    teach.optimizer.step()
    [after] = engine.run([Request([2, 3], 4)])
    whole = torch.tensor([after.prompt + after.tokens])
    exact = policy.log_prob(whole, whole[:, 1:])[0, 1:].detach()
    torch.testing.assert_close(torch.tensor(after.logp, dtype=torch.float64), exact)
    assert after.version == engine.version == 1
