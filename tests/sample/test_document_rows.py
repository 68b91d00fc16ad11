"""Running text: every window once a pass, in an order that one integer restores; and no document's
opening is ever a target.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.sample.documents import DocumentRows, text_rows
from fledge.seeds import seed_for
from fledge.text.documents import Document
from fledge.text.shard_writer import write_shards
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import train_tokenizer

BYTES = train_tokenizer("bytes", [])
CONTEXT = 8


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> TokenStream:
    """Documents of all lengths over several shards; no two windows of it are alike."""
    folder = tmp_path_factory.mktemp("shards")
    documents = [
        Document("".join(chr(0x4E00 + i * 40 + j) for j in range(i % 13)), str(i))
        for i in range(40)
    ]
    write_shards(folder, (("train", document) for document in documents), BYTES, shard_tokens=100)
    return TokenStream(folder, "train")


def rows(stream: TokenStream, seed: int = 0, rows_per_step: int = 3) -> DocumentRows:
    return DocumentRows(
        stream, BYTES.begin, rows_per_step=rows_per_step, context=CONTEXT, seed=seed
    )


def one_pass(stream: TokenStream, seed: int, number: int) -> list[list[int]]:
    sampler = rows(stream, seed, rows_per_step=1)
    sampler.position = number * sampler.text.windows
    return [next(sampler).obs[0].tolist() for _ in range(sampler.text.windows)]


@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_pass_visits_every_window_of_the_text_once(stream: TokenStream, number: int) -> None:
    text = stream[0 : len(stream)].tolist()
    seen = sorted(_start(text, row) for row in one_pass(stream, 0, number))
    # side by side, none twice
    assert seen == list(range(seen[0], seen[0] + len(seen) * CONTEXT, CONTEXT))
    assert seen[0] < 3 * CONTEXT  # and all but the ends
    assert len(text) - (seen[-1] + CONTEXT + 1) < 3 * CONTEXT


def _start(text: list[int], row: list[int]) -> int:
    (start,) = [i for i in range(len(text) - len(row) + 1) if text[i : i + len(row)] == row]
    return start


def test_passes_differ_in_order_and_in_where_windows_begin(stream: TokenStream) -> None:
    first, second = one_pass(stream, 0, 0), one_pass(stream, 0, 1)
    assert first != second
    assert sorted(first) != sorted(second)
    assert one_pass(stream, 0, 0) == first
    assert one_pass(stream, 1, 0) != first


def test_the_order_is_numpy_s_permutation_of_the_windows(stream: TokenStream) -> None:
    # Four bytes a window in place of eight are shuffled alike: a run that was begun with eight goes
    # on with its rows.
    random = np.random.Generator(
        np.random.Philox(key=seed_for(3, "data", "documents"), counter=[0, 0, 0, 2])
    )
    windows = rows(stream).text.windows
    offset = int(random.integers(0, len(stream) - windows * CONTEXT))
    starts = [offset + int(place) * CONTEXT for place in random.permutation(windows)]
    text = stream[:].tolist()
    assert one_pass(stream, 3, 2) == [text[start : start + CONTEXT + 1] for start in starts]


@pytest.mark.parametrize("given", [0, 1, 7, 60])
def test_the_position_is_one_integer_that_restores_everything(
    stream: TokenStream, given: int
) -> None:
    straight = rows(stream)
    for _ in range(given):
        next(straight)
    resumed = rows(stream)
    resumed.load_state_dict(straight.state_dict())
    assert straight.state_dict() == {"position": 3 * given}
    for _ in range(40):
        a, b = next(straight), next(resumed)
        assert torch.equal(a.obs, b.obs)
        assert straight.figures == resumed.figures
    assert straight.figures["epoch"] == pytest.approx(3 * (given + 40) / straight.text.windows)


def test_everything_is_a_target_but_what_opens_a_document(stream: TokenStream) -> None:
    sampler = rows(stream)
    seen = 0
    for _ in range(30):
        batch = next(sampler)
        assert torch.equal(batch.chosen, batch.action != BYTES.begin)
        assert not batch.action[batch.chosen].eq(BYTES.begin).any()
        assert not (batch.terminated | batch.truncated | (batch.reward != 0)).any()
        seen += int((batch.action == BYTES.begin).sum())
    assert seen > 10
    end = torch.tensor([[BYTES.begin, 70, BYTES.end, BYTES.begin, 71]])
    # the end of a document is learned
    assert text_rows(end, BYTES.begin).chosen.tolist() == [[True, True, False, True]]


def test_text_shorter_than_a_row_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, [("train", Document("abcdef", "a"))], BYTES)  # 8 tokens with its ends
    short = TokenStream(tmp_path, "train")
    assert np.array_equal(short[0:2], [BYTES.begin, ord("a") + 6])
    with pytest.raises(UserError, match=r"8 tokens.*context \+ 2 = 10"):
        rows(short)
    assert len(next(DocumentRows(short, BYTES.begin, rows_per_step=1, context=6, seed=0))) == 1
