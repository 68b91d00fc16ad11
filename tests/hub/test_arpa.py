"""ARPA files: what KenLM reads of ours is what we say, and what we read of one is what it says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fledge.algorithms.likelihood.smoothing import add_k, kneser_ney
from fledge.errors import UserError
from fledge.hub.arpa import read_arpa, spell, write_arpa
from tests.algorithms.likelihood.test_smoothing import SAYABLE, count, make_documents

NAMES = ["<s>", "</s>", *(spell(word) for word in (b" the", b"100%", b"\xff", b"<s>", b"\n"))]


def test_kenlm_reads_ours_and_says_the_same(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    for prune in (0, 1):
        model = kneser_ney(count(make_documents(1), 4), SAYABLE, prune)
        file = tmp_path / f"{prune}.arpa"
        write_arpa(file, model, NAMES)
        theirs = kenlm.Model(str(file))
        assert theirs.order == 4
        for document in make_documents(2, 40):
            text = " ".join(NAMES[word] for word in document[1:-1])
            said = [p for p, _, _ in theirs.full_scores(text)]
            ours = model.log_prob(np.array(document))[1:] / math.log(10)
            assert ours.tolist() == pytest.approx(said, abs=1e-5)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    model = kneser_ney(count(make_documents(1), 3), SAYABLE)
    write_arpa(tmp_path / "a.arpa", model, NAMES)
    words, again = read_arpa(tmp_path / "a.arpa")
    number = {word: i for i, word in enumerate(words)}
    renamed = np.array([number[name] for name in NAMES])
    for document in make_documents(2, 40):
        tokens = np.array(document)
        assert again.log_prob(renamed[tokens])[1:].tolist() == pytest.approx(
            model.log_prob(tokens)[1:].tolist(), abs=1e-5
        )
    assert again.border == number["<s>"]


def test_words_are_told_apart_and_have_no_space() -> None:
    tokens = [bytes([i]) for i in range(256)] + [b"a b", b"a%20b", b"<s>", b"</s>", b"<unk>", b""]
    words = [spell(token) for token in tokens]
    assert len(set(words)) == len(tokens)
    assert not any(len(word.split()) != 1 for word in words)
    assert not {"<s>", "</s>", "<unk>"} & set(words)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nothing", "is no ARPA file"),
        ("\\data\\\nngram 1=x\n", "line 2, says no number"),
        ("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\ta\n", "has 1 of the 2 1-grams"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\ta b c\n", "line 5, has 4 fields"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\nx\ta\n", "line 5, has no number"),
        (
            "\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n-1\ta\n\n\\2-grams:\n-1\ta z\n",
            "line 9, has 'z', which is no 1-gram",
        ),
        (
            "\\data\\\nngram 1=1\nngram 2=1\nngram 3=1\n\n\\1-grams:\n-1\ta\n\n\\2-grams:\n"
            "-1\ta a\n\n\\3-grams:\n-1\ta a a\n\\end\\\n",
            "",
        ),
    ],
)
def test_a_file_that_is_none_says_where(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "x.arpa"
    file.write_text(text)
    if not sentence:
        read_arpa(file)
        return
    with pytest.raises(UserError) as raised:
        read_arpa(file)
    assert sentence in str(raised.value)


def test_what_leaves_nothing_to_shorter_contexts_is_refused(tmp_path: Path) -> None:
    model = add_k(count(make_documents(1), 3), SAYABLE, 0.5)
    with pytest.raises(UserError, match="smoothing=kneser_ney"):
        write_arpa(tmp_path / "a.arpa", model, NAMES)
