"""Text from its end: rows as one writes them by hand, whatever part of a stream is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.text.backward import BackwardStream, turn_around
from fledge.text.documents import Document
from fledge.text.shard_writer import write_shards
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer("characters", ["abcdxyz"])
B, E = TOKENIZER.opening[0], TOKENIZER.closing[0]


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text)


def test_each_document_is_turned_and_keeps_its_ends() -> None:
    row = np.array([B, *ids("abc"), E, B, *ids("xy"), E])
    assert turn_around(row, TOKENIZER).tolist() == [B, *ids("yx"), E, B, *ids("cba"), E]
    assert turn_around(turn_around(row, TOKENIZER), TOKENIZER).tolist() == row.tolist()
    part = np.array([*ids("bc"), E, B, *ids("x")])  # a window has parts of documents
    assert turn_around(part, TOKENIZER).tolist() == [*ids("x"), E, B, *ids("cb")]


def test_a_stream_is_turned_as_a_whole(tmp_path: Path) -> None:
    texts = ("abc", "xy", "dd")
    write_shards(tmp_path, (("train", Document(text, "")) for text in texts), TOKENIZER)
    forward, backward = TokenStream(tmp_path, "train"), BackwardStream(tmp_path, "train", TOKENIZER)
    whole = turn_around(forward[:], TOKENIZER).tolist()
    assert len(backward) == len(forward) == 13
    assert backward[:].tolist() == whole
    for start, stop in ((0, 3), (4, 9), (12, 13), (5, 5), (7, 99)):
        assert backward[start:stop].tolist() == whole[start:stop]
    assert [part[:].tolist() for part in backward.of_sources()] == [whole]


def test_a_tokenizer_whose_one_token_does_both_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(TOKENIZER), "closing", ())
    with pytest.raises(UserError, match="no token of its own that closes one"):
        turn_around(np.array([B]), TOKENIZER)
