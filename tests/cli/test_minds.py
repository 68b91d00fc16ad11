"""`fledge minds` as it is typed: what it infers and writes, its page, and one sentence for each
mistake.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli

import fledge.plan.minds.scene_file as scene_file

TRUCKS = (scene_file.FOLDER / "food-trucks.toml").read_text()


def test_the_food_trucks_with_film_and_page(cli: Cli, tmp_path: Path) -> None:
    summary = cli("minds scene=food-trucks --json", folder=tmp_path).result
    assert summary["minds"] == 48
    assert summary["posterior"]["wants"]["Mexican > Korean > Lebanese"] > 0.9
    assert summary["after"]["uncertainty"] < summary["before"]["uncertainty"] / 10
    run = tmp_path / summary["run"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert sum("foretold" in row for row in rows) == summary["steps"] == 20
    assert (run / "minds.svg").read_text().count("<animate") > 20
    assert cli(f"report {run}", folder=tmp_path).code == 0
    page = (run / "report.html").read_text()
    for said in ("What is wanted most", "Action by action", "image/svg+xml", "Mexican at b"):
        assert said in page


def test_a_scene_of_ones_own_by_particles_with_what_comes_next(cli: Cli, tmp_path: Path) -> None:
    path = TRUCKS.replace("down 4 right 3 take", "down 2")
    (tmp_path / "mine.txt").write_text(path)
    exact = cli("minds ./mine.txt out=exact --json", folder=tmp_path).result
    words = "minds ./mine.txt out=drawn inference=particles particles=20000 --json"
    drawn = cli(words, folder=tmp_path).result
    takes = exact["foretold"]["takes"]
    assert takes["Korean at a"] > 0.8
    assert sum(takes.values()) + exact["foretold"]["nothing"] == pytest.approx(1)
    assert sum(exact["foretold"]["next"].values()) == pytest.approx(1)
    for name, chance in exact["posterior"]["believes"].items():
        assert drawn["posterior"]["believes"][name] == pytest.approx(chance, abs=0.03)
    early = cli("minds ./mine.txt out=early steps=2", folder=tmp_path)
    assert "What comes next" in early.stdout
    (tmp_path / "mine.txt").write_text(f"{path}\n# changed\n")
    (tmp_path / "early" / "summary.json").unlink()
    assert "was started with another" in cli("resume early", folder=tmp_path).complaint


def test_a_network_that_learned_one_path_reads_another(cli: Cli, tmp_path: Path) -> None:
    """And what it reads in a run of its own is what it read where it learned."""
    small = "inference=amortised width=8 held_out_walks=4"
    words = f"minds food-trucks {small} updates=12 walks_per_update=4 out=learned --json"
    learned = cli(words, folder=tmp_path).result
    assert learned["after"]["nats_apart"] != learned["before"]["nats_apart"]
    again = cli(f"minds food-trucks {small} network=learned out=again --json", folder=tmp_path)
    assert again.result["posterior"] == learned["posterior"]
    assert again.result["path_nats_apart"] == learned["path_nats_apart"]
    (tmp_path / "other.txt").write_text(TRUCKS.replace("down 4 right 3 take", "down 2"))
    other = cli("minds ./other.txt inference=amortised network=learned", folder=tmp_path)
    assert "The network beside the exact posterior" in other.stdout
    (tmp_path / "cost.txt").write_text(TRUCKS.replace("step_cost = 0.2", "step_cost = 0.1"))
    for given, said in (
        ("./cost.txt inference=amortised network=learned", "has learned another scene"),
        ("food-trucks inference=amortised network=nowhere", "holds no network.safetensors"),
        ("food-trucks network=learned", "which reads none"),
        ("faces inference=amortised", "is always enumerated"),
    ):
        assert said in cli(f"minds {given} out=none", folder=tmp_path).complaint
        assert not (tmp_path / "none").exists()


def test_rewards_out_of_walks(cli: Cli, tmp_path: Path) -> None:
    summary = cli("minds meadow --json", folder=tmp_path).result
    worth, after = summary["worth"], summary["after"]
    assert worth["f"] > worth["s"] > worth["."] > worth["m"]
    assert after["earned"] > 0.99 * after["best_earns"]
    assert after["counts_apart"] < 0.05
    run = tmp_path / summary["run"]
    assert cli(f"report {run}", folder=tmp_path).code == 0
    assert "What pays" in (run / "report.html").read_text()
    meadow = (scene_file.FOLDER / "meadow.toml").read_text()
    (tmp_path / "all.txt").write_text(
        meadow.replace("\nsteps = 20", "\nsteps = 20\nchains = 3\niterations = 10")
    )
    told = cli("minds ./all.txt --json", folder=tmp_path).result["worth"]
    assert all(each["low"] <= each["mean"] <= each["high"] for each in told.values())


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        ("faces", "meant glasses (75.0 %)"),
        ("tug-of-war", "Tom wins against Bill"),
        ("money-request", "Quantal response"),
        ("breakfast", "The helper"),
        ("gate", "relationship helps"),
        ("sharing", "counts most Ann"),
    ],
)
def test_every_scene_is_told(scene: str, said: str, cli: Cli, tmp_path: Path) -> None:
    done = cli(f"minds {scene} out=run", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert said in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("minds food-truck", "perhaps you meant food-trucks"),
        ("minds ./nowhere.txt", "there is no scene ./nowhere.txt"),
        ("minds food-trucks particles=1", "particles"),
        ("minds faces inference=particles", "is always enumerated"),
        ("minds ./perfect.txt", "is one that every mind excludes"),
        ("minds ./words.txt", "and every mind excludes it"),
    ],
)
def test_a_mistake_is_one_sentence(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "perfect.txt").write_text(TRUCKS.replace("[0.5, 2]", "[inf]"))
    faces = (scene_file.FOLDER / "faces.toml").read_text()
    (tmp_path / "words.txt").write_text(
        faces.replace('said = "glasses"', 'said = ["hat", "cap"]') + 'cap = ["plain face"]\n'
    )
    assert said in cli(words, folder=tmp_path).complaint
    assert not list(tmp_path.glob("runs/minds*/config.json"))
