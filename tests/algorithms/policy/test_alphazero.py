"""AlphaZero's loss in closed form, its memory and state, and what it learns of tic-tac-toe."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fledge.algorithms.policy.alphazero import AlphaZero, soft_nll
from fledge.models.control.board_network import BoardNetwork
from fledge.plan.search.minimax import solve_game
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.position_replay import PositionReplay
from fledge.sample.self_play import PlayedMoves
from fledge.stopwatch import Stopwatch
from fledge.worlds.games.make import make_game
from tests.subjects import Gradients, learner, seeded

GAME = make_game("tictactoe")
SETTINGS = AlphaZero.Settings(
    rows_per_update=32, updates_per_step=2, learning_starts=0, value_coefficient=0.5
)


def small_network(seed: int = 0, channels: int = 8) -> BoardNetwork:
    network = BoardNetwork(2, (3, 3), 9, channels, 1, seeded(seed))
    with torch.no_grad():
        for weight in network.parameters():  # away from heads that say nothing
            weight += 0.1 * torch.randn(weight.shape, generator=seeded(seed + weight.numel()))
    return network


def moves(rows: int = 60, seed: int = 1) -> PlayedMoves:
    """Positions with any policy over their legal moves, and any result."""
    solved = solve_game(GAME)
    positions = solved.positions[~GAME.outcome(solved.positions)[0]]
    draw = np.random.default_rng(seed)
    positions = positions[draw.integers(len(positions), size=rows)]
    legal = torch.from_numpy(GAME.legal(positions))
    chance = torch.rand((rows, 9), generator=seeded(seed)) * legal
    return PlayedMoves(
        torch.from_numpy(positions), chance / chance.sum(1, keepdim=True),
        chance.argmax(1), torch.from_numpy(draw.integers(-1, 2, size=rows)).float(),
        torch.zeros(rows), torch.zeros(rows, dtype=torch.long),
    )  # fmt: skip


def make(seed: int = 0, rate: float = 1e-2, **settings: Any) -> AlphaZero:
    network = small_network(seed)
    replay = PositionReplay(GAME, 1000, generator=seeded(seed))
    own = SETTINGS.replace(**settings)
    return AlphaZero(network, learner(network, rate), Stopwatch(), own, replay=replay)


def test_the_loss_is_that_of_the_paper_row_by_row() -> None:
    algorithm = make(updates_per_step=1)
    batch = moves()
    replay = PositionReplay(GAME, 1000, generator=seeded(0))
    replay.push(batch)
    drawn = replay.draw(32)
    with torch.no_grad():
        logits, value = algorithm.network(drawn.seen)
    policy_loss = value_loss = 0.0
    for i in range(32):
        open_now = drawn.legal[i].nonzero().flatten().tolist()
        norm = math.log(sum(math.exp(float(logits[i, a])) for a in open_now))
        for a in open_now:
            policy_loss -= float(drawn.policy[i, a]) * (float(logits[i, a]) - norm)
        value_loss += float(drawn.result[i] - value[i]) ** 2
    figures = algorithm.update(batch)
    assert figures["policy_loss"] == pytest.approx(policy_loss / 32, rel=1e-5)
    assert figures["value_loss"] == pytest.approx(value_loss / 32, rel=1e-5)
    assert figures["loss"] == pytest.approx((policy_loss + 0.5 * value_loss) / 32, rel=1e-5)


def test_soft_targets_of_one_move_are_its_negative_log_probability() -> None:
    logits = torch.randn(4, 5, generator=seeded(2))
    legal = torch.ones(4, 5, dtype=torch.bool)
    legal[:, 0] = False
    said = soft_nll(
        logits, legal, torch.nn.functional.one_hot(torch.tensor([1, 2, 3, 4]), 5).float()
    )
    expected = -logits[:, 1:].log_softmax(-1)[range(4), range(4)]
    torch.testing.assert_close(said, expected)


def test_gradients_are_the_same_in_one_or_four_pieces() -> None:
    taken = []
    for piece in (None, 8):
        network = small_network().double()
        own = learner(network, rows_per_micro_batch=piece)
        gradients = Gradients(own)
        replay = PositionReplay(GAME, 1000, generator=seeded(0))
        algorithm = AlphaZero(network, own, Stopwatch(), SETTINGS.replace(updates_per_step=1),
                              replay=replay)  # fmt: skip
        network.register_forward_pre_hook(lambda module, given: (given[0].double(),))
        algorithm.update(moves())
        taken.append(gradients.flat)
    torch.testing.assert_close(taken[0], taken[1], rtol=1e-10, atol=1e-12)


def test_a_run_that_is_stopped_between_two_steps_goes_on_with_the_same_bits(
    tmp_path: Path,
) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    whole, stopped, other = make(), make(), make(seed=5)
    whole.update(moves())
    with pytest.raises(Stop):
        stopped.update(moves(), stop)
    save_state(tmp_path / "state", stopped.state_dict())
    other.load_state_dict(load_state(tmp_path / "state"))
    batch = other.unfinished
    assert batch is not None
    other.update(batch)
    for algorithm in (whole, other):
        assert algorithm.unfinished is None
        algorithm.update(moves(seed=3))
    for a, b in zip(whole.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_what_minimax_says() -> None:
    """Exact policies and values as targets: both losses fall by a lot."""
    solved = solve_game(GAME)
    positions = solved.positions[~GAME.outcome(solved.positions)[0]][::9]
    values = solved.action_values(positions)
    best = values == np.nanmax(values, 1, keepdims=True)
    batch = PlayedMoves(
        torch.from_numpy(positions), torch.from_numpy(best / best.sum(1, keepdims=True)).float(),
        torch.zeros(len(positions), dtype=torch.long),
        torch.from_numpy(np.nanmax(values, 1)).float(),
        torch.zeros(len(positions)), torch.zeros(len(positions), dtype=torch.long),
    )  # fmt: skip
    algorithm = make(rate=5e-3, updates_per_step=60, rows_per_update=128)
    before = algorithm.update(batch)
    algorithm.update(batch)
    algorithm.update(batch)
    after = algorithm.update(batch)
    assert after["agreement"] > before["agreement"] + 0.1
    assert after["value_loss"] < 0.8 * before["value_loss"]
