"""Encodes a stream of documents in batches of bounded size, whatever the length of a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from fledge.text.documents import AnyDocument
from fledge.text.tokenizer import Tokenizer

BATCH = 1 << 18
"""Characters encoded at a time: enough to keep all cores busy. The BPE encoder takes 100 bytes and
more for each.
"""

Key = TypeVar("Key")


class _Piece(NamedTuple):
    text: str
    opens: bool
    closes: bool


def encode_documents(
    documents: Iterable[tuple[Key, AnyDocument]], tokenizer: Tokenizer
) -> Iterator[tuple[Key, np.ndarray, int]]:
    """(key, int64 ids, UTF-8 bytes of their text) for what is in a batch of each key.

    The ids of a key, joined, are its documents in order, each as what opens it, its tokens and what
    closes it (<|begin|> and <|end|> of our own tokenizers). A document may go on in the next batch;
    what opens one stands nowhere else, for text cannot spell it. Raises UserError for a text that
    has no ids here.
    """
    batch: dict[Key, list[_Piece]] = {}
    size = 0
    for key, document in documents:
        for piece in _pieces(document, tokenizer):
            batch.setdefault(key, []).append(piece)
            size += len(piece.text)
            if size >= BATCH:
                yield from _encode(batch, tokenizer)
                batch, size = {}, 0
    yield from _encode(batch, tokenizer)


def _pieces(document: AnyDocument, tokenizer: Tokenizer) -> Iterator[_Piece]:
    texts = tokenizer.cut(document.chunks())
    text, opens = next(texts, ""), True
    while text is not None:
        following = next(texts, None)
        yield _Piece(text, opens, following is None)
        text, opens = following, False


def _encode(
    batch: dict[Key, list[_Piece]], tokenizer: Tokenizer
) -> Iterator[tuple[Key, np.ndarray, int]]:
    encoded = iter(
        tokenizer.encode_many([piece.text for pieces in batch.values() for piece in pieces])
    )
    begin = np.array(tokenizer.opening, dtype=np.int64)
    end = np.array(tokenizer.closing, dtype=np.int64)
    for key, pieces in batch.items():
        rows: list[np.ndarray] = []
        for piece in pieces:
            rows += [begin] if piece.opens else []
            rows.append(next(encoded))
            rows += [end] if piece.closes else []
        yield key, np.concatenate(rows), sum(_utf8_length(piece.text) for piece in pieces)


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))
