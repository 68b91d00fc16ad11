"""Words and the tokens that they are cut into: ids and places as `transformers` has them for words
that were split already.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fledge.rows.census import Census, Reading, Truncate, Unusable
from fledge.rows.labels import LabelledText, TaggedWords
from fledge.sample.label_examples import ExampleMaker, name_words
from fledge.sample.sentences import UNLABELLED
from tests.encoder_folder import make_tokenizer

SENTENCES = [
    ["The", "quick", "brown", "fox", "jumps", "over", "it", "!"],
    ["Quixotic", "Zwölf", "déjà-vu", ",", "x", "3.14159"],
    ["a"],
]


def make(tokenizer: Any, context: int = 99, truncate: Truncate = "no") -> ExampleMaker:
    return ExampleMaker(tokenizer, ["A", "B"], context, Census("rows", Reading(truncate=truncate)))


@pytest.mark.parametrize("words", SENTENCES)
def test_ids_and_first_tokens_are_those_of_transformers(words: list[str], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = make_tokenizer(tmp_path / "own")
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "own")
    read = theirs(words, is_split_into_words=True)
    tags = tuple("AB"[n % 2] for n in range(len(words)))
    example = make(tokenizer).make(TaggedWords(tuple(words), tags))
    encoded, numbers = example.ids[:2]
    assert list(encoded.ids) == read["input_ids"]
    first = [read.word_ids().index(n) for n in range(len(words))]
    assert list(example.places) == first
    assert [numbers[place] for place in first] == [n % 2 for n in range(len(words))]
    assert numbers.count(UNLABELLED) == len(numbers) - len(words)
    pair = make(tokenizer).make(LabelledText((" ".join(words), "the dog"), "B"))
    said = theirs(" ".join(words), "the dog", return_token_type_ids=True)
    assert list(pair.ids[0].ids) == said["input_ids"]
    assert list(pair.ids[0].types) == said["token_type_ids"]


def test_a_long_sentence_is_cut_or_refused_and_what_is_cut_off_is_outside(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    row = TaggedWords(("the", "quick", "dog"), ("A", "B", "B"))
    whole = make(tokenizer).make(row)
    size = len(whole.ids[0].ids)
    right = make(tokenizer, size - 1, "right").make(row)
    left = make(tokenizer, size - 1, "left").make(row)
    assert right.ids[0].ids == (*whole.ids[0].ids[:-2], whole.ids[0].ids[-1])
    assert left.ids[0].ids == (whole.ids[0].ids[0], *whole.ids[0].ids[2:])
    assert right.places[-1] is None or right.places[-1] < size - 2
    assert left.places[0] is None
    assert left.places[2] == (whole.places[2] or 0) - 1
    said = name_words(left, [1] * size, ["O", "B"])
    assert said == ["O", "B", "B"]
    with pytest.raises(Unusable, match="longer than the context"):
        make(tokenizer, size - 1).make(row)


def test_a_pair_loses_the_end_of_its_longer_text_first(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    row = LabelledText(("one two three", "dog"), "A")
    ids = [tokenizer.encode(text) for text in row.texts]
    room = len(ids[1]) + 1  # and one token of the first text
    cut = make(tokenizer, room + 3, "right").make(row).ids[0]
    assert cut.ids[1:-1].count(3) == 1  # [SEP] between them
    assert cut.ids == (2, ids[0][0], 3, *ids[1], 3)
    assert make(tokenizer).make(LabelledText(("dog",), "C")).ids[1] == UNLABELLED
