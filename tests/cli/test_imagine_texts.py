"""`fledge imagine` of sentences as it is typed: what it says and writes, what is asked of it
afterwards, and what goes wrong, in one sentence.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli

LINES = [f"{who} {does} {what}" for who in ("she", "he", "it", "one") for does in ("sees", "hears",
         "likes") for what in ("a cat", "the dog", "birds", "rain")]  # fmt: skip
QUICK = "width=8 latents=2 draws=2 steps=6 rows_per_step=8 samples=3 precision=fp32 compile=no"


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text("\n".join(LINES))
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"text": x}) + "\n" for x in LINES))
    return tmp_path


@pytest.mark.parametrize("model", ["text_vae", "text_diffusion"])
def test_a_model_is_learned_and_asked(model: str, cli: Cli, lines: Path) -> None:
    also = "twin=true evaluate_every=3" if model == "text_vae" else "sampling_steps=3"
    done = cli(f"imagine lines.txt model={model} {QUICK} {also} --json", folder=lines)
    result = done.result
    assert result["measure"] == "bound"
    assert result["test"]["nats"] > 0
    titles = [table["title"] for table in result["tables"]]
    assert ("Collapse" in titles) == (model == "text_vae")
    assert titles[-1] == "Between two sentences"
    if model == "text_vae":
        names = {"rate", "twin_rate", "information", "twin_active_units"}
        assert {f"validation_{name}" for name in names} <= result["after"].keys()
    same = cli(f"imagine lines.jsonl model={model} {QUICK} {also} out=again --json", folder=lines)
    assert same.result["after"] == result["after"]

    ends = LINES[3], LINES[30]
    asked = ["sample", "runs/imagine", f"between={ends[0]}", f"and={ends[1]}", "steps=4", "--json"]
    path = cli(asked, folder=lines).result["sentences"]
    pair = json.dumps(list(ends))
    again = cli(["sample", "runs/imagine", f"again={pair}", "--json"], folder=lines)
    assert len(path) == 4
    assert [path[0], path[-1]] == again.result["sentences"]
    assert cli(["sample", "runs/imagine", f"between={pair}", "steps=4", "--json"], folder=lines
               ).result["sentences"] == path  # fmt: skip
    drawn = cli("sample runs/imagine samples=5 seed=2 --json", folder=lines).result["sentences"]
    assert len(drawn) == 5
    still = cli(["sample", "runs/imagine", f"vary={ends[0]}", "noise=0", "--json"], folder=lines)
    assert set(still.result["sentences"]) == {path[0]}
    moved = cli(
        ["sample", "runs/imagine", f"edit={ends[0]}", "more=lines.txt", f"less={ends[1]}",
         "scale=0", "--json"], folder=lines,
    )  # fmt: skip
    assert moved.result["sentences"] == [path[0]]
    page = cli("report run=runs/imagine", folder=lines)
    assert page.code == 0
    html = (lines / "runs/imagine/report.html").read_text()
    assert "Between two sentences" in html
    assert "grammatical" not in html


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("empty.txt model=text_vae", "empty.txt holds no sentence"),
        ("few.txt model=text_vae", "fewer than 20 different sentences"),
        ("lines.txt model=text_vae longest=2", "have more than 2 tokens"),
        ("lines.txt model=text_vae binarise=hash", "binarise=hash was given, which is of pictures"),
        ("lines.csv model=text_vae", "is of no kind that is read"),
        ("lines.txt model=text_vae cell=grue", "cell=grue cannot be"),
        ("lines.txt model=text_vea", "perhaps you meant text_vae"),
        (
            "lines.txt model=text_diffusion free_bits=1",
            "free_bits is a setting of model=vae, text_vae",
        ),
        ("lines.txt model=text_vae tokenizer=nowhere", "nowhere holds no tokenizer.json"),
        ("lines.txt model=text_vae vocab_size=9", "vocab_size=9 is too small"),
    ],
)
def test_a_mistake_is_one_sentence(words: str, said: str, cli: Cli, lines: Path) -> None:
    (lines / "empty.txt").write_text("\n \n")
    (lines / "few.txt").write_text("\n".join(LINES[:9]))
    assert said in cli(f"imagine {words} {QUICK}", folder=lines).complaint
    assert not (lines / "runs").exists()


def test_a_mistake_in_what_is_asked_is_one_sentence(cli: Cli, lines: Path) -> None:
    assert cli(f"imagine lines.txt model=text_vae {QUICK} longest=6", folder=lines).code == 0
    long = " ".join(["rain"] * 9)
    for words, said in (
        (["between=she sees rain"], 'give two, as between="…" and="…"'),
        ([f"again={long}"], "have more than 6 tokens"),
        (["edit=she sees rain", "more=he sees rain"], "edit= was given without less="),
        (["vary=she sees rain", "again=he sees rain"], "ask for one at a time"),
        (["prompt=she"], "`prompt` is no field of `fledge sample`"),
        (["temperature=-1"], "temperature=-1 cannot be"),
    ):
        assert said in cli(["sample", "runs/imagine", *words], folder=lines).complaint
