"""`fledge selfplay` and `fledge play GAME` as they are typed: a run, a game through a pipe, a match
of two machines, and one sentence for each mistake.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import SELFPLAY, Cli


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    folder = tmp_path_factory.mktemp("selfplay")
    done = cli(f"{SELFPLAY} out=zero", folder=folder)
    assert done.code == 0, done.stderr
    return folder / "zero"


def test_a_run_says_how_it_went_and_leaves_all_that_is_promised(run: Path, cli: Cli) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert summary["games"] == 48
    assert summary["game"] == "tictactoe"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    judged = [row for row in rows if "elo" in row]
    assert [row["step"] for row in judged] == [0, 2, 4, 6]
    assert all(0 <= row["match_score"] <= 1 and row["elo_margin"] > 0 for row in judged)
    assert "test_match_score" in rows[-1]
    games = [json.loads(line) for line in (run / "games.jsonl").read_text().splitlines()]
    assert len(games) == 2
    assert cli(f"report {run}", folder=run.parent).code == 0
    page = (run / "report.html").read_text()
    boards = sum(len(game["moves"]) + 1 for game in games)
    assert page.count('class="board"') == boards


def test_a_game_is_played_through_a_pipe(run: Path, cli: Cli) -> None:
    typed = "b2\nb2\nhint\nundo\nb2\nquit\n"
    done = cli("play tictactoe against=zero simulations=8", folder=run.parent, stdin=typed)
    assert done.code == 0
    assert "b2 is not legal here" in done.stdout or "a3" in done.stdout
    assert "zero plays" in done.stdout
    assert "It thinks" in done.stdout


def test_a_game_to_its_end_has_a_result(run: Path, cli: Cli) -> None:
    cells = [f"{column}{row}" for column in "abc" for row in "123"]
    typed = "".join(f"{cell}\n" for cell in cells * 2)  # what is taken is refused, and goes on
    done = cli(
        ["play", "tictactoe", "against=minimax", "first=false", "--json"],
        folder=run.parent, stdin=typed,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    played = json.loads(done.stdout)
    assert played["result"] in ("drawn", "lost")  # minimax never loses
    assert 5 <= len(played["moves"]) <= 9


def test_two_machines_meet(run: Path, cli: Cli) -> None:
    command = "play tictactoe by=minimax against=random games=6 depth=9 opening_moves=0 --json"
    done = cli(command, folder=run.parent)
    assert done.code == 0
    match = json.loads(done.stdout)
    assert match["games"] == 6
    assert match["lost"] == 0
    assert match["won"] + match["drawn"] == 1
    words = "play tictactoe by=zero against=uct games=4 simulations=5 rollouts=3"
    by_run = cli(words, folder=run.parent)
    assert by_run.code == 0
    assert "zero against uct in tictactoe: won" in by_run.stdout


def test_the_fields_of_a_game_have_help(run: Path, cli: Cli) -> None:
    done = cli("play connect4 --help", folder=run.parent)
    assert done.code == 0
    assert "against" in done.stdout
    assert "opening_moves" in done.stdout
    assert "film" not in done.stdout


MISTAKES = {
    "selfplay game=chess": "there is no game 'chess': known are tictactoe, connect4",
    "selfplay connect4:2x2": "columns or rows must be 4 or more",
    "selfplay tictactoe algorithm=ppo": "there is no algorithm ppo",
    "selfplay tictactoe algorithm=./mine.py:Mine": "has no settings of games against itself",
    "selfplay CartPole-v1": "CartPole-v1 is a world of one agent",
    "play conect4": "conect4",
    "play connect4 against=zero": "zero learned tictactoe, and this is connect4",
    "play connect4 against=nobody": "there is no player 'nobody': give uct, minimax, random",
    "play connect4 film=a.png": "`film` is no field of `fledge play`",
    "play zero": "zero learned to play tictactoe against somebody",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_told_in_one_sentence(command: str, run: Path, cli: Cli) -> None:
    own = "class Mine:\n    def update(self, batch):\n        return {}\n"
    (run.parent / "mine.py").write_text(own)
    done = cli(command, folder=run.parent)
    assert done.code == 2
    assert MISTAKES[command] in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
