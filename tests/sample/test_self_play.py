"""Games of a search against itself: legal, whole, with results as the plain rules have them, and
the same again from a saved state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fledge.plan.search.models import KnownModel
from fledge.plan.search.searching import Search, SearchSettings
from fledge.sample.position_replay import PositionReplay
from fledge.sample.self_play import PlayedMoves, SelfPlay
from fledge.stopwatch import Stopwatch
from fledge.worlds.games.make import make_game
from tests.plan.search.plain_search import Opinions
from tests.worlds.games.plain_rules import PlainRules


def self_play(name: str, games: int = 6, seed: int = 0, **settings: Any) -> SelfPlay:
    game = make_game(name)
    plan = SearchSettings(12, noise=0.25, **settings)
    search = Search(KnownModel(game, Opinions(game)), plan, seed)
    return SelfPlay(game, search, games, temperature_moves=3, seed=seed, stopwatch=Stopwatch())


@pytest.mark.parametrize("rule", ["puct", "gumbel"])
@pytest.mark.parametrize("name", ["tictactoe", "othello"])
def test_played_games_are_games(name: str, rule: Any) -> None:
    rows = next(self_play(name, rule=rule))
    game = make_game(name)
    for number in range(6):
        own = rows[rows.game == number]
        plain = PlainRules(name)
        position = game.begin(1)
        for i in range(len(own)):
            np.testing.assert_array_equal(own.position[i].numpy(), position[0])
            move = int(own.action[i])
            assert move in plain.moves()
            assert own.policy[i].sum() == pytest.approx(1, abs=1e-5)
            assert not own.policy[i][~game.legal(position)[0]].any()
            turn = plain.turn
            plain.play(move)
            position = game.apply(position, np.array([move]))
            result = PLAYED[turn] * last_result(name, own)
            assert own.result[i] == result
        assert plain.result() is not None


PLAYED = {"x": 1, "o": -1}


def last_result(name: str, own: PlayedMoves) -> int:
    plain = PlainRules(name)
    for move in own.action.tolist():
        plain.play(move)
    result = plain.result()
    assert result is not None
    return result


def test_dice_are_thrown_between_moves() -> None:
    rows = next(self_play("dice", games=20))
    game = make_game("dice")
    assert (game.turn(rows.position.numpy()) != 2).all()
    assert set(rows.result.tolist()) == {1.0, -1.0}


@pytest.mark.parametrize("rule", ["puct", "gumbel"])
def test_a_saved_sampler_goes_on_as_if_never_stopped(rule: Any) -> None:
    one, other = self_play("tictactoe", rule=rule), self_play("tictactoe", seed=9, rule=rule)
    next(one)
    other.load_state_dict(one.state_dict())
    a, b = next(one), next(other)
    assert all(torch.equal(x, y) for (_, x), (_, y) in zip(a.items(), b.items(), strict=True))
    assert one.figures == other.figures


def test_what_is_remembered_is_drawn_under_symmetries_that_commute_with_moves() -> None:
    game = make_game("tictactoe")
    rows = next(self_play("tictactoe"))
    replay = PositionReplay(game, 1000, generator=torch.Generator().manual_seed(1))
    assert replay.push(rows) == len(rows) == len(replay)
    taught = replay.draw(300)
    alike = set()
    for i in range(len(rows)):  # each position under each symmetry, one at a time
        position = rows.position[i : i + 1].numpy()
        for g in range(8):
            turned = game.turn_board(position, g)
            policy = rows.policy[i][torch.from_numpy(game.moves[g])]
            seen = game.observe(turned)[0].tobytes()
            alike.add((seen, policy.numpy().tobytes(), float(rows.result[i])))
    drawn = {
        (taught.seen[i].numpy().tobytes(), taught.policy[i].numpy().tobytes(),
         float(taught.result[i]))
        for i in range(300)
    }  # fmt: skip
    assert drawn <= alike
    assert len(drawn) > 100
    assert not (taught.policy > 0)[~taught.legal].any()


def test_the_oldest_are_forgotten_and_all_is_state() -> None:
    game = make_game("tictactoe")
    sampler = self_play("tictactoe")
    replays = [
        PositionReplay(game, 50, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)
    ]
    first, second = next(sampler), next(sampler)
    replays[0].push(first)
    replays[0].push(second)
    kept = torch.cat([first.position, second.position])[-50:]
    assert torch.equal(replays[0].held.position, kept)
    replays[1].load_state_dict(replays[0].state_dict())
    a, b = (replay.draw(20) for replay in replays)
    assert torch.equal(a.seen, b.seen)
    assert torch.equal(a.policy, b.policy)


def test_unrolled_positions_are_the_moves_that_followed_under_one_symmetry() -> None:
    """Each drawn row is found among all that the held games allow, walked by the rules."""
    game = make_game("tictactoe")
    sampler = self_play("tictactoe", games=3)
    replay = PositionReplay(game, 1000, generator=torch.Generator().manual_seed(1))
    replay.push(next(sampler))
    replay.push(next(sampler))
    held, unroll = replay.held, 4
    assert len(held.game.unique()) == 6
    drawn = replay.draw_unrolled(200, unroll)
    beyond = 0
    turned = [game.turn_board(held.position.numpy(), g) for g in range(8)]
    seen = np.stack([game.observe(positions) for positions in turned], 1)  # [positions, 8, …]
    legal = np.stack([game.legal(positions) for positions in turned], 1)
    for i in range(200):
        alike = (seen == drawn.seen[i].numpy()).all((2, 3, 4))
        matches = [
            walks_along(game, held, start, g, drawn[i : i + 1])
            for start, g in zip(*map(np.ndarray.tolist, alike.nonzero()), strict=True)
            if np.array_equal(legal[start, g], drawn.legal[i].numpy())
        ]
        assert any(matches)
        beyond += int((drawn.policy[i].sum(-1) == 0).any())
    assert 20 < beyond < 200  # some run over the end of their game, some do not


def walks_along(game: Any, held: Any, start: int, g: int, row: Any) -> bool:
    """Whether the moves, policies and results are those after `start`, as symmetry g shows them."""
    sign, value = 1.0, 0.0
    for k in range(row.policy.shape[1]):
        at = start + k
        if at < len(held) and held.game[at] == held.game[start]:
            expected = held.policy[at][torch.from_numpy(game.moves[g])]
            value, sign = float(held.result[at]), -1.0
            if k < row.action.shape[1] and game.moves[g][row.action[0, k]] != held.action[at]:
                return False
        else:
            expected = torch.zeros(game.actions)
            value, sign = value * sign, -1.0
        if not torch.equal(row.policy[0, k], expected) or float(row.result[0, k]) != value:
            return False
    return True


def test_games_begin_with_moves_that_nobody_learns() -> None:
    """Each of 0…4 with probability 1/5, of 400 games; one that would be over stays as it was."""
    game = make_game("connect4:4x4")
    search = Search(KnownModel(game, Opinions(game)), SearchSettings(2), 3)
    sampler = SelfPlay(
        game, search, 400, temperature_moves=2, random_moves=4, seed=5, stopwatch=Stopwatch()
    )
    rows = next(sampler)
    first = torch.cat([torch.ones(1, dtype=torch.bool), rows.game[1:] != rows.game[:-1]])
    began = rows.position[first].numpy()
    stones = [sum(1 for cell in game.list_cells(p) if cell) for p in began]
    assert len(stones) == 400
    counts = [stones.count(k) for k in range(5)]
    # Binomial(400, 1/5): 80 ± 8; 45 below or above has a chance below 1e-7 each.
    assert sum(counts) == 400
    assert all(35 < count < 125 for count in counts)
    assert len({p.tobytes() for p in began}) > 50
    assert not game.outcome(began)[0].any()
    last = torch.cat([rows.game[1:] != rows.game[:-1], torch.ones(1, dtype=torch.bool)])
    after = game.apply(rows.position[last].numpy(), rows.action[last].numpy())
    over, worth = game.outcome(after)
    assert over.all()
    sign = np.where(game.turn(rows.position[last].numpy()) == 0, 1, -1)
    np.testing.assert_array_equal(rows.result[last].numpy(), sign * worth)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_what_is_taught_lies_between_the_result_and_what_was_expected(share: float) -> None:
    game = make_game("tictactoe")
    rows = next(self_play("tictactoe"))
    assert not torch.equal(rows.result, rows.value)
    drawn, unrolled = (
        PositionReplay(
            game, 1000, generator=torch.Generator().manual_seed(2), symmetries=False,
            search_share=share,
        )
        for _ in range(2)
    )  # fmt: skip
    drawn.push(rows)
    unrolled.push(rows)
    index = torch.randint(len(rows), (40,), generator=torch.Generator().manual_seed(2))
    expected = (1 - share) * rows.result[index] + share * rows.value[index]
    torch.testing.assert_close(drawn.draw(40).result, expected)
    torch.testing.assert_close(unrolled.draw_unrolled(40, 2).result[:, 0], expected)
