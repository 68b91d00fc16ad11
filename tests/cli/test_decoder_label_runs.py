"""A decoder is taught to label texts, whole and by an adapter, by real command lines: what it says
is what `transformers` makes of its folder, and it goes on after a kill with the same bits.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.commands import Cli, Models, outcome
from tests.encoder_folder import write_rows

import fledge
from fledge.hub.folder import load_labeller

QUICK = "learning_rate=2e-2 warmup_steps=5 rows_per_step=16 precision=fp32 compile=no"


@pytest.fixture(scope="module")
def place(cli: Cli, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder-labels")
    write_rows(folder / "classify.jsonl", "classify")
    for out, more in (("whole", ""), ("beside", "adapter=lora adapter_rank=4")):
        words = f"tune task=classify base={{pretrain}} data=classify.jsonl out={out} {QUICK} {more}"
        done = cli(models.fill(f"{words} steps=80"), folder=folder)
        assert done.code == 0, done.stderr
    return folder


@pytest.mark.parametrize("out", ["whole", "beside"])
def test_it_learns_and_is_asked(out: str, place: Path, cli: Cli) -> None:
    summary = json.loads((place / out / "summary.json").read_text())
    assert summary["test"]["accuracy"] > 0.8
    again = cli(f"evaluate {out} data=classify.jsonl --json", folder=place).result
    assert again["accuracy"] == pytest.approx(summary["test"]["accuracy"], abs=1e-6)
    said = cli(["label", out, "text=the quick fox", "--json"], folder=place).result["answers"][0]
    model = fledge.load_encoder(place / out)
    assert model.label("the quick fox")["chance"] == pytest.approx(said["chance"], abs=1e-6)
    assert "labels" in repr(model)


def test_transformers_says_the_same_of_the_same_tokens(place: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    auto = transformers.AutoModelForSequenceClassification
    theirs = auto.from_pretrained(place / "whole" / "model").eval()
    loaded = load_labeller(place / "whole")
    row = torch.tensor([[*loaded.tokenizer.opening, *loaded.tokenizer.encode("the quick fox")]])
    with torch.no_grad():
        chance = theirs(row).logits[0].softmax(-1)
    said = fledge.load_encoder(place / "whole").label("the quick fox")["chance"]
    assert list(said.values()) == pytest.approx(chance.tolist(), abs=1e-5)
    assert list(said) == [theirs.config.id2label[i] for i in range(len(said))]


def test_it_goes_on_with_the_same_bits(
    place: Path, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(
        f"tune task=classify base={{pretrain}} data={place}/classify.jsonl {QUICK} steps=80"
    )
    killed = tmp_path / "killed"
    ended = cli(
        [*words, "out=killed"], folder=tmp_path, signal=signal.SIGKILL, after_s=0.2,
        once=killed / "metrics.jsonl",
    )  # fmt: skip
    assert ended.code == -signal.SIGKILL, ended
    assert cli("resume killed", folder=tmp_path).code == 0
    assert cli([*words, "out=again"], folder=tmp_path).code == 0
    assert outcome(killed) == outcome(tmp_path / "again")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("sample whole prompt=a", "labels apart, and has no next token"),
        ("serve whole", "labels apart, and has no next token"),
        ("label whole text=a second=b", "has no second="),
        ("tune task=classify base={pretrain} data=classify.jsonl dropout=0.1", "and {pretrain} is"),
        ("tune task=pair base={pretrain} data=classify.jsonl", "is no encoder, as BERT is"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: str, sentence: str, place: Path, cli: Cli, models: Models
) -> None:
    wanted = " ".join(models.fill(sentence))
    assert wanted in cli(models.fill(words), folder=place).complaint


def test_vectors_and_masks_are_an_encoder_s(place: Path) -> None:
    model = fledge.load_encoder(place / "whole")
    with pytest.raises(fledge.UserError, match="a decoder that labels"):
        model.embed("a fox")
    with pytest.raises(fledge.UserError, match="foretells no masked tokens"):
        model.fill("a [MASK]")
