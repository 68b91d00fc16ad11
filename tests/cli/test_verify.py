"""`fledge verify` as a user runs it: the table, the page, the exit code, and files of one's own,
right and wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.commands import Cli, Done

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KEYS = {"id", "subject", "claim", "figure", "bound", "holds"}

HEAD = """
import torch
from fledge.fit import nll, total

class Mine:
    gradient_claim = "unbiased"

    def __init__(self, policy, learner, stopwatch):
        self.policy, self.learner = policy, learner

    def update(self, batch):
        count = self.learner.count_rows(batch)
        reward = torch.where(batch.chosen, batch.reward, 0.0).sum(1, keepdim=True)

        def loss(rows):
            logp = self.policy.log_prob(rows.obs, rows.action, rows.chosen)
            return total(nll(logp, reward), rows.chosen, count), {}

        return self.learner.step(loss, batch)
"""


def read_result(done: Done) -> dict[str, Any]:
    """The JSON object, whatever the exit code says of the claims."""
    result = json.loads(done.stdout)
    assert set(result) == {"holds", "rows"}
    assert all(set(row) == KEYS for row in result["rows"])
    assert result["holds"] is all(row["holds"] for row in result["rows"])
    assert done.code == (0 if result["holds"] else 1), done.stderr
    return result


def test_every_claim_of_the_package_holds(cli: Cli, tmp_path: Path) -> None:
    done = cli("verify samples=200 out=page.html --json", folder=tmp_path)
    result = read_result(done)
    assert result["holds"]
    ids = [row["id"] for row in result["rows"]]
    assert len(set(ids)) == len(ids)
    assert {id.partition(".")[0] for id in ids} >= {
        "U1",
        "U2",
        "U3",
        "U4",
        "U5",
        "U6",
        "U7",
        "R6",
        "A1",
    }
    subjects = {row["subject"] for row in result["rows"]}
    assert {
        f"reinforce, {name}"
        for name in ("no baseline", "leave one out", "group mean", "batch mean")
    } <= subjects
    assert "maximum likelihood" in done.stderr  # what a person reads
    page = (tmp_path / "page.html").read_text()
    assert "every claim holds" in page
    assert page.count('<svg viewBox="0 0 400 220"') >= 15
    # opens offline
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_the_wrong_example_is_caught_and_the_good_one_holds(cli: Cli, tmp_path: Path) -> None:
    wrong = cli(["verify", str(EXAMPLES / "wrong_baseline.py")], folder=tmp_path)
    assert wrong.code == 1
    assert "WrongBaseline claims “unbiased”, but is biased: relative error" in wrong.stdout
    assert "0 of 2 rows hold" in wrong.stdout
    assert "claims do not hold" in (tmp_path / "verify.html").read_text()
    assert not read_result(
        cli(["verify", str(EXAMPLES / "wrong_baseline.py"), "--json"], folder=tmp_path)
    )["holds"]
    good = cli(["verify", str(EXAMPLES / "good_baseline.py")], folder=tmp_path)
    assert good.code == 0, good.stderr
    assert len((EXAMPLES / "good_baseline.py").read_text().splitlines()) <= 30


def test_in_float32_rounding_is_not_called_a_bias(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        ["verify", f"file={EXAMPLES / 'good_baseline.py'}", "dtype=float32", "--json"],
        folder=tmp_path,
    )
    rows = read_result(done)["rows"]
    assert all(1e-10 < row["figure"] <= row["bound"] == 1e-4 for row in rows)


def test_a_loss_is_enough(cli: Cli, tmp_path: Path) -> None:
    """REINFORCE in two lines; and with a square in it, which is said to be biased and shown to
    be.
    """
    (tmp_path / "mine.py").write_text(  # what it prints is not part of the JSON
        "print('hello')\n\ndef loss(logp, batch):\n    print('and again')\n    return "
        "-batch.reward.sum(1, keepdim=True) * logp\n\nloss.gradient_claim = 'unbiased'\n"
    )
    assert read_result(cli("verify ./mine.py --json", folder=tmp_path))["holds"]
    (tmp_path / "mine.py").write_text(
        "gradient_claim = 'biased: the reward is squared'\n\n"
        "def loss(logp, batch):\n    return -batch.reward.sum(1, keepdim=True) ** 2 * logp\n"
    )
    rows = read_result(cli("verify ./mine.py --json", folder=tmp_path))["rows"]
    assert all(row["bound"] is None and row["figure"] > 0.1 for row in rows)


def test_an_algorithm_that_takes_a_reference_is_also_asked_about_its_kl(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from fledge.algorithms.policy.reinforce import Reinforce\n\nclass Mine(Reinforce):\n    "
        "gradient_claim = 'unbiased'\n\nclass Other(Mine):\n    gradient_claim = 'unbiased up to "
        "scale 1/2'\n"
    )
    rows = read_result(cli("verify mine.py --json", folder=tmp_path))["rows"]
    assert [row["subject"] for row in rows] == [
        f"{name}{more}" for name in ("Mine", "Other") for more in ("", ", groups of 3", ", with KL")
    ]
    assert [row["holds"] for row in rows] == [True] * 3 + [False] * 3


def test_without_a_claim_there_is_nothing_to_break(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        HEAD.replace('gradient_claim = "unbiased"', "").replace("reward)", "reward + 1e3)")
    )
    rows = read_result(cli("verify mine.py --json", folder=tmp_path))["rows"]
    assert all(row["claim"] == "no claim" and row["holds"] for row in rows)


WRONG = {
    "no such file": (None, ["there is no file mine.py"]),
    "empty": ("\n", ["mine.py is empty"]),
    "nothing in it": ("import torch\n", ["nothing to verify", "loss(logp, batch)"]),
    "what it imports is not its own": (
        "from fledge.algorithms.policy.reinforce import Reinforce\n",
        ["nothing to verify"],
    ),
    "no Python": ("def loss(logp, batch)\n", ["mine.py line 1 is not valid Python"]),
    "raises as it loads": ("raise ValueError('no')\n", ["mine.py line 1", "ValueError: no"]),
    "raises in update": (
        HEAD.replace("count = self", "count = 1 / 0\n        self"),
        ["mine.py line 12", "Mine raised ZeroDivisionError"],
    ),
    "another constructor": (
        HEAD.replace("stopwatch)", "stopwatch, rate)"),
        ["Mine raised TypeError", "'rate'"],
    ),
    "no step": (
        HEAD.replace("self.learner.step(loss, batch)", "{}"),
        ["Mine raised ValueError: update(batch) made no optimizer step"],
    ),
    "a loss of another shape": (
        "def loss(logp, batch):\n    return logp.sum(1)\n",
        ["returned (2,): it must be a tensor [B, T], here (2, 1)"],
    ),
    "a loss that is a number": ("def loss(logp, batch):\n    return 1.0\n", ["returned float"]),
    "a loss that is infinite": ("def loss(logp, batch):\n    return logp / 0\n", ["the loss is"]),
    "a claim of no known form": (
        HEAD.replace('"unbiased"', '"exact"'),
        ['Mine has the gradient_claim "exact": it must be "unbiased"'],
    ),
    "a scale that is none": (
        HEAD.replace('"unbiased"', '"unbiased up to scale of B"'),
        ["names no scale"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_wrong_is_told_in_one_sentence(wrong: str, cli: Cli, tmp_path: Path) -> None:
    source, parts = WRONG[wrong]
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    said = cli("verify mine.py", folder=tmp_path).complaint
    assert all(part in said for part in parts), said
    quiet = cli("verify mine.py --json", folder=tmp_path)
    assert quiet.stdout == ""
    assert quiet.complaint == said
    assert not (tmp_path / "verify.html").exists()


def test_fields_that_cannot_be(cli: Cli, tmp_path: Path) -> None:
    assert "is no Python file" in cli("verify mine.txt", folder=tmp_path).complaint
    assert "dtype=float16 cannot be" in cli("verify dtype=float16", folder=tmp_path).complaint
    assert (
        "there is no folder nowhere"
        in cli("verify out=nowhere/page.html", folder=tmp_path).complaint
    )
    assert "samples=5 cannot be" in cli("verify samples=5", folder=tmp_path).complaint


def test_a_trainer_of_another_is_a_table_of_facts(cli: Cli, tmp_path: Path) -> None:
    done = cli("verify peer=fledge:rloo --json", folder=tmp_path)
    (row,) = json.loads(done.stdout)["rows"]
    assert row["equation"] == "r − mean of the others; sum over tokens / rows"
    assert row["scale"] == pytest.approx(1)
    assert row["faults"] == []
    assert not (tmp_path / "verify.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("verify peer=trll", "there is no peer trll: give one of trl:grpo"),
        ("verify peer=trl beta=0.1", "settings go to one trainer"),
        ("verify peer=fledge:rloo samples=100", "samples says nothing to peer=fledge:rloo"),
        ("verify peer=fledge:rloo file=ppo.py", "file=ppo.py says nothing to peer=fledge:rloo"),
        ("verify peer=cleanrl:ppo", "no file was given: give file=ppo.py"),
        ("verify peer=cleanrl:ppo file=none.py", "there is no file none.py: give file=ppo.py"),
        ("verify loss_type=dapo", "`loss_type` is no field of `fledge verify`"),
    ],
)
def test_what_a_peer_cannot_be_asked_is_one_sentence(
    cli: Cli, tmp_path: Path, words: str, said: str
) -> None:
    done = cli(words, folder=tmp_path)
    assert done.code == 2
    assert said in " ".join((done.stdout + done.stderr).split())
