"""An encoder is taught to label by low-rank adapters, by real command lines: what is written is
PEFT's layout, is asked, measured and merged as a whole model is, and goes on after a kill with the
same bits.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.cli.commands import Cli, outcome
from tests.encoder_folder import make_encoder, write_rows

import fledge
from fledge.models.language.encoder import Encoder

QUICK = (
    "adapter=lora adapter_rank=4 epochs=6 learning_rate=4e-3 warmup_steps=5 rows_per_step=16 "
    "precision=fp32 compile=no"
)


@pytest.fixture(scope="module")
def place(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder, rows, and a run of texts and one of vectors."""
    folder = tmp_path_factory.mktemp("adapters")
    make_encoder(folder / "encoder")
    for task in ("classify", "embed"):
        write_rows(folder / f"{task}.jsonl", task)
        done = cli(
            f"tune task={task} base=encoder data={task}.jsonl out={task} {QUICK}", folder=folder
        )
        assert done.code == 0, done.stderr
    return folder


def test_it_learns_and_is_asked_as_a_whole_model_is(place: Path, cli: Cli) -> None:
    summary = json.loads((place / "classify" / "summary.json").read_text())
    assert summary["test"]["accuracy"] > 0.9
    again = cli("evaluate classify data=classify.jsonl --json", folder=place).result
    assert again["accuracy"] == pytest.approx(summary["test"]["accuracy"], abs=1e-6)
    said = fledge.load_encoder(place / "classify").label("the quick fox")
    assert said["label"] == "FOX"
    assert cli("export run=classify format=hf out=whole", folder=place).code == 0
    merged = fledge.load_encoder(place / "whole").label("the quick fox")
    assert merged["chance"] == pytest.approx(said["chance"], abs=1e-5)


def test_peft_says_the_same_of_a_text(place: Path) -> None:
    peft: Any = pytest.importorskip("peft")
    transformers: Any = pytest.importorskip("transformers")
    folder, base = place / "classify" / "model", place / "encoder"
    auto = transformers.AutoModelForSequenceClassification
    model = peft.PeftModel.from_pretrained(auto.from_pretrained(base, num_labels=2), folder).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer("the quick fox", return_tensors="pt")).logits[0]
    said = fledge.load_encoder(place / "classify").label("the quick fox")["chance"]
    assert list(said.values()) == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)


def test_only_the_adapter_and_the_head_are_written(place: Path) -> None:
    held = load_file(place / "classify" / "model" / "adapter_model.safetensors")
    names = {name.removeprefix("base_model.model.") for name in held}
    heads = {f"{part}.{leaf}" for part in ("bert.pooler.dense", "classifier")
             for leaf in ("weight", "bias")}  # fmt: skip
    assert {name for name in names if ".lora_" not in name} == heads
    bare = load_file(place / "embed" / "model" / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.encoder.layer.") for name in bare)


def test_vectors_of_an_adapter_are_those_of_its_run(place: Path, cli: Cli) -> None:
    summary = json.loads((place / "embed" / "summary.json").read_text())
    again = cli("evaluate embed data=embed.jsonl --json", folder=place).result
    assert again["retrieval"] == pytest.approx(summary["test"]["retrieval"], abs=1e-6)
    model = fledge.load_encoder(place / "embed")
    assert isinstance(model.network, Encoder)
    assert model.embed("the fox").norm() == pytest.approx(1, abs=1e-5)  # as its notes say


def test_it_goes_on_with_the_same_bits(place: Path, cli: Cli, tmp_path: Path) -> None:
    words = f"tune task=classify base={place}/encoder data={place}/classify.jsonl {QUICK}"
    words = words.replace("epochs=6", "steps=60 dropout=0.1 base_weights=nf4 adapter_dora=true")
    killed = tmp_path / "killed"
    ended = cli(
        f"{words} out=killed", folder=tmp_path, signal=signal.SIGKILL, after_s=0.2,
        once=killed / "metrics.jsonl",
    )  # fmt: skip
    assert ended.code == -signal.SIGKILL, ended
    assert cli("resume killed", folder=tmp_path).code == 0
    assert cli(f"{words} out=whole", folder=tmp_path).code == 0
    assert outcome(killed) == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("adapter_rank=4", "adapter_rank=4 is of adapter=lora"),
        ("adapter=lora adapter_modules=q_proj", "no matrix of this model: give some of dense"),
        ("adapter=lora freeze=embed*", "all of the base is frozen: leave out one"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: str, sentence: str, place: Path, cli: Cli
) -> None:
    done = cli(f"tune task=classify base=encoder data=classify.jsonl {words}", folder=place)
    assert sentence in done.complaint


def test_an_adapter_is_gone_on_from(place: Path, cli: Cli) -> None:
    """It is merged: all of it learns, or another adapter stands on both."""
    for out, more in (("again", ""), ("twice", "adapter=lora")):
        words = f"tune task=classify base=classify data=classify.jsonl steps=2 out={out} {more}"
        assert cli(words, folder=place).code == 0
        said = fledge.load_encoder(place / out).label("the quick fox")
        assert said["label"] == "FOX"
