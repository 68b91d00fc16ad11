"""An encoder from raw text to a folder that `transformers` opens, by real command lines; what
writes text refuses it in a sentence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.commands import ENCODER, PRETRAIN, Cli, Models

import fledge

MODERN = ENCODER.replace("architecture=bert", "architecture=modernbert")


@pytest.fixture(scope="module")
def run(cli: Cli, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    done = cli(models.fill(f"{ENCODER} masking=words out=bert"), folder=folder)
    assert done.code == 0, done.stderr
    assert "nats a masked token" in done.stdout
    assert "bits per byte" not in done.stdout
    return folder / "bert"


def test_the_folder_is_one_that_transformers_opens(run: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    theirs, report = transformers.AutoModelForMaskedLM.from_pretrained(
        run / "model", output_loading_info=True
    )
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "model")
    ours = fledge.load_encoder(run)
    said = tokenizer("a man <|mask|> here", return_tensors="pt")
    with torch.no_grad():
        expected = theirs.eval()(**said).logits
        logits = ours.network.masked_logits(ours.network(said["input_ids"]))
    assert (logits - expected).abs().max() < 1e-4
    [best] = ours.fill("a man [MASK] here", top=3)
    assert [token for token, _ in best] == [
        ours.tokenizer.decode([i])
        for i in expected[0, said["input_ids"][0] == tokenizer.mask_token_id][0]
        .index_fill(0, torch.arange(6), -torch.inf)
        .topk(3).indices.tolist()
    ]  # fmt: skip
    assert ours.embed(["one text", "another"]).shape == (2, 16)


def test_it_is_measured_and_goes_on_from_a_base(
    run: Path, cli: Cli, models: Models, tmp_path: Path
) -> None:
    assert cli(f"export run={run} out=copy", folder=tmp_path).code == 0
    copy, own = (fledge.load_encoder(each) for each in (tmp_path / "copy", run))
    assert torch.equal(copy.embed("a text"), own.embed("a text"))
    measured = cli(models.fill(f"evaluate base={run} data={{text}} --json"), folder=tmp_path).result
    assert 0 < measured["masked_nats"] < 8
    assert "bits_per_byte" not in measured
    words = f"pretrain base={run} steps=2 tokens_per_step=256 evaluation_rows=8"
    done = cli(models.fill(f"{words} data={{text}} masking=words out=again"), folder=tmp_path)
    assert done.code == 0, done.stderr
    first = json.loads((tmp_path / "again" / "metrics.jsonl").read_text().splitlines()[0])
    figure = "validation_masked_nats"
    last = json.loads((run / "summary.json").read_text())["after"][figure]
    assert first[figure] == pytest.approx(last, abs=1e-5)
    (tmp_path / "books").mkdir()
    for i in range(300):
        (tmp_path / "books" / f"{i}.txt").write_text(f"the {i}th of some texts, " * 3)
    paired = cli(f"{words} data=books objective=nsp out=pairs --json", folder=tmp_path).result
    assert 0 <= paired["test"]["next_accuracy"] <= 1
    config = json.loads((tmp_path / "pairs" / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForPreTraining"]


@pytest.mark.parametrize(
    "words",
    ["sample prompt=a", "chat", "tune data={rows}", "align task=reverse",
     "show attention text=abc", "evaluate task=reverse", "show rope"],
)  # fmt: skip
def test_what_writes_text_refuses_it(
    words: str, run: Path, cli: Cli, models: Models, tmp_path: Path
) -> None:
    verb, *rest = models.fill(words)
    command = [verb, rest.pop(0)] if verb == "show" else [verb]
    said = cli([*command, f"base={run}", *rest], folder=tmp_path, stdin="").complaint
    assert "encoder" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (f"{PRETRAIN} objective=mlm", "objective=mlm: of an encoder, which was not asked for"),
        (f"{MODERN} objective=nsp", "a modern encoder, which has no head for it"),
        (f"{MODERN} objective=rtd", "a modern encoder, which has no head for it"),
        (f"{ENCODER} kv_heads=1", "architecture=bert has no kv_heads to choose"),
        (f"{ENCODER} carry=true", "carry=True was given, which an encoder has not"),
        (f"{ENCODER} order=3", "order was given, which an encoder has not"),
        (f"{ENCODER} objective=spans", "objective=spans is none of an encoder's"),
        (f"{ENCODER} row_tokens=65", "more than the model's context of 64 tokens"),
        ("distill teacher={tune} data={rows} architecture=bert", "is an encoder, which writes no"),
    ],
)
def test_what_does_not_go_together(
    words: str, sentence: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    assert sentence in cli(models.fill(words), folder=tmp_path).complaint
