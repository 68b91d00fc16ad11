"""Whatever the text, decoding gives it back and no special token comes out of it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.errors import UserError
from fledge.text.tokenizer import (
    KINDS,
    SPECIAL,
    OwnTokenizer,
    Tokenizer,
    TokenizerKind,
    load_tokenizer,
    train_tokenizer,
)

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog's 42 friends jump too.\n" * 3,
    (
        "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. "
        "いろはにほへと 😀👩‍👩‍👧\r\n\t"
    ),
    "".join(SPECIAL) * 20,
]
BYTES = train_tokenizer("bytes", TEXTS)
BPE = train_tokenizer("bpe", TEXTS, 400)
CHARACTERS = train_tokenizer("characters", TEXTS)

fragments = st.sampled_from([*SPECIAL, "<|", "end", "|>", " ", "\n", "😀", "the", "\x00"])
any_text = st.text(max_size=60) | st.lists(fragments).map("".join)


@pytest.mark.parametrize("tokenizer", [BYTES, BPE])
@settings(max_examples=400, deadline=None, derandomize=True)
@given(text=any_text)
def test_decoding_gives_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert min(ids, default=6) >= 6


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text(alphabet=sorted(set("".join(TEXTS))), max_size=60))
def test_decoding_gives_the_text_back_in_characters(text: str) -> None:
    ids = CHARACTERS.encode(text)
    assert CHARACTERS.decode(ids) == text
    assert len(ids) == len(text)
    assert min(ids, default=6) >= 6


@pytest.mark.parametrize("tokenizer", [BYTES, BPE])
def test_decoding_gives_a_hundred_thousand_random_strings_back(tokenizer: Tokenizer) -> None:
    rng = random.Random(0)
    alphabets = [
        [chr(code) for code in range(128)],
        [chr(code) for code in (*range(0x80, 0xD800), *range(0xE000, 0x10000))],
        [chr(code) for code in range(0x1F300, 0x1FB00)] + ["\u200d", "\ufe0f"],
        [chr(code) for code in range(0x10000, 0x110000)],
        ["<|end|>", "<|", "|>", "user", " ", "\n", "'s", "1"],
    ]
    texts = [
        "".join(rng.choices(rng.choice(alphabets), k=rng.randrange(12))) for _ in range(100_000)
    ]
    for text, ids in zip(texts, tokenizer.encode_many(texts), strict=True):
        assert tokenizer.decode(ids) == text
        assert not len(ids) or ids.min() >= 6


def test_every_language_comes_back(data_rows: Callable[[str], list[dict]]) -> None:
    texts = [row["text"] for row in data_rows("text/udhr-multilingual.jsonl.gz")]
    tokenizer = train_tokenizer("bpe", texts[::8], 2000)
    assert tokenizer.vocab_size == 2000
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_many(texts)] == texts


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHARACTERS])
def test_a_typed_special_token_is_ordinary_text_also_after_saving(
    tokenizer: Tokenizer, special: str, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path)
    for each in (tokenizer, load_tokenizer(tmp_path)):
        ids = each.encode(f"a {special}{special}\n")
        assert min(ids) >= len(SPECIAL)
        assert each.decode(ids) == f"a {special}{special}\n"


@pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHARACTERS])
def test_special_tokens_are_the_first_six_ids_and_decode_to_nothing(
    tokenizer: OwnTokenizer,
) -> None:
    numbers = [
        tokenizer.pad,
        tokenizer.begin,
        tokenizer.end,
        tokenizer.system,
        tokenizer.user,
        tokenizer.assistant,
    ]
    assert numbers == [0, 1, 2, 3, 4, 5]
    assert tokenizer.decode([1, *tokenizer.encode("fox"), 2, 0, 0]) == "fox"
    assert tokenizer.bytes_per_token(numbers).tolist() == [0] * 6


@pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHARACTERS])
def test_loaded_is_what_was_saved(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "model")
    loaded = load_tokenizer(tmp_path)  # a run: the tokenizer is in its model/ folder
    assert (loaded.kind, loaded.vocab_size, loaded.merges) == (
        tokenizer.kind,
        tokenizer.vocab_size,
        tokenizer.merges,
    )
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert loaded.encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])
    loaded.save(tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


@pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHARACTERS])
def test_the_file_means_the_same_to_the_library(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.get_vocab_size() == tokenizer.vocab_size
    text = TEXTS[0] + TEXTS[1]
    assert library.encode(text).ids == tokenizer.encode(text)
    assert library.decode(tokenizer.encode(text)) == text
    assert library.encode("<|begin|>fox<|end|>").ids == [1, *tokenizer.encode("fox"), 2]


SCRIPT = """
import sys
from fledge.text.tokenizer import train_tokenizer
texts = ["to be or not to be", "that is the question: 😀", "to sleep, perchance to dream"]
for kind in ("bytes", "characters", "bpe"):
    print(train_tokenizer(kind, texts, 290 if kind == "bpe" else None).fingerprint())
