"""`fledge query` as it is typed: curves, differences, its page, a sentence for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.commands import Cli

from fledge.images.png import encode_png
from fledge.recipes.studies.query_fields import QueryConfig
from fledge.recipes.studies.query_pairs import AskingPairs
from fledge.score.pair_choice import PAIR_METHODS

QUICK = "query digits methods=margin,core_set seeds=2 rounds=1 --json"


def test_ways_of_choosing_stand_beside_random(cli: Cli, tmp_path: Path) -> None:
    summary = cli(QUICK, folder=tmp_path).result
    curves = summary["budget_curves"]
    assert list(curves) == ["random", "margin", "core_set"]
    assert {tuple(curve["x"]) for curve in curves.values()} == {(20, 30)}
    # all begin with the same labels
    assert len({curve["y"][0] for curve in curves.values()}) == 1
    assert set(summary["differences"]) == {"margin", "core_set"}
    run = tmp_path / summary["run"]
    assert cli(f"report {run}", folder=tmp_path).code == 0
    assert "Accuracy over labels" in (run / "report.html").read_text()


def write_pairs(folder: Path, count: int = 60) -> None:
    """In one half kind words are better, in the other short answers."""
    rows = []
    for i in range(count):
        gentle, word = i % 2 == 0, ("dear", "friend", "please")[i % 3]
        better = f"{word} come in" if gentle else "no"
        worse = "come in" if gentle else f"{word} no and no {i}"
        rows.append(
            {"prompt": f"ask {i}", "chosen": better, "rejected": worse, "kind": gentle and "a"}
        )
    lines = (json.dumps(row | {"subset": str(row.pop("kind"))}) + "\n" for row in rows)
    (folder / "pairs.jsonl").write_text("".join(lines))


PAIRS = "query pairs.jsonl kind=pairs by=subset first=4 labels_per_round=6 rounds=3 seeds=2"


def test_pairs_are_chosen_beside_random(cli: Cli, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    curves = cli(f"{PAIRS} --json", folder=tmp_path).result["budget_curves"]
    assert list(curves) == ["random", "uncertainty", "bald", "batch_bald"]
    assert len({curve["y"][0] for curve in curves.values()}) == 1
    assert {tuple(curve["x"]) for curve in curves.values()} == {(4, 10, 16, 22)}
    assert curves["batch_bald"]["y"][-1] > 0.6


def test_what_is_saved_of_asking_about_pairs_is_all_there_is(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    config = QueryConfig(
        data=str(tmp_path / "pairs.jsonl"), kind="pairs", by="subset", first=4,
        labels_per_round=6, rounds=2, seeds=2,
    )  # fmt: skip
    whole, stopped, again = (AskingPairs(config, PAIR_METHODS) for _ in range(3))
    wanted = [whole.update(step) for step in range(config.steps)]
    for step in range(2):
        stopped.update(step)
    again.load_state_dict(stopped.state_dict())
    assert [again.update(step) for step in range(2, config.steps)] == wanted[2:]
    assert again.accuracy.equal(whole.accuracy)


@pytest.mark.slow
def test_choosing_beats_chance_on_digits_and_loses_nothing_on_noise(
    cli: Cli, tmp_path: Path
) -> None:
    """10 seeds, paired, at equal labels: margin's interval is above 0; where labels mean nothing,
    no way's interval is below it.
    """
    words = "query digits methods=margin,core_set rounds=10 out=digits --json"
    told = cli(words, folder=tmp_path).result["differences"]
    assert told["margin"]["low"] > 0
    words = "query digits methods=margin shuffle_labels=true rounds=4 out=noise --json"
    for each in cli(words, folder=tmp_path).result["differences"].values():
        # An interval for 95 %, as wide again (5.9 σ): a false alarm in 10⁸.
        assert each["high"] + (each["high"] - each["low"]) > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("query digits methods=entropy", "there is no method 'entropy'"),
        ("query digits by=subset", "is of kind=pairs"),
        ("query pairs.jsonl kind=pairs methods=margin", "there is no method 'margin' of pairs"),
        ("query pairs.jsonl kind=pairs by=topic", "has no `topic`"),
        ("query pairs.jsonl kind=pairs", "120 pairs were to be asked about"),
        ("query digits rounds=1000", "give fewer rounds"),
        (
            "query ./large first=2 rounds=1 labels_per_round=1",
            "weights, of which 8,000 can be fitted",
        ),
        ("query nowhere/", "nowhere"),
        ("query digits seeds=1", "seeds"),
    ],
)
def test_a_mistake_is_one_sentence(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    for label in ("a", "b") if "large" in words else ():
        (tmp_path / "large" / label).mkdir(parents=True)
        for number in range(20):
            picture = np.full((64, 64, 1), 10 * number, dtype=np.uint8)
            (tmp_path / "large" / label / f"{number}.png").write_bytes(encode_png(picture))
    assert said in cli(words, folder=tmp_path).complaint
    assert not list(tmp_path.glob("runs/query*/config.json"))
