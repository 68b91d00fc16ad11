"""Playing against a run on the page: positions as the plain rules have them, taking back by sending
less, and what a person sees and clicks in a real browser.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

import fledge
from fledge.errors import UserError
from fledge.serve.api_errors import ApiError
from fledge.serve.players import GameBody, ServedPlayer, is_player, list_places
from fledge.worlds.games.make import make_game
from tests.serve.chromium import Watched, start_browser
from tests.serve.process import start_server
from tests.worlds.games.plain_rules import PlainRules

TINY: dict[str, Any] = {
    "steps": 1, "games": 2, "channels": 2, "blocks": 0, "match_games": 2, "match_simulations": 2,
    "rollouts": 1, "samples": 0, "simulations": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned next to nothing."""
    out = tmp_path_factory.mktemp("players") / "zero"
    fledge.selfplay("tictactoe", out=out, **TINY)
    return out


@pytest.fixture(scope="module")
def player(folder: Path) -> ServedPlayer:
    return ServedPlayer("zero", folder)


def ask(player: ServedPlayer, done: list[int], wants: Any = "nothing") -> dict[str, Any]:
    return player.answer(GameBody(player="zero", done=done, wants=wants, simulations=24))


def test_a_game_goes_as_by_the_plain_rules_and_taking_back_is_sending_less(
    player: ServedPlayer,
) -> None:
    plain, said = PlainRules("tictactoe"), ask(player, [])
    before = [said]
    while said["result"] is None:
        assert said["cells"] == [c for row in plain.board for c in row]
        assert [move["action"] for move in said["moves"]] == plain.moves()
        said = ask(player, said["done"], "move")
        assert said["done"][-1] in plain.moves()
        shares = [move["share"] for move in said["thoughts"]["moves"]]
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        plain.play(said["done"][-1])
        before.append(said)
    assert said["result"] == plain.result()
    assert said["moves"] == []
    assert ask(player, said["done"], "move") | {"thoughts": None} == said | {"thoughts": None}
    for made, earlier in enumerate(before):
        again = ask(player, said["done"][:made])
        assert again["cells"] == earlier["cells"]
        assert again["turn"] == earlier["turn"]


def test_a_move_that_wins_is_seen_whatever_was_learned(player: ServedPlayer) -> None:
    """x has a3 and b3, o has a2 and b2: c3 wins for x, and c2 for o after any other move."""
    said = ask(player, [0, 3, 1, 4], "thoughts")
    assert said["done"] == [0, 3, 1, 4]  # thinking moves nothing
    thoughts = said["thoughts"]
    assert (thoughts["turn"], thoughts["value"], thoughts["action"]) == (0, 1.0, 2)
    assert thoughts["moves"][0]["name"] == "c3"
    assert ask(player, [0, 3, 1, 4, 8], "move")["result"] == -1.0


def test_what_no_game_is_gets_one_sentence(player: ServedPlayer) -> None:
    for done, named in (([4, 4], "done[1] is 4"), ([9], "done[0] is 9"), ([-1], "done[0] is -1")):
        with pytest.raises(ApiError, match="cannot be done there") as refused:
            ask(player, done)
        assert named in str(refused.value)
    with pytest.raises(ApiError, match="the game is over"):
        ask(player, [0, 3, 1, 4, 2, 5])


def test_a_run_that_is_not_finished_is_refused_at_the_start(folder: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(folder, stopped, ignore=shutil.ignore_patterns("model"))
    assert is_player(stopped)
    with pytest.raises(UserError, match=r"holds no player: give a finished run"):
        ServedPlayer("stopped", stopped)


def test_dice_that_were_sent_are_not_thrown_again(tmp_path: Path) -> None:
    fledge.selfplay("dice", out=tmp_path / "zero", **TINY)
    player = ServedPlayer("zero", tmp_path / "zero")
    said = ask(player, [1])  # throws: what the die showed comes with it
    assert len(said["done"]) == 2
    assert said["turn"] in (0, 1)
    assert all(ask(player, said["done"])["cells"] == said["cells"] for _ in range(8))
    assert [move["cells"] for move in said["moves"]] == [[], []]  # buttons beside the board


def test_any_empty_cell_of_a_column_stands_for_it_the_lowest_first() -> None:
    game = make_game("connect4")
    cells = [""] * 42
    cells[41 - 6], cells[41 - 13] = "x", "o"  # two stones in the first column
    assert list_places(game, cells, 0) == [21, 14, 7, 0]
    assert list_places(game, cells, 6) == [41, 34, 27, 20, 13, 6]


def test_a_person_plays_in_the_browser(folder: Path) -> None:
    assert is_player(folder)
    assert is_player(folder / "model")
    assert not is_player(folder.parent)
    with start_browser() as browser, start_server(folder) as server:
        seen = Watched(browser, viewport={"width": 1180, "height": 800})
        page = seen.page
        page.goto(server.url)
        stones = page.locator(".board .first, .board .second")
        page.get_by_text("Your move: you are x.").wait_for()
        assert not page.locator("[data-view=chat]").is_visible()
        page.get_by_role("button", name="play b2").click()
        page.get_by_text("Your move: you are x.").wait_for()
        assert (page.locator(".first").count(), page.locator(".second").count()) == (1, 1)
        # What it thought: a row for each move that it looked at, the one that it made in bold.
        assert page.locator(".thoughts .taken").count() == 1
        assert page.locator(".thoughts tbody tr").count() == 8
        page.reload()
        page.get_by_text("Your move: you are x.").wait_for()
        assert stones.count() == 2
        page.get_by_role("button", name="Hint").click()
        page.get_by_text("In your place it would think").wait_for()
        assert stones.count() == 2
        page.get_by_role("button", name="Undo").click()
        # not by a function: what the page forbids, evaluation, is forbidden to a test that waits
        stones.first.wait_for(state="detached")
        assert stones.count() == 0
        page.get_by_label("You are").select_option("1")  # then it begins
        page.get_by_text("Your move: you are o.").wait_for()
        assert (page.locator(".first").count(), page.locator(".second").count()) == (1, 0)
        # What speaks is asked elsewhere: this server has nobody who does.
        asked = {"model": "zero", "messages": [{"role": "user", "content": "hello"}]}
        refused = httpx.post(f"{server.url}/v1/chat/completions", json=asked)
        assert refused.status_code == 404
        assert "plays a game and writes no text" in refused.json()["error"]["message"]
        page.set_viewport_size({"width": 390, "height": 800})
        width = page.evaluate("document.querySelector('#play').scrollWidth")
        assert width <= 390
        assert seen.troubles == []
        assert {host.split(":")[0] for host in seen.hosts} == {"127.0.0.1"}
