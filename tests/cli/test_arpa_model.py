"""An ARPA file is a model for evaluate and sample: of words as KenLM reads it, or of the tokens of
the tokenizer beside it.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.cli.commands import Cli, Models

from fledge.algorithms.likelihood.smoothing import kneser_ney
from fledge.hub.arpa import write_arpa
from fledge.text.ngram_passes import count_ngrams

WORDS = ["<s>", "</s>", "<unk>", "the", "cat", "sat", "on", "mat."]
SENTENCES = ["the cat sat on the mat.", "the mat. sat", "cat on cat on the cat", "a dog sat"]


def write_words(file: Path, order: int = 3) -> None:
    """A model of the sentences."""
    number = {word: i for i, word in enumerate(WORDS)}
    rows = [[0, *(number.get(w, 2) for w in line.split()), 1] for line in SENTENCES]
    counts = count_ngrams([np.concatenate(rows)], order, len(WORDS), 0)
    write_arpa(file, kneser_ney(counts, np.arange(len(WORDS)) > 0), WORDS)


def test_words_between_white_space_are_tokens(cli: Cli, tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    write_words(tmp_path / "words.arpa")
    text = "the cat sat on a mat."
    (tmp_path / "text.txt").write_text(text)
    done = cli("evaluate base=words.arpa data=text.txt whole=true --json", folder=tmp_path)
    assert done.code == 0, done.stderr
    figures = json.loads(done.stdout)
    theirs = -kenlm.Model(str(tmp_path / "words.arpa")).score(text) * math.log(10)
    assert figures["nats_per_token"] * figures["tokens"] == pytest.approx(theirs, rel=1e-5)
    assert figures["tokens"] == 7  # and the end; what is no word counts as <unk>
    done = cli("sample base=words.arpa raw=true samples=20 prompt=the --json", folder=tmp_path)
    assert done.code == 0, done.stderr
    said = [one["completion"].split() for one in json.loads(done.stdout)["completions"]]
    assert {word for line in said for word in line} <= {*WORDS[3:]}
    assert any(said)


def test_with_its_tokenizer_beside_it_is_the_run_s_own(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    for words in (
        "pretrain architecture=ngram order=3 data={text} tokenizer=bytes context=1024 "
        "row_tokens=64 out=run",
        "export run=run format=arpa out=run.arpa",
    ):
        done = cli(models.fill(words), folder=tmp_path)
        assert done.code == 0, done.stderr
    (tmp_path / "beside").mkdir()
    for file in (*(tmp_path / "run/model").glob("tokenizer*"), tmp_path / "run.arpa"):
        shutil.copy(file, tmp_path / "beside")
    bits = []
    for base in ("run", "beside/run.arpa"):
        done = cli(models.fill(f"evaluate base={base} data={{text}} --json"), folder=tmp_path)
        assert done.code == 0, done.stderr
        bits.append(json.loads(done.stdout)["bits_per_byte"])
    assert bits[0] == pytest.approx(bits[1], rel=1e-5)
    write_words(tmp_path / "beside/words.arpa")
    done = cli("sample base=beside/words.arpa prompt=a", folder=tmp_path)
    assert done.code == 2
    assert "which is no token of the tokenizer beside it" in done.stderr
