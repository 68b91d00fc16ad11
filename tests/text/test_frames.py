"""What stands around one text and two is what `transformers` puts there, with the same types; and a
tokenizer that fledge makes for an encoder is one that `transformers` reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from fledge.text.encoder_tokenizer import MASK, make_encoder_tokenizer
from fledge.text.frames import cut_texts, read_frame
from fledge.text.tokenizer import load_tokenizer, train_tokenizer

transformers: Any = pytest.importorskip("transformers")
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "a", "b", "c", "d"]
TEMPLATE = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
)  # fmt: skip
PROCESSORS = {
    "bert": processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1)),
    "roberta": processors.RobertaProcessing(("[SEP]", 2), ("[CLS]", 1)),
    "template": TEMPLATE,
    "sequence": processors.Sequence([processors.ByteLevel(), TEMPLATE]),
}


def read_theirs(folder: Path, *texts: str) -> tuple[list[int], list[int]]:
    """By the library, from the files as they were saved."""
    library: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoded = library.encode(*texts)
    return encoded.ids, encoded.type_ids


@pytest.mark.parametrize("kind", PROCESSORS)
def test_one_text_and_two_are_framed_as_the_library_does(kind: str, tmp_path: Path) -> None:
    words = {word: i for i, word in enumerate(WORDS)}
    made: Any = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(WORDS[:5])
    made.post_processor = PROCESSORS[kind]
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        mask_token="[MASK]", unk_token="[UNK]",
    ).save_pretrained(tmp_path)  # fmt: skip
    tokenizer = load_tokenizer(tmp_path)
    frame = read_frame(tokenizer)
    assert (frame.mask, frame.pad) == (3, 0)
    first, second = tokenizer.encode("a b c"), tokenizer.encode("d a")
    assert frame.frame(first) == read_theirs(tmp_path, "a b c")
    assert frame.frame(first, second) == read_theirs(tmp_path, "a b c", "d a")


def test_a_tokenizer_made_for_an_encoder_is_read_by_others(tmp_path: Path) -> None:
    own = train_tokenizer("bpe", ["the cat sat here"] * 5, 280)
    made = make_encoder_tokenizer(own)
    made.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    said = theirs(f"the cat {theirs.mask_token}here", "it's <|end|>")
    assert theirs.mask_token == MASK
    frame = read_frame(load_tokenizer(tmp_path))
    first = [*made.encode("the cat "), own.vocab_size, *made.encode("here")]
    # what a user types is text to fledge, and a special token to others
    assert frame.frame(first, made.encode("it's "))[0] == [*said["input_ids"][:-2], own.end]
    assert made.encode("the <|mask|>") == own.encode("the <|mask|>")
    assert load_tokenizer(tmp_path).fingerprint() == made.fingerprint()


@pytest.mark.parametrize(
    ("lengths", "room", "left"),
    [((3, 4), 9, (3, 4)), ((3, 4), 5, (3, 2)), ((5, 2), 5, (3, 2)), ((6, 6), 5, (3, 2)),
     ((1, 9), 4, (1, 3)), ((9, 1), 4, (3, 1)), ((4, 4), 0, (0, 0))],
)  # fmt: skip
def test_of_two_texts_the_longer_one_is_cut(
    lengths: tuple[int, int], room: int, left: tuple[int, int]
) -> None:
    one, two = cut_texts(list(range(lengths[0])), list(range(lengths[1])), room)
    assert two is not None
    assert len(one) + len(two) == min(sum(lengths), room)
    assert sorted((len(one), len(two))) == sorted(left)
    assert one == list(range(len(one)))
