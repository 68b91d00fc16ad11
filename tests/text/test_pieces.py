"""A text that is cut into pieces has the tokens of the whole, wherever it was read and cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from fledge.text.bpe import word_pattern
from fledge.text.documents import CHUNK, Document
from fledge.text.encoding import encode_documents
from fledge.text.pieces import LONGEST_WORD, cut_at_words
from fledge.text.tokenizer import Tokenizer, train_tokenizer

SPLITTER = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
ODD = (
    "aZé文あア가٣½ⅷ_-'.\"、。！  "
    "\n\t\r\x0b\x1c\x1f\x85\xa0\u1680\u180e\u2003\u200b\u2028\u3000\ufeff\u0301😀stdmrevl019"
)
texts = st.text(alphabet=st.sampled_from(ODD), max_size=60) | st.text(max_size=40)
corpus = [
    "the theatre, 12 don't 'll they'll",
    "大きな文。が、12あ",
    "слово  слово\n\n\tслово é😀",
    ODD * 2,
]
BYTES = train_tokenizer("bytes", [])
BPE = train_tokenizer("bpe", corpus, 330)


def library_words(text: str) -> list[str]:
    return [text[start:stop] for _, (start, stop) in SPLITTER.pre_tokenize_str(text)]


def in_chunks(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(text=texts, size=st.integers(1, 6), chunk=st.integers(1, 9))
def test_no_piece_ends_within_a_word_of_the_library_or_of_ours(
    text: str, size: int, chunk: int
) -> None:
    pieces = list(cut_at_words(in_chunks(text, chunk), size))
    assert "".join(pieces) == text
    assert [word for piece in pieces for word in library_words(piece)] == library_words(text)
    assert [
        word for piece in pieces for word in word_pattern().findall(piece)
    ] == word_pattern().findall(text)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(text=texts, size=st.integers(1, 6), chunk=st.integers(1, 9), longest=st.integers(1, 8))
def test_pieces_do_not_depend_on_how_the_text_was_read_and_are_bounded(
    text: str, size: int, chunk: int, longest: int
) -> None:
    pieces = list(cut_at_words(in_chunks(text, chunk), size, longest))
    assert pieces == list(cut_at_words([text], size, longest))
    assert "".join(pieces) == text
    assert all(size <= len(piece) <= size + longest for piece in pieces[:-1])
    assert all(0 < len(piece) <= size + longest for piece in pieces[-1:])


@pytest.mark.parametrize(
    "text",
    [
        "The fox's 12 dogs.\n" * 300,
        '{"a":1,"b":[22,3]}' * 300,
        "漢字、かな。" * 900,
        "слово и\n" * 500,
    ],
)
def test_text_of_any_script_is_cut_often(text: str) -> None:
    assert max(map(len, cut_at_words([text], 64))) < 64 + 10


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    documents=st.lists(texts, min_size=1, max_size=4),
    chunk=st.integers(1, 7),
    size=st.integers(1, 5),
    batch=st.integers(1, 30),
)
@pytest.mark.parametrize("kind", ["bytes", "characters", "bpe"])
def test_documents_in_pieces_and_batches_have_the_tokens_of_whole_ones(
    kind: str, documents: list[str], chunk: int, size: int, batch: int
) -> None:
    characters = train_tokenizer("characters", documents)
    tokenizer: Tokenizer = {"bytes": BYTES, "bpe": BPE, "characters": characters}[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fledge.text.documents.CHUNK", chunk)
        patch.setattr("fledge.text.own_tokenizers._PIECE", size)
        patch.setattr("fledge.text.encoding.BATCH", batch)
        keyed = [(number % 2, Document(text, "")) for number, text in enumerate(documents)]
        encoded = list(encode_documents(keyed, tokenizer))
    for key in (0, 1):
        mine = documents[key::2]
        ids = [number for k, part, _ in encoded if k == key for number in part.tolist()]
        assert ids == [number for text in mine for number in (1, *whole(tokenizer, text), 2)]
        assert sum(length for k, _, length in encoded if k == key) == sum(
            len(text.encode()) for text in mine
        )


def whole(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids by the definition of each kind: of the library's encoder for bpe, told of no special
    token.
    """
    if tokenizer.kind == "bytes":
        return [byte + 6 for byte in text.encode()]
    if tokenizer.kind == "bpe":
        return BPE._encoder.encode(text).ids  # pyright: ignore[reportAttributeAccessIssue]
    return [tokenizer.vocabulary.index(character.encode()) for character in text]


def test_a_word_without_an_end_is_cut_after_its_longest_length() -> None:
    text = "ab" * LONGEST_WORD
    pieces = list(cut_at_words([text], 100))
    assert [len(piece) for piece in pieces] == [LONGEST_WORD + 100, LONGEST_WORD - 100]
    assert BPE.decode(BPE.encode(text)) == text


def test_a_document_is_handled_in_chunks_of_bounded_length() -> None:
    text = "a" * (2 * CHUNK + 5)
    assert [len(chunk) for chunk in Document(text, "").chunks()] == [CHUNK, CHUNK, 5]
