"""The perplexity that others have published for a Kneser–Ney 5-gram on the Penn Treebank, where a
user has a licence for it: FLEDGE_PENN_TREEBANK names a folder with ptb.train.txt and ptb.test.txt,
10,000 words, <unk> among them, as Mikolov et al. (2010) prepared it.
"""

from __future__ import annotations

import math
import os
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from fledge.algorithms.likelihood.smoothing import kneser_ney
from fledge.text.ngram_passes import count_ngrams

FOLDER = os.environ.get("FLEDGE_PENN_TREEBANK")


@pytest.mark.skipif(FOLDER is None, reason="FLEDGE_PENN_TREEBANK names no folder")
def test_kneser_ney_has_the_published_perplexity() -> None:
    """141.2 (Mikolov et al. 2011, table 1): each line a text, whose end is foretold too."""
    files = {part: Path(FOLDER or "", f"ptb.{part}.txt") for part in ("train", "test")}
    read = {
        part: [line.split() for line in file.read_text().splitlines()]
        for part, file in files.items()
    }
    words = sorted(set(chain.from_iterable(read["train"])))
    number = {word: i for i, word in enumerate(words, 2)}  # 0 opens a line, 1 closes it
    ids = {
        part: np.array([i for line in lines for i in (0, *(number[w] for w in line), 1)])
        for part, lines in read.items()
    }
    counts = count_ngrams([ids["train"]], 5, len(words) + 2, 0)
    model = kneser_ney(counts, np.arange(len(words) + 2) > 0)
    said = model.log_prob(ids["test"])[ids["test"] != 0]
    assert math.exp(-float(said.astype(np.float64).mean())) == pytest.approx(141.2, abs=2)
