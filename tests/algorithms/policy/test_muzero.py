"""MuZero's search in imagination, its loss step by step, its state, and that its model learns what
the rules say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fledge.algorithms.policy.alphazero import soft_nll
from fledge.algorithms.policy.muzero import MuZero
from fledge.errors import UserError
from fledge.models.control.latent_board import LatentBoardNetwork, scale_latent
from fledge.plan.search.latent_model import LatentModel
from fledge.plan.search.searching import Search, SearchSettings
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.position_replay import PositionReplay
from fledge.sample.self_play import PlayedMoves, SelfPlay
from fledge.stopwatch import Stopwatch
from fledge.worlds.games.make import make_game
from tests.subjects import learner, seeded

GAME = make_game("tictactoe")
SETTINGS = MuZero.Settings(
    rows_per_update=16, updates_per_step=2, learning_starts=0, unroll=3, value_coefficient=0.5
)


def network_of(seed: int = 0, channels: int = 8) -> LatentBoardNetwork:
    network = LatentBoardNetwork(2, (3, 3), 9, channels, 1, seeded(seed))
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=seeded(seed + weight.numel()))
    return network


def make(seed: int = 0, rate: float = 1e-2, **settings: Any) -> MuZero:
    network = network_of(seed)
    replay = PositionReplay(GAME, 5000, generator=seeded(seed))
    own = SETTINGS.replace(**settings)
    return MuZero(network, learner(network, rate), Stopwatch(), own, replay=replay)


def play(network: LatentBoardNetwork, games: int = 8, seed: int = 0) -> PlayedMoves:
    model = LatentModel(GAME, network, torch.device("cpu"))
    search = Search(model, SearchSettings(8, noise=0.25), seed)
    return next(SelfPlay(GAME, search, games, temperature_moves=9, seed=seed,
                         stopwatch=Stopwatch()))  # fmt: skip


def test_the_search_follows_the_model_and_nothing_else() -> None:
    network = network_of()
    model = LatentModel(GAME, network, torch.device("cpu"))
    search = Search(model, SearchSettings(30))
    forest = search.plant(GAME.begin(2))
    searched = search.run(forest)
    np.testing.assert_array_equal(searched.visits.sum(1), 30)
    for node in range(0, forest.room, 3):  # of the first tree: its state is what its moves lead to
        path, at = [], node
        while forest.parent[at] >= 0:
            above = int(forest.parent[at])
            path.append(int(np.flatnonzero(forest.child[above] == at)[0]))
            at = above
        if at != forest.root[0]:
            continue
        with torch.inference_mode():
            latent = network.represent(torch.from_numpy(GAME.observe(GAME.begin(1))))
            for action in reversed(path):
                latent = network.follow(latent, torch.tensor([action]))
            _, value = network.predict(latent)
        np.testing.assert_allclose(forest.state[node], latent[0].numpy(), atol=1e-5)
        sign = 1 if len(path) % 2 == 0 else -1
        assert forest.value[node] == pytest.approx(sign * float(value[0]), abs=1e-5)
        assert forest.turn[node] == len(path) % 2


def test_the_loss_is_the_sum_over_the_moves_that_followed() -> None:
    algorithm = make(updates_per_step=1)
    batch = play(algorithm.network)
    replay = PositionReplay(GAME, 5000, generator=seeded(0))
    replay.push(batch)
    rows = replay.draw_unrolled(16, 3)
    expected = 0.0
    with torch.no_grad():
        for i in range(16):
            latent = algorithm.network.represent(rows.seen[i : i + 1])
            for k in range(4):
                logits, value = algorithm.network.predict(latent)
                allowed = rows.legal[i : i + 1] if k == 0 else torch.ones(1, 9, dtype=torch.bool)
                nll = float(soft_nll(logits, allowed, rows.policy[i : i + 1, k]))
                error = float(rows.result[i, k] - value) ** 2
                expected += (nll + 0.5 * error) * (1 if k == 0 else 1 / 3)
                if k < 3:
                    latent = algorithm.network.follow(latent, rows.action[i : i + 1, k])
    assert algorithm.update(batch)["loss"] == pytest.approx(expected / 16, rel=1e-5)


def test_a_run_that_is_stopped_between_two_steps_goes_on_with_the_same_bits(
    tmp_path: Path,
) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    whole, stopped, other = make(), make(), make(seed=5)
    batch = play(whole.network)
    whole.update(batch)
    with pytest.raises(Stop):
        stopped.update(batch, stop)
    save_state(tmp_path / "state", stopped.state_dict())
    other.load_state_dict(load_state(tmp_path / "state"))
    unfinished = other.unfinished
    assert unfinished is not None
    other.update(unfinished)
    for a, b in zip(whole.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_move_begins_with_its_cell() -> None:
    """Each in its own, and one without a place in all of them."""
    network = LatentBoardNetwork(2, (2, 3), 4, 8, 1, seeded(0), places=(0, 5, None, 3))
    planes = network.moves.weight.detach()
    for action, cell in ((0, 0), (1, 5), (3, 3)):
        assert torch.equal(planes[action], F.one_hot(torch.tensor(cell), 6).float())
    assert int((planes[2] != 0).sum()) == 6


def test_the_model_learns_how_games_end() -> None:
    """Random games as the memory: values in imagination come nearer to the results."""
    network = network_of()
    batch = play(network, games=40)
    algorithm = make(rate=4e-3, updates_per_step=60, rows_per_update=96)
    before = algorithm.update(batch)
    algorithm.update(batch)
    after = algorithm.update(batch)
    assert after["value_loss"] < 0.9 * before["value_loss"]
    assert after["unrolled_policy_loss"] < before["unrolled_policy_loss"]


def test_latent_boards_stay_of_one_size() -> None:
    network = network_of()
    seen = torch.from_numpy(GAME.observe(GAME.begin(1)))
    latent = network.represent(seen)
    for action in range(9):
        latent = network.follow(latent, torch.tensor([action])).detach()
        assert float(latent.min()) == 0
        assert float(latent.square().mean()) == pytest.approx(1, rel=1e-4)
    assert scale_latent(latent[:0]).shape == latent[:0].shape
    assert not torch.equal(*(
        network.follow(network.represent(seen), F.one_hot(torch.tensor([a])).argmax(1))
        for a in (0, 8)
    ))  # fmt: skip


def test_dice_are_refused_in_one_sentence() -> None:
    game = make_game("dice")
    network = LatentBoardNetwork(2, game.board, 2, 8, 1)
    with pytest.raises(UserError, match="dice has chance in it, which this learned model"):
        LatentModel(game, network, torch.device("cpu"))
