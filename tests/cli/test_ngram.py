"""An n-gram model by real command lines: counted, judged, sampled, killed and resumed; and what it
cannot do is said.
"""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.commands import Cli, Models, outcome

from fledge.hub.arpa import spell
from fledge.hub.folder import load_model

COUNT = "pretrain architecture=ngram order=4 data={text} tokenizer=bytes context=64"


def test_it_is_counted_judged_and_sampled(cli: Cli, models: Models, tmp_path: Path) -> None:
    def call(words: str) -> str:
        done = cli(models.fill(words), folder=tmp_path)
        assert done.code == 0, done.stderr
        return done.stdout

    call(f"{COUNT} out=run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    bits = [r["validation_bits_per_byte"] for r in rows if "validation_bits_per_byte" in r]
    assert len(bits) == 5
    # Of nothing yet: every one of 257 tokens as likely, and an end after every document.
    assert bits[0] == pytest.approx(8, abs=0.4)
    assert sorted(bits[:4], reverse=True) == bits[:4]
    first, again = (call("sample base=run prompt=ab max_new_tokens=9 seed=1") for _ in range(2))
    assert first == again
    scored = json.loads(call("evaluate base=run data={text} --json"))
    assert 0 < scored["bits_per_byte"] < bits[0]
    call(f"{COUNT} out=twin")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "twin")


def test_killed_and_resumed_it_ends_with_the_same_bits(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = f"{COUNT} save_every_s=0"
    assert cli(models.fill(f"{words} out=whole"), folder=tmp_path).code == 0
    log = tmp_path / "killed" / "metrics.jsonl"
    done = cli(models.fill(f"{words} out=killed"), folder=tmp_path, signal=signal.SIGKILL, once=log)
    assert done.code == -signal.SIGKILL
    assert cli("resume killed", folder=tmp_path).code == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (f"{COUNT} steps=3 learning_rate=1", "leave out learning_rate, steps"),
        (f"{COUNT} add_k=1", "add_k= is of smoothing=add_k"),
        (f"{COUNT} smoothing=unsmoothed prune=1", "prune= is of smoothing=kneser_ney"),
        ("pretrain data={text} order=3", "order: of architecture=ngram"),
        ("distill teacher={pretrain} data={text} architecture=ngram", "here choose another"),
    ],
)
def test_fields_that_would_do_nothing(
    words: str, sentence: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli(models.fill(words), folder=tmp_path)
    assert done.code == 2
    assert sentence in done.stderr


def test_what_cannot_be_done_to_it(cli: Cli, models: Models, tmp_path: Path) -> None:
    assert cli(models.fill(f"{COUNT} out=run"), folder=tmp_path).code == 0
    for words, sentence in {
        "tune base=run data={rows} steps=2": "nothing of this model learns by gradient",
        "pretrain base=run data={text} steps=2": "nothing of this model learns by gradient",
        "distill teacher=run data={text}": "give kind=sequence",
        "export run=run format=gguf": "writes no GGUF file",
        "compress base=run method=magnitude data={text}": "made smaller as it is counted",
    }.items():
        done = cli(models.fill(words), folder=tmp_path)
        assert done.code == 2, (words, done)
        assert sentence in done.stderr


def test_a_damaged_table(cli: Cli, models: Models, tmp_path: Path) -> None:
    assert cli(models.fill(f"{COUNT} out=run"), folder=tmp_path).code == 0
    file = tmp_path / "run/model/model.safetensors"
    held = load_file(file)
    held["keys_3"] = held["keys_3"].flip(0)
    save_file(held, tmp_path / "other.safetensors", {"format": "pt"})
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((file.parent / name).read_bytes())
    (tmp_path / "other.safetensors").rename(folder / "model.safetensors")
    done = cli("sample base=model prompt=a", folder=tmp_path)
    assert done.code == 2
    assert "the table of 3-grams is damaged" in done.stderr


def test_kenlm_reads_what_is_exported(cli: Cli, models: Models, tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    for words in (f"{COUNT} out=run", "export run=run format=arpa out=run.arpa"):
        done = cli(models.fill(words), folder=tmp_path)
        assert done.code == 0, done.stderr
    theirs = kenlm.Model(str(tmp_path / "run.arpa"))
    loaded = load_model(tmp_path / "run")
    text = "the car and the cat"
    names = [spell(bytes([byte])) for byte in text.encode()]
    ids = torch.tensor([[*loaded.tokenizer.opening, *loaded.tokenizer.encode(text)]])
    ours = loaded.policy().log_prob(ids, ids[:, 1:])[0] / math.log(10)
    said = [p for p, _, _ in theirs.full_scores(" ".join(names), bos=True, eos=False)]
    assert ours.tolist() == pytest.approx(said, abs=1e-5)
    again = cli("export run=run format=arpa out=run.arpa", folder=tmp_path)
    assert (again.code, "there already" in again.stderr) == (2, True)
