"""Counts of n-grams are what a dictionary counts, however the text is cut and sorted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.text.documents import Document
from fledge.text.ngram_counts import WORD
from fledge.text.ngram_passes import Pieces, count_ngrams, count_together
from fledge.text.shard_writer import write_shards
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import train_tokenizer

BORDER = 0


def make_text(seed: int, length: int = 400) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.minimum(random.geometric(0.3, length) - 1, 9).astype(np.int64)


@pytest.mark.parametrize("border", [None, BORDER])
@pytest.mark.parametrize(("pieces", "run"), [([400], 2**20), ([1, 2, 7, 100, 290], 37)])
def test_they_are_a_dictionary_s(border: int | None, pieces: list[int], run: int) -> None:
    text = make_text(1)
    cut = np.split(text, np.cumsum(pieces)[:-1])
    counts = count_ngrams(cut, 5, 10, border, run)
    assert counts.words.tolist() == np.bincount(text, minlength=10).tolist()
    grams = [(word,) for word in range(10)]
    for n, one in enumerate(counts.grams, 2):
        wanted = Counter(
            tuple(text[i : i + n].tolist())
            for i in range(len(text) - n + 1)
            if border is None or border not in text[i + 1 : i + n]
        )
        shorter, grams = grams, [(*grams[k >> 32], int(k & WORD)) for k in one.keys.tolist()]
        assert dict(zip(grams, one.counts.tolist(), strict=True)) == wanted
        assert (np.diff(one.keys) > 0).all()
        assert [shorter[i] for i in one.suffix.tolist()] == [gram[1:] for gram in grams]


def test_processes_count_what_one_does(tmp_path: Path) -> None:
    texts = ["ab c" * (i % 3) + f"{i % 7}" + "de" * (i % 4) for i in range(60)]
    tokenizer = train_tokenizer("bytes", ())
    write_shards(tmp_path, (("train", Document(text, "")) for text in texts), tokenizer, 300)
    stream = TokenStream(tmp_path, "train")
    size, border = tokenizer.vocab_size, tokenizer.border
    alone = count_ngrams([stream[: len(stream)]], 4, size, border)
    together = count_ngrams(Pieces(stream), 3, size, border)
    together = count_together(stream, together, processes=2, run=150)
    for one, other in zip(alone.grams, together.grams, strict=True):
        for part in ("keys", "counts", "suffix"):
            assert np.array_equal(getattr(one, part), getattr(other, part))
    (tmp_path / "train-00000.bin").unlink()
    with pytest.raises(UserError, match=r"train-00000\.bin is missing"):
        count_together(stream, together, processes=2)
