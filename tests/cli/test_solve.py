"""`fledge solve` as it is typed: what it finds and writes, its page, and one sentence for each
mistake.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.cli.commands import Cli
from tests.plan.hidden_oracle import best_pure_answer
from tests.worlds.hidden_games import as_source

import fledge
from fledge.worlds.poker import Kuhn


def test_kuhn_is_solved_and_its_strategy_written(cli: Cli, tmp_path: Path) -> None:
    done = cli("solve kuhn steps=400 --json", folder=tmp_path)
    summary = done.result
    assert summary["after"]["game_value"] == pytest.approx(-1 / 18, abs=2e-3)
    assert summary["after"]["exploitability"] < 2e-3
    run = tmp_path / summary["run"]
    model = fledge.open_run(run).model
    strategy = {
        (player, known): list(row.values())
        for player, own in enumerate(model.read_all())
        for known, row in own.items()
    }
    best = [best_pure_answer(Kuhn(), player, strategy) for player in (0, 1)]
    assert summary["after"]["exploitability"] == pytest.approx(sum(best) / 2, abs=1e-12)
    assert model.ask(1, "K b")["bet"] > 0.99
    with pytest.raises(fledge.UserError, match="never knows 'A'"):
        model.ask(0, "A")
    with pytest.raises(fledge.UserError, match=r"open_run\(.*has the strategy"):
        fledge.load(run)
    assert cli(f"report {run}", folder=tmp_path).code == 0
    page = (run / "report.html").read_text()
    assert "The strategy" in page
    assert "second: Q b" in page
    assert "Exploitability" in page


def test_it_ends_as_soon_as_nobody_gains_more_than_was_asked(cli: Cli, tmp_path: Path) -> None:
    words = "solve leduc steps=5000 evaluate_every=20 stop_at_exploitability=0.05 out=run --json"
    summary = cli(words, folder=tmp_path).result
    assert summary["after"]["exploitability"] <= 0.05
    assert summary["steps"] < 1000
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [row for row in rows if "exploitability" in row][-2]["exploitability"] > 0.05


def test_a_game_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import inspect\n" + as_source())
    summary = cli("solve ./mine.py:TwoCoins algorithm=cfr --json", folder=tmp_path).result
    assert summary["information_sets"] == 8
    assert summary["after"]["exploitability"] < 0.01
    # what the run was started with has changed
    (tmp_path / "mine.py").write_text("import inspect\n\n" + as_source())
    (tmp_path / summary["run"] / "summary.json").unlink()
    assert "was started with another" in cli(f"resume {summary['run']}", folder=tmp_path).complaint


def test_what_hides_something_is_not_searched_and_the_command_that_is_named_runs(
    cli: Cli, tmp_path: Path
) -> None:
    for words in ("play kuhn", "selfplay game=kuhn"):
        said = cli(words, folder=tmp_path).complaint
        assert "a search from one position would see them" in said
        [command] = re.findall("`(fledge [^`]+)`", said)
        done = cli([*command.split()[1:], "steps=5", f"out={words[:4]}"], folder=tmp_path)
        assert done.code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("solve khun", "perhaps you meant kuhn"),
        ("solve kuhn algorithm=cfrplus", "perhaps you meant cfr_plus"),
        ("solve kuhn algorithm=ppo", "there is no algorithm ppo"),
        ("solve kuhn algorithm=./mine.py:Mine", "knows cfr, cfr_plus, mccfr"),
        ("solve kuhn walks=3", "walks"),
        ("solve kuhn algorithm=mccfr walks=0", "walks"),
        ("solve ./forgets.py:Forgets", "no longer knows what it did before"),
        ("solve ./raises.py:Raises", "failed (ValueError: no)"),
    ],
)
def test_a_mistake_is_one_sentence(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    source = "import inspect\n" + as_source()
    (tmp_path / "mine.py").write_text("class Mine:\n    def update(self, batch):\n        pass\n")
    forgets = source + "\n\nclass Forgets(TwoCoins):\n    def information(self, state):\n"
    (tmp_path / "forgets.py").write_text(f"{forgets}        return str(len(state))\n")
    raises = source + "\n\nclass Raises(TwoCoins):\n    def payoff(self, state):\n"
    (tmp_path / "raises.py").write_text(f"{raises}        raise ValueError('no')\n")
    assert said in cli(words, folder=tmp_path).complaint
    assert not list(tmp_path.glob("runs/solve*/config.json"))
