"""Readers that go on where they stopped: each row follows its own row of the step before, and
together they read the whole text.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.sample.streams import StreamRows
from fledge.text.documents import Document
from fledge.text.shard_writer import write_shards
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import train_tokenizer

BYTES = train_tokenizer("bytes", [])


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> TokenStream:
    folder = tmp_path_factory.mktemp("shards")
    documents = [Document("".join(chr(65 + (i * j) % 57) for j in range(i)), "") for i in range(20)]
    write_shards(folder, (("train", document) for document in documents), BYTES, shard_tokens=70)
    return TokenStream(folder, "train")


def read(stream: TokenStream, **fields: int) -> StreamRows:
    return StreamRows(stream, BYTES.begin, **{"rows_per_step": 4, "context": 7, "seed": 0} | fields)


def test_each_row_goes_on_where_it_stopped_and_together_they_read_all(stream: TokenStream) -> None:
    text = stream[0 : len(stream)].tolist()
    sampler = read(stream)
    steps = [next(sampler).obs.tolist() for _ in range(-(-len(text) // 28) + 1)]
    for row in range(4):
        for one, other in pairwise(steps):
            assert one[row][-1] == other[row][0]
        said = [token for step in steps for token in step[row][:-1]]
        ring = text * 3
        assert any(ring[i : i + len(said)] == said for i in range(len(text)))
    reached = {
        (sampler.first[row] + place) % len(text)
        for row in range(4)
        for place in range(7 * len(steps))
    }
    assert reached == set(range(len(text)))


def test_a_row_longer_than_the_text_goes_round(stream: TokenStream, tmp_path: Path) -> None:
    write_shards(tmp_path, [("train", Document("abc", ""))], BYTES)
    short = TokenStream(tmp_path, "train")
    ring = short[0 : len(short)].tolist() * 6
    row = next(read(short, rows_per_step=1, context=17)).obs[0].tolist()
    assert any(ring[i : i + 18] == row for i in range(len(short)))


def test_it_goes_on_from_its_state(stream: TokenStream) -> None:
    sampler, again = read(stream), read(stream)
    for _ in range(5):
        next(sampler)
    again.load_state_dict(sampler.state_dict())
    assert next(again).obs.tolist() == next(sampler).obs.tolist()


def test_more_readers_than_tokens(tmp_path: Path) -> None:
    write_shards(tmp_path, [("train", Document("abc", ""))], BYTES)
    with pytest.raises(UserError, match="5 tokens and 9 rows read it side by side"):
        read(TokenStream(tmp_path, "train"), rows_per_step=9)