"""


def test_equal_text_gives_equal_files_in_every_process() -> None:
    outputs = []
    for seed in ("0", "1", "77"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-c", SCRIPT]
        outputs.append(
            subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            ).stdout
        )
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(set(outputs[0].split())) == 3


def test_vocabulary_counts_special_tokens_bytes_and_merges() -> None:
    assert BYTES.vocab_size == 6 + 256
    assert BPE.vocab_size == 400
    assert CHARACTERS.vocab_size == 6 + len(set("".join(TEXTS)))
    # aa and aaaa: then nothing is left to merge
    assert train_tokenizer("bpe", ["aaaa"], 5000).vocab_size == 262 + 2


def test_bytes_are_numbered_by_their_value() -> None:
    assert BYTES.encode("A😀") == [6 + byte for byte in b"A\xf0\x9f\x98\x80"]


@pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHARACTERS])
def test_bytes_per_token_add_up_to_the_text(tokenizer: Tokenizer) -> None:
    ids = np.array(tokenizer.encode(TEXTS[1])).reshape(1, -1)
    assert tokenizer.bytes_per_token(ids).shape == ids.shape
    assert tokenizer.bytes_per_token(ids).sum() == len(TEXTS[1].encode())


def test_half_a_character_decodes_to_the_replacement_sign() -> None:
    ids = BYTES.encode("é😀")
    assert BYTES.decode(ids[:1]) == "\ufffd"
    assert BYTES.decode(ids[:4]) == "é\ufffd"
    assert BYTES.decode_bytes(ids[:3]) + BYTES.decode_bytes(ids[3:]) == "é😀".encode()


@pytest.mark.parametrize("wrong", [-1, 10_000])
@pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHARACTERS])
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"id {wrong} "):
        tokenizer.decode([6, wrong])
    with pytest.raises(ValueError, match=f"id {wrong} "):
        tokenizer.bytes_per_token(np.array([[6, wrong]]))


def test_an_unknown_character_is_named_with_what_stands_around_it() -> None:
    with pytest.raises(UserError, match=r"character 'И' \(U\+0418\) of 'the И'"):
        CHARACTERS.encode("the И")


@pytest.mark.parametrize("tokenizer", [BYTES, BPE])
def test_half_a_surrogate_pair_is_a_user_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"U\+D83D\) at position 2"):
        tokenizer.encode("ab\ud83d")


def test_a_long_text_cut_for_speed_encodes_as_the_library_does_uncut(tmp_path: Path) -> None:
    lines = ["The fox 12", "\n\n  jumps'll", "\r\n over\u2003", "\n\tthe dog.", "\nend"] * 30_000
    text = "".join(lines)
    BPE.save(tmp_path)
    uncut = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    uncut.encode_special_tokens = True
    assert BPE.encode(text) == uncut.encode(text).ids


def test_a_long_text_without_lines_encodes_whole() -> None:
    text = "ab" * 100_000
    assert BPE.decode(BPE.encode(text)) == text


def test_encode_many_is_encode_for_each() -> None:
    texts = ["", "fox", TEXTS[1], ""]
    for tokenizer in (BYTES, BPE, CHARACTERS):
        assert [ids.tolist() for ids in tokenizer.encode_many(texts)] == [
            tokenizer.encode(text) for text in texts
        ]
        assert tokenizer.encode_many([]) == []


@pytest.mark.parametrize(("kind", "size"), [("bpe", 261), ("bytes", 500), ("characters", 3)])
def test_a_size_that_cannot_be_is_a_user_error(kind: TokenizerKind, size: int) -> None:
    with pytest.raises(UserError, match=f"vocab_size={size}"):
        train_tokenizer(kind, TEXTS, size)


def test_an_unknown_kind_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="words"):
        train_tokenizer("words", TEXTS)  # pyright: ignore[reportArgumentType]


def test_a_folder_without_a_tokenizer_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_file_of_an_unknown_kind_or_without_its_config_is_a_user_error(tmp_path: Path) -> None:
    BPE.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"fledge_kind": "words"}')
    with pytest.raises(UserError, match="none of bytes, characters, bpe"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer_config\.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHARACTERS])
def test_a_broken_file_is_a_user_error(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = path.read_bytes()
    swapped = json.loads(whole)
    vocab = swapped["model"]["vocab"]
    vocab["<|end|>"], vocab["<|user|>"] = vocab["<|user|>"], vocab["<|end|>"]
    for broken in (
        whole[:-9],
        whole[: len(whole) // 2],
        b"\xff" + whole,
        b"[]",
        b"{}",
        json.dumps(swapped).encode(),
    ):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"json is (broken|not)"):
            load_tokenizer(tmp_path)


def test_a_file_under_the_wrong_kind_is_a_user_error(tmp_path: Path) -> None:
    for tokenizer in (BYTES, BPE, CHARACTERS):
        for kind in KINDS:
            tokenizer.save(tmp_path)
            config = json.loads((tmp_path / "tokenizer_config.json").read_text())
            (tmp_path / "tokenizer_config.json").write_text(
                json.dumps({**config, "fledge_kind": kind})
            )
            # bytes are a BPE without merges
            if kind == tokenizer.kind or (tokenizer.kind, kind) == (
                "bytes",
                "bpe",
            ):
                assert load_tokenizer(tmp_path).encode("fox") == tokenizer.encode("fox")
            else:
                with pytest.raises(UserError, match=r"json is (broken|not)"):
                    load_tokenizer(tmp_path)
