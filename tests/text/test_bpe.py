"""The merges are the right ones in the right order, checked by counting everything anew at each
step.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from fledge.text.bpe import (
    count_words,
    learn_merges,
    printable_bytes,
    spell,
    trace_word,
    unspell,
    word_pattern,
)
from fledge.text.tokenizer import SPECIAL, from_merges, train_tokenizer

SPLITTER = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def library_words(text: str) -> list[str]:
    """The words of the text as the `tokenizers` library cuts it; it tells them by their offsets in
    the text.
    """
    return [text[start:stop] for _, (start, stop) in SPLITTER.pre_tokenize_str(text)]


def merges_by_recounting(texts: list[str], count: int) -> list[tuple[bytes, bytes]]:
    """The definition, slowly: count all pairs, join the most frequent one (the greatest of them),
    begin again.
    """
    words = [[bytes((b,)) for b in word.encode()] for text in texts for word in library_words(text)]
    merges = []
    while len({left + right for left, right in merges}) < count:
        pairs = Counter((word[i], word[i + 1]) for word in words for i in range(len(word) - 1))
        if not pairs:
            break
        most = max(pairs.values())
        best = max(pair for pair, times in pairs.items() if times == most)
        merges.append(best)
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [word[i] + word[i + 1]]
                i += 1
    return merges


@pytest.mark.parametrize(
    "texts", [["the car", "the cat", "the rat"], ["the car, the cat, the rat"]]
)
def test_first_merges_of_the_car_the_cat_the_rat(texts: list[str]) -> None:
    merges = learn_merges(count_words(texts), 3)
    assert merges == [(b"t", b"h"), (b"th", b"e"), (b"c", b"a")]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.text(alphabet="ab é\n'sの😀1", max_size=40), max_size=6), st.integers(0, 30))
def test_merges_are_those_of_counting_anew_at_each_step(texts: list[str], count: int) -> None:
    assert learn_merges(count_words(texts), count) == merges_by_recounting(texts, count)


def test_merges_of_english_are_those_of_counting_anew(
    data_rows: Callable[[str], list[dict]],
) -> None:
    text = data_rows("tokenizer/bpe-fixture-texts.jsonl.gz")[0]["text"][:20_000]
    assert learn_merges(count_words([text]), 120) == merges_by_recounting([text], 120)


def test_merges_are_the_published_reference(
    data_rows: Callable[[str], list[dict]], data_file: Callable[[str], bytes]
) -> None:
    reference = data_file("tokenizer/bpe-reference-merges.txt").decode("utf-8")
    expected = [tuple(map(unspell, line.split(" "))) for line in reference.split("\n") if line]
    text = next(
        row["text"]
        for row in data_rows("tokenizer/bpe-fixture-texts.jsonl.gz")
        if row["name"] == "corpus.en"
    )
    assert learn_merges(count_words(text.split("<|endoftext|>")), len(expected)) == expected


def test_order_of_texts_does_not_matter() -> None:
    texts = ["low lower lowest", "new newer newest", "wide wider widest"] * 3
    assert learn_merges(count_words(texts), 40) == learn_merges(count_words(reversed(texts)), 40)


def test_words_are_counted_exactly_up_to_the_limit_and_beyond_it_the_rarest_are_forgotten() -> None:
    names = [f"x{chr(97 + number // 10)}{chr(97 + number % 10)}" for number in range(100)]
    texts = ["a b c", *names, *["a b c"] * 3]
    exact = count_words(texts, most=1000)
    assert (exact.forgotten, len(exact), exact[" b"], exact["a"]) == (0, 103, 4, 4)
    assert count_words(texts, most=103) == exact
    few = count_words(texts, most=10)
    assert few.forgotten > 0
    assert len(few) <= 10
    assert {word: few[word] for word in ("a", " b", " c")} == {"a": 4, " b": 4, " c": 4}
    assert all(exact[word] >= times for word, times in few.items())


def test_of_equally_rare_words_the_first_are_kept() -> None:
    assert list(count_words([f"x{chr(97 + number)}" for number in range(9)], most=8)) == [
        "xa",
        "xb",
        "xc",
        "xd",
    ]


def test_no_merge_crosses_from_one_text_to_the_next() -> None:
    assert learn_merges(count_words(["a", "b"] * 100), 10) == []


def test_overlapping_pairs_are_joined_from_the_left() -> None:
    steps = trace_word(b"aaaaa", {(b"a", b"a"): 0})
    assert steps == [((b"a", b"a"), [b"aa", b"aa", b"a"])]


def test_trace_ends_in_the_split_of_the_library() -> None:
    texts = ["the theatre there, then the cathedral", "other mothers bathe"]
    tokenizer = train_tokenizer("bpe", texts, 300)
    ranks = {merge: rank for rank, merge in enumerate(tokenizer.merges)}
    for word in (b" cathedral", b" mother", b" thethe"):
        pieces = [tokenizer.decode_bytes([number]) for number in tokenizer.encode(word.decode())]
        assert trace_word(word, ranks)[-1][1] == pieces


def test_words_are_cut_as_the_library_cuts_them(data_rows: Callable[[str], list[dict]]) -> None:
    for row in data_rows("text/udhr-multilingual.jsonl.gz"):
        text = row["text"][:3000]
        assert word_pattern().findall(text) == library_words(text), row["lang"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.text(
        alphabet=st.sampled_from(
            "aZé文٣½ⅷ_-'  \n\t\r\x0b\x1c\x1f\x85\xa0\u2003\u3000\u200b́😀stdmrevl"
        ),
        max_size=30,
    )
)
def test_words_are_cut_as_the_library_cuts_them_at_odd_characters(text: str) -> None:
    assert word_pattern().findall(text) == library_words(text)


def test_printable_alphabet_is_the_library_s() -> None:
    assert set(printable_bytes()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert unspell(spell(bytes(range(256)))) == bytes(range(256))
    assert spell("é \n".encode()) == "Ã©ĠĊ"  # as GPT-2's vocabulary file spells them


def test_merges_that_spell_a_special_token_are_refused() -> None:
    pieces = [bytes((byte,)) for byte in SPECIAL[2].encode()]
    merges = [(b"".join(pieces[:i]), pieces[i]) for i in range(1, len(pieces))]
    with pytest.raises(ValueError, match="forge"):
        from_merges(merges)


def test_merges_before_their_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="comes before"):
        from_merges([(b"th", b"e"), (b"t", b"h")])


def gpt2_ids(text: str, ranks: dict[tuple[bytes, bytes], int], ids: dict[str, int]) -> list[int]:
    """GPT-2's encoder by its definition: in each word, again and again join the pair of the lowest
    rank.
    """
    result = []
    for word in library_words(text):
        pieces = [bytes((b,)) for b in word.encode()]
        while True:
            places = [
                (ranks.get((pieces[i], pieces[i + 1]), 1 << 30), i) for i in range(len(pieces) - 1)
            ]
            rank, i = min(places, default=(1 << 30, 0))
            if rank == 1 << 30:
                break
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
        result += [ids["".join(printable_bytes()[b] for b in piece)] for piece in pieces]
    return result


def test_gpt2_s_published_merges_encode_as_gpt2_does(
    data_file: Callable[[str], bytes], data_rows: Callable[[str], list[dict]]
) -> None:
    lines = data_file("tokenizer/gpt2-vocab.bpe.gz").decode("utf-8").split("\n")[1:]
    merges = [tuple(map(unspell, line.split(" "))) for line in lines if line]
    published = json.loads(data_file("tokenizer/gpt2-encoder.json.gz"))
    tokenizer = from_merges([(left, right) for left, right in merges])
    ranks = {(left, right): rank for rank, (left, right) in enumerate(merges)}

    def ours(text: str) -> list[int]:
        return [
            published[spell(tokenizer.decode_bytes([number]))] for number in tokenizer.encode(text)
        ]

    assert ours("Hello, world!") == [15496, 11, 995, 0]  # known from OpenAI's own encoder
    texts = [row["text"][:400] for row in data_rows("text/udhr-multilingual.jsonl.gz")]
    texts += [row["text"][:4000] for row in data_rows("tokenizer/bpe-fixture-texts.jsonl.gz")]
    texts += [
        "I'm  they'll\n\n  indented\t😀👩‍👩‍👧 0123456789",
        "   ",
        "\x00\x1f\x7f",
        "it's IT'S don't",
    ]
    for text in texts:
        assert ours(text) == gpt2_ids(text, ranks, published)


def test_gpt2_s_published_merges_encode_as_tiktoken_does(
    data_file: Callable[[str], bytes], data_rows: Callable[[str], list[dict]]
) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    published = json.loads(data_file("tokenizer/gpt2-encoder.json.gz"))
    published.pop("<|endoftext|>")
    oracle = tiktoken.Encoding(
        "gpt2",
        pat_str=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        mergeable_ranks={unspell(token): number for token, number in published.items()},
        special_tokens={},
    )
    lines = data_file("tokenizer/gpt2-vocab.bpe.gz").decode("utf-8").split("\n")[1:]
    tokenizer = from_merges(
        [(unspell(line.split(" ")[0]), unspell(line.split(" ")[1])) for line in lines if line]
    )
    for row in data_rows("text/udhr-multilingual.jsonl.gz"):
        pieces = [
            tokenizer.decode_bytes([number]) for number in tokenizer.encode(row["text"][:2000])
        ]
        assert pieces == [
            oracle.decode_single_token_bytes(n) for n in oracle.encode_ordinary(row["text"][:2000])
        ]
