"""Rows for an encoder: the same after a stop, opened and closed; and pairs are what they say."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.sample.masked_rows import MaskedPairs, MaskedRows, MaskedWindows
from fledge.splits import SPLITS
from fledge.text.corpus import Corpus
from fledge.text.encoder_tokenizer import make_encoder_tokenizer
from fledge.text.frames import read_frame
from fledge.text.masking import read_masking
from fledge.text.own_copy import keep_shards
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import train_tokenizer

# A character of its own for each place of each document: its id says where it stood.
DOCUMENTS = ["".join(chr(0x4E00 + 100 * i + j) for j in range(2 + 7 * i % 60)) for i in range(40)]
TOKENIZER = make_encoder_tokenizer(train_tokenizer("characters", DOCUMENTS))
FRAME, MASKING = read_frame(TOKENIZER), read_masking(TOKENIZER, "tokens", 0.2)
DOCUMENT = {number: i for i, text in enumerate(DOCUMENTS) for number in TOKENIZER.encode(text)}


def keep(folder: Path, documents: list[str]) -> Path:
    for i, text in enumerate(documents):
        (folder / f"{i}.txt").write_text(text)
    keep_shards(folder / "shards", lambda: Corpus(str(folder)), TOKENIZER, lambda line: None)
    return folder / "shards"


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> TokenStream:
    return TokenStream(keep(tmp_path_factory.mktemp("text"), DOCUMENTS), "train")


def collect(sampler: MaskedWindows | MaskedPairs, batches: int) -> MaskedRows:
    parts = [next(sampler) for _ in range(batches)]
    longest = max(part.tokens.shape[1] for part in parts)

    def widen(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (0, longest - x.shape[1])) if x.ndim == 2 else x

    return MaskedRows(*(
        torch.cat([widen(getattr(part, name)) for part in parts]) for name, _ in parts[0].items()
    ))  # fmt: skip


@pytest.mark.parametrize("kind", [MaskedWindows, MaskedPairs])
def test_a_sampler_that_is_resumed_goes_on_as_if_it_had_never_stopped(
    kind: type[MaskedWindows | MaskedPairs], stream: TokenStream
) -> None:
    def make() -> MaskedWindows | MaskedPairs:
        return kind(stream, FRAME, MASKING, rows_per_step=3, context=20, seed=5)

    whole = collect(make(), 6)
    first = make()
    begun = collect(first, 2)
    second = make()
    second.load_state_dict(first.state_dict())
    rest = collect(second, 4)
    for name, value in whole.items():
        wide = value.shape[1] if value.ndim == 2 else 0
        for part, own in ((begun, value[:6]), (rest, value[6:])):
            said = getattr(part, name)
            if wide:
                own = own[:, : said.shape[1]]
            assert torch.equal(said, own), name


def test_a_window_is_opened_and_closed_and_its_documents_lie_in_it(stream: TokenStream) -> None:
    rows = next(MaskedWindows(stream, FRAME, MASKING, rows_per_step=40, context=20, seed=1))
    assert rows.tokens.shape == (40, 20)
    assert rows.count_actions() == 800
    assert bool((rows.target[:, 0] == TOKENIZER.begin).all())
    assert bool((rows.target[:, -1] == TOKENIZER.end).all())
    text = stream[0 : len(stream)]
    places = np.lib.stride_tricks.sliding_window_view(text, 18)
    for row in rows.target[:, 1:-1].numpy():
        assert (places == row).all(1).any()
    assert bool((rows.another == -1).all())
    assert rows[rows.size > 0].trim() is not None


def test_of_pairs_half_go_on_and_half_come_from_another_document(stream: TokenStream) -> None:
    """200 pairs: a fair coin is off by more than 35 five times in a million."""
    rows = collect(MaskedPairs(stream, FRAME, MASKING, rows_per_step=20, context=26, seed=3), 10)
    another = 0
    for i in range(len(rows)):
        target, types = rows.target[i, : rows.size[i]], rows.types[i, : rows.size[i]]
        ends = (target == TOKENIZER.end).nonzero()[:, 0].tolist()
        assert int(target[0]) == TOKENIZER.begin
        assert len(ends) == 2
        assert ends[1] == len(target) - 1
        assert types.tolist() == [0] * (ends[0] + 1) + [1] * (len(target) - ends[0] - 1)
        first, second = target[1 : ends[0]].tolist(), target[ends[0] + 1 : ends[1]].tolist()
        assert all(b == a + 1 for each in (first, second) for a, b in pairwise(each))
        follows = DOCUMENT[first[-1]] == DOCUMENT[second[0]] and second[0] == first[-1] + 1
        assert follows == (int(rows.another[i]) == 0)
        assert follows == (DOCUMENT[first[-1]] == DOCUMENT[second[0]])
        another += int(rows.another[i])
    assert abs(another - 100) < 36


def test_one_document_has_no_other(tmp_path: Path) -> None:
    shards = keep(tmp_path, DOCUMENTS[-1:])
    one = max((TokenStream(shards, split) for split in SPLITS), key=len)
    with pytest.raises(UserError, match="has 1 documents of two tokens or more: objective=nsp"):
        MaskedPairs(one, FRAME, MASKING, rows_per_step=1, context=20, seed=0)
