"""`fledge data quality` and `data languages`, and `data clean` by what they made."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.cli.commands import Cli
from tests.curate.sentences import SENTENCES
from tests.curate.texts import write_text

from fledge.curate.languages import BUILT_IN
from fledge.errors import UserError
from fledge.recipes.data.quality import DataQualityConfig, check_numbers

QUALITY = "data quality good=good.jsonl plain=plain.jsonl epochs=2"
CLEAN = "data clean mixed.jsonl rules=none copies=none spans=0"


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_kind(seed: int, good: bool) -> str:
    return f"{write_text(seed, 30)} {'lucid prose' if good else 'buy cheap'}"


def read_rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def learned(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts of two kinds, a classifier of them, and texts to clean."""
    folder = tmp_path_factory.mktemp("quality")
    for name, good in (("good", True), ("plain", False)):
        texts = [write_kind(seed + 1000 * good, good) for seed in range(400)]
        write_rows(folder / f"{name}.jsonl", [{"text": text} for text in texts])
    mixed = [write_kind(5000 + seed, seed % 4 == 0) for seed in range(80)]
    write_rows(folder / "mixed.jsonl", [{"text": text} for text in mixed])
    done = cli(f"{QUALITY} out=quality --json", folder=folder)
    assert done.result["accuracy"] > 0.8  # of 30 or more coins, 24 fall so once in 1,400 times
    assert done.result["pieces"] >= 20
    assert {"lucid", "prose"} <= set(done.result["words"]["good"][:4])
    assert {"buy", "cheap"} <= set(done.result["words"]["plain"][:4])
    return folder


def test_the_best_share_is_kept_with_its_quality(cli: Cli, learned: Path) -> None:
    """A quarter of the texts are good; half of all are asked for."""
    done = cli(f"{CLEAN} quality=quality quality_share=0.5 out=half", folder=learned)
    assert done.code == 0, done.stderr
    kept, dropped = (read_rows(learned / f"half/{name}.jsonl") for name in ("kept", "dropped"))
    assert len(kept) == 40
    worst = min(float(str(row["quality"])) for row in kept)
    for row in dropped:
        assert row["dropped_by"] == "quality"
        said = str(row["reason"])
        assert float(said.split()[1].rstrip(",")) <= worst + 5e-4
        assert said.endswith("is wanted")
    good = [row for row in kept if str(row["text"]).endswith("lucid prose")]
    assert len(good) >= 18  # of 20
    page = (learned / "half/report.html").read_text()
    assert "Dropped by quality" in page
    assert "passed quality" in page


def test_a_killed_choice_of_the_best_ends_with_the_same_bits(cli: Cli, learned: Path) -> None:
    words = f"{CLEAN} quality=quality quality_share=0.25"
    assert cli(f"{words} out=whole", folder=learned).code == 0
    out = learned / "killed"
    done = cli(f"{words} out=killed", folder=learned, signal=signal.SIGKILL,
               once=out / "quality.json")  # fmt: skip
    if done.code != 0:  # or it was quicker than the signal
        measured = (out / "quality.json").stat().st_mtime_ns
        assert cli("resume killed", folder=learned).code == 0
        assert (out / "quality.json").stat().st_mtime_ns == measured
    for name in ("kept.jsonl", "dropped.jsonl"):
        assert (out / name).read_bytes() == (learned / "whole" / name).read_bytes()


def test_a_killed_classifier_ends_with_the_same_bits(cli: Cli, learned: Path) -> None:
    out = learned / "again"
    cli(f"{QUALITY} out=again", folder=learned, signal=signal.SIGKILL, once=out / "config.json")
    assert cli("resume again", folder=learned).code == 0
    name = "quality.safetensors"
    assert (out / name).read_bytes() == (learned / "quality" / name).read_bytes()


