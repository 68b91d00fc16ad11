"""A search over tokens as it is typed: `fledge sample search=…`, `fledge evaluate search=…` and
`fledge align algorithm=search`, and one sentence for each mistake.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models

JUDGE = """
def prompts():
    return ["say " + a for a in "abcdefgh"]

def score(prompt, completion):
    return min(1.0, completion.count(prompt[-1]) / 2)
"""
VOWELS = (
    JUDGE.split("def score")[0]
    + """def score(prompt, completion):
    return sum(letter in "aeiou" for letter in completion) / 6
"""
)
SHORT = "max_new_tokens=6 simulations=24 --json"


def run(cli: Cli, models: Models, folder: Path, command: str) -> dict:
    done = cli(models.fill(command), folder=folder)
    assert done.code == 0, done.stderr
    return done.result


def test_a_sample_by_search(cli: Cli, models: Models, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(JUDGE)
    prompt = ["prompt=say a a", *SHORT.split()]
    base = models.fill("sample base={tune}")
    searched = cli([*base, *prompt, "search=mcts", "task=mine.py", "samples=3"], folder=tmp_path)
    told = searched.result["completions"]
    scores = [one["score"] for one in told]
    assert scores == sorted(scores, reverse=True)
    for one in told:
        right = min(1.0, one["completion"].count("a") / 2) if one["ended"] == "stop" else 0.0
        assert one["score"] == pytest.approx(right)
    again = cli([*base, *prompt, "search=mcts", "task=mine.py", "samples=3"], folder=tmp_path)
    assert again.result["completions"] == told
    # 30-odd tokens of a prompt are read once; 24 looks would otherwise read them each
    assert 0 < searched.result["tokens_read"] < 24 * 20


def test_the_likeliest_completion_is_that_of_a_wide_beam(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    """Of up to 3 tokens, where a beam of 200 leaves little out."""
    base = models.fill("sample base={tune} max_new_tokens=3 --json")
    beam = cli([*base, "prompt=the cat", "beams=200", "length_penalty=0"], folder=tmp_path)
    best = cli(
        [*base, "prompt=the cat", "search=best_first", "simulations=4000", "search_width=300"],
        folder=tmp_path,
    )
    [one], [other] = beam.result["completions"], best.result["completions"]
    assert best.result["proved"] == 1
    assert one["completion"] == other["completion"]
    assert one["score"] == pytest.approx(other["score"], abs=1e-3)


def test_a_reward_model_is_searched_for(cli: Cli, models: Models, tmp_path: Path) -> None:
    words = "sample base={tune} prompt=cat reward={reward} search=mcts " + SHORT
    answers = run(cli, models, tmp_path, words)["completions"]
    valued = run(cli, models, tmp_path, f"{words} leaf=value")["completions"]
    first = run(cli, models, tmp_path, words.replace("mcts", "best_first"))
    assert all(isinstance(one["score"], float) for one in [*answers, *valued])
    assert first["proved"] == 0


def test_what_comes_to_no_end_is_shown_as_far_as_it_came(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill("sample base={tune} prompt=cat search=best_first simulations=2")
    done = cli(words, folder=tmp_path)
    assert done.code == 0
    assert "no end within simulations=2" in done.stdout + done.stderr
    told = cli([*words, "--json"], folder=tmp_path).result
    assert told["unfinished"] == 1
    assert told["proved"] == 0
    assert 1 <= told["completions"][0]["tokens"] <= 2


def test_an_evaluation_by_search(cli: Cli, models: Models, tmp_path: Path) -> None:
    words = "evaluate base={tune} task={letters} prompts=6 max_new_tokens=6 --json"
    plain = run(cli, models, tmp_path, words)
    searched = run(cli, models, tmp_path, f"{words} search=best_first simulations=40")
    assert searched["prompts"] == plain["prompts"]
    assert searched.keys() >= {"exact_match", "true_score", "proved", "tokens_read"}


def test_a_policy_learns_from_its_own_search(cli: Cli, models: Models, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(VOWELS)
    for target in ("visits", "soft"):
        words = (
            "align base={tune} task=mine.py algorithm=search steps=4 prompts_per_step=4 "
            "simulations=12 max_new_tokens=6 cut_reward=1 learning_rate=3e-3 "
            f"target={target} out={target} "
            "evaluate_every=2 evaluation_prompts=4 precision=fp32 compile=no --json"
        )
        summary = run(cli, models, tmp_path, words)
        rows = [json.loads(line) for line in (tmp_path / target / "metrics.jsonl").open()]
        steps = [row for row in rows if "searched_reward" in row]
        assert len(steps) == 4
        assert all(row["searched_reward"] >= row["reward"] for row in steps)
        assert max(row["drift"] for row in steps) < 1e-3
        assert summary["after"]["reward"] == pytest.approx(steps[-1]["reward"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample base={tune} search=mcts", "nothing says what a completion is worth"),
        ("sample base={tune} search=mcts task=reverse", "its own prompts alone"),
        ("sample base={tune} search=mcts task=mine.py reward={reward}", "choose one judge"),
        ("sample base={tune} search=best_first temperature=0", "temperature was given"),
        ("sample base={tune} search=best_first beams=3", "beams and search were given"),
        ("sample base={tune} search=best_first leaf=value", "leaf=value was given without"),
        ("sample base={tune} search=best_first leaf=likeliest", "leaf=likeliest was given without"),
        ("sample base={tune} search=best_first regex=a*", "a constraint was given"),
        ("sample base={tune} search=breadth", "best_first"),
        ("sample base={tune} simulations=7", "simulations was given without a search"),
        ("sample base={tune} task=mine.py", "task was given without a search"),
        ("evaluate base={tune} search=best_first data=x", "give task=NAME"),
        ("evaluate base={tune} task=mine.py search=mcts", "nothing says what"),
        ("align base={tune} task=mine.py algorithm=search temperature=0.5", "temperature=0.5 was"),
        ("align base={tune} task=mine.py algorithm=search samples_per_prompt=4", "leave it out"),
        ("align base={tune} task=mine.py algorithm=search regex=a*", "a constraint was given"),
        ("align base={tune} task=mine.py algorithm=search simulations=1", "simulations"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str, said: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(JUDGE)
    assert said in cli(models.fill(words), folder=tmp_path).complaint
