"""`fledge sample` under every rule that it offers: what it promises of a completion holds of the
text that is printed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models

BASE = "sample base={tune} prompt=hello max_new_tokens=12 --json"


def completions(cli: Cli, models: Models, folder: Path, *more: str) -> list[dict]:
    return cli([*models.fill(BASE), *more], folder=folder).result["completions"]


def test_a_regular_expression_holds_of_every_completion(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    for one in completions(
        cli, models, tmp_path, "regex=[a-c]{2}(-[a-c]{2})?", "samples=20", "temperature=2"
    ):
        assert re.fullmatch("[a-c]{2}(-[a-c]{2})?", one["completion"])
        assert one["ended"] == "stop"


def test_a_completion_is_one_of_the_choices(cli: Cli, models: Models, tmp_path: Path) -> None:
    answers = completions(
        cli, models, tmp_path, 'choices=["yes", "no"]', "samples=30", "temperature=3"
    )
    assert {one["completion"] for one in answers} == {"yes", "no"}


def test_beams_come_best_first_and_none_is_likelier_than_what_a_wider_search_keeps(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    answers = completions(cli, models, tmp_path, "beams=8", "samples=3", "length_penalty=0")
    assert len({one["completion"] for one in answers}) == 3
    scores = [one["score"] for one in answers]
    assert scores == sorted(scores, reverse=True)
    for one in answers:
        assert one["score"] == pytest.approx(one["logp"])
    [greedy] = completions(cli, models, tmp_path, "temperature=0")
    assert scores[0] >= greedy["raw_logp"] - 1e-6


def test_the_best_of_many_samples_is_the_likeliest_of_them(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    drawn = completions(cli, models, tmp_path, "samples=16", "seed=3")
    best = completions(cli, models, tmp_path, "best_of=16", "samples=2", "seed=3")
    likeliest = sorted((one["raw_logp"] for one in drawn), reverse=True)[:2]
    assert [one["raw_logp"] for one in best] == pytest.approx(likeliest)


def test_a_stop_text_ends_a_completion_and_is_not_shown(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    free = completions(cli, models, tmp_path, "samples=8", "min_new_tokens=12")
    # half a character has no text of its own
    letter = next(c for c in free[0]["completion"][2:] if c.isascii())
    for whole, one in zip(
        free, completions(cli, models, tmp_path, "samples=8", f"stop={letter}"), strict=True
    ):
        assert letter not in one["completion"]
        if letter in whole["completion"] and one["ended"] == "stop_string":
            assert whole["completion"].startswith(one["completion"] + letter)


def test_guessing_changes_no_greedy_completion(cli: Cli, models: Models, tmp_path: Path) -> None:
    [plain] = completions(cli, models, tmp_path, "temperature=0")
    for way in ("lookup=true", *models.fill("draft={pretrain}")):
        done = cli([*models.fill(BASE), "temperature=0", way], folder=tmp_path).result
        assert done["completions"][0]["completion"] == plain["completion"]
        assert done["accepted"] <= done["guessed"]


def test_alternatives_are_told_of_each_token(cli: Cli, models: Models, tmp_path: Path) -> None:
    [one] = completions(cli, models, tmp_path, "temperature=0", "alternatives=3")
    assert len(one["alternatives"]) == one["tokens"]
    for step in one["alternatives"]:
        assert len(step) == 3
        assert [logp for _, logp in step] == sorted((logp for _, logp in step), reverse=True)
    assert sum(step[0][1] for step in one["alternatives"]) == pytest.approx(
        one["raw_logp"], abs=1e-5
    )


WRONG = {
    "beams=4 best_of=4": ["beams and best_of were given", "choose one"],
    "beams=2 samples=3": ["samples=3 was given with beams=2"],
    "regex=[": ["the pattern '[' does not parse"],
    'choices=["a"': ["a list of texts looks like"],
    "regex=a choices=b": ["regex and choices were given"],
    "min_new_tokens=20": ["min_new_tokens=20", "contradict"],
    "repetition_penalty=0": ["repetition_penalty"],
    "beams=2 stop=x": ["stop_strings was given, which beam search does not know"],
    "lookup=true repetition_penalty=2": [
        "repetition_penalty was given, which speculative decoding does not know"
    ],
    "server=nonsense": ["http://"],
    "server=http://127.0.0.1:9": ["http://127.0.0.1:9"],
}


@pytest.mark.parametrize("given", WRONG)
def test_what_cannot_be_is_said_in_one_sentence(
    given: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = given.split(" ")
    complaint = cli(
        [*models.fill("sample base={tune} max_new_tokens=12"), *words], folder=tmp_path
    ).complaint
    assert complaint.count("\n") <= 1
    assert all(part in complaint for part in WRONG[given]), complaint