def test_languages_are_told_and_learned(cli: Cli, tmp_path: Path) -> None:
    """Sentences of everyday among each other; then a language of one's own, by words drawn."""
    rows = [{"text": " ".join(SENTENCES[name])} for name in ("en", "fr", "ru", "ja", "de")]
    write_rows(tmp_path / "texts.jsonl", rows)
    done = cli("data clean texts.jsonl rules=none language=en,de out=two", folder=tmp_path)
    assert done.code == 0, done.stderr
    kept = read_rows(tmp_path / "two/kept.jsonl")
    assert [row["language"] for row in kept] == ["en", "de"]
    dropped = read_rows(tmp_path / "two/dropped.jsonl")
    assert [row["reason"] for row in dropped] == [
        f"looks like {name}, and en or de is wanted" for name in ("fr", "ru", "ja")
    ]
    own = [
        {"lang": "english", "text": " ".join(SENTENCES["en"]) * 10},
        {"lang": "drawn", "text": write_text(0, 400)},
        {"lang": "other", "text": "passed over"},
    ]
    write_rows(tmp_path / "own.jsonl", own)
    words = "data languages own.jsonl languages=english:en,drawn source=ours out=own.json --json"
    told = cli(words, folder=tmp_path).result
    assert told["languages"] == ["en", "drawn"]
    assert told["right"] == told["pieces"] >= 6
    write_rows(tmp_path / "drawn.jsonl", [{"text": write_text(1, 60)}, rows[0]])
    words = "data clean drawn.jsonl rules=none language=drawn profiles=own.json out=drawn"
    assert cli(words, folder=tmp_path).code == 0
    assert len(read_rows(tmp_path / "drawn/kept.jsonl")) == 1


def test_the_built_in_profiles_say_where_they_are_from() -> None:
    content = json.loads(BUILT_IN.read_text())
    assert "Universal Declaration of Human Rights" in content["source"]
    assert "public domain" in content["source"]
    assert {len(runs) for runs in content["profiles"].values()} == {300}


def test_documents_that_are_all_held_out_leave_nothing_to_learn_from() -> None:
    config = DataQualityConfig(good="long/", plain="web/")
    with pytest.raises(UserError, match="good=long/ leaves nothing to learn from"):
        check_numbers(config, {"train": [40, 0], "validation": [12, 12], "test": [12, 12]})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data quality good=a.jsonl plain=a.jsonl", "are both a.jsonl: give two sets of files"),
        ("data quality good=a.jsonl plain=b.jsonl", "pieces of text for validation, one in twenty"),
        ("data clean a.jsonl quality=a", "quality=RUN wants least_quality= or quality_share="),
        ("data clean a.jsonl least_quality=0.5", "quality=RUN wants least_quality= or"),
        ("data clean a.jsonl quality=. least_quality=0.5", ". has no quality.safetensors: give"),
        ("data clean a.jsonl language=xx", "language=xx names 'xx', and there are profiles of ar"),
        (
            "data clean a.jsonl language=en profiles=no.json",
            "a file or folder is not there (no.json)",
        ),
        ("data clean a.jsonl profiles=no.json", "say by language= which you want"),
        ("data languages a.jsonl", "line 1 of a.jsonl wants a `text` and a `lang`"),
        ("data languages c.jsonl", "has 0 characters of eng, and 1,000 are wanted"),
        ("data languages c.jsonl languages=fra", "names fra, and c.jsonl has no text of it"),
        ("data languages d.txt", "d.txt is no .jsonl: give rows with `text` and `lang`"),
    ],
)
def test_what_cannot_be_learned(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"text": write_text(0, 30)}])
    write_rows(tmp_path / "b.jsonl", [{"text": write_text(1, 30)}])
    write_rows(tmp_path / "c.jsonl", [{"text": "a b", "lang": "eng"}, {"text": "c", "lang": "deu"}])
    (tmp_path / "d.txt").write_text("text")
    assert said in cli(words, folder=tmp_path).complaint
