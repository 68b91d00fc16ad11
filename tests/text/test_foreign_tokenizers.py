"""A tokenizer.json of another program gives the library's ids, and no text spells a special one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from fledge.engine.structures import choice, regex
from fledge.engine.vocabulary import vocabulary_of
from fledge.errors import UserError
from fledge.text.documents import Document
from fledge.text.encoding import encode_documents
from fledge.text.tokenizer import ForeignTokenizer, Tokenizer, load_tokenizer
from tests.text.foreign_kinds import (
    CHATML,
    KINDS,
    LLAMA3,
    LOSSLESS,
    PROSE,
    SENTENCEPIECE,
    byte_level,
    llama_3,
    sentencepiece,
    wordpiece,
    write,
)

SPELLED = [*CHATML, *LLAMA3, *SENTENCEPIECE, "[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]
TEXTS_A_KIND = 2_600


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("kinds")
    return {name: write(place / str(i), make()) for i, (name, make) in enumerate(KINDS.items())}


@pytest.fixture
def folder(folders: dict[str, Path], kind: str) -> Path:
    return folders[kind]


@pytest.fixture
def library(folder: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture
def ours(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


def fuzz(count: int, seed: int = 0) -> list[str]:
    """Pieces of prose, and strings of every alphabet; none spells a special token."""
    rng = random.Random(seed)
    prose = "".join(dict.fromkeys(PROSE))
    alphabets = [
        [chr(code) for code in range(128)],
        [chr(code) for code in (*range(0x80, 0xD800), *range(0xE000, 0x10000))],
        [chr(code) for code in range(0x1F300, 0x1FB00)] + ["\u200d", "\ufe0f"],
        [chr(code) for code in range(0x10000, 0x110000)],
        [
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "\u00a0",
            "'s",
            "1",
            "é",
            "e\u0301",
            "▁",
            "a",
            "B",
            "<",
            ">",
        ],
        ["<think>", "</think>", "<|", "|>", "im_", "<0x0A>", "[", "]", "end", "s>"],
    ]
    texts = []
    while len(texts) < count:
        if rng.random() < 0.3:
            start = rng.randrange(len(prose))
            text = prose[start : start + rng.randrange(60)]
        else:
            text = "".join(rng.choices(rng.choice(alphabets), k=rng.randrange(14)))
        if not any(word in text for word in SPELLED):
            texts.append(text)
    return texts


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_are_the_library_s(library: tokenizers.Tokenizer, ours: Tokenizer) -> None:
    texts = fuzz(TEXTS_A_KIND)
    expected = library.encode_batch(texts, add_special_tokens=False)
    for text, ids, theirs in zip(texts, ours.encode_many(texts), expected, strict=True):
        assert ids.tolist() == theirs.ids, text
    assert ours.encode(texts[7]) == expected[7].ids


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_text_begins_with_is_what_transformers_puts_there(
    folder: Path, ours: Tokenizer
) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    closing = [3] if ours.kind == "WordPiece" else []
    texts = fuzz(200, 5)
    for text, expected in zip(texts, theirs(texts)["input_ids"], strict=True):
        assert [*ours.prefix, *ours.encode(text), *closing] == expected, text


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_spells_no_special_token(ours: Tokenizer) -> None:
    assert isinstance(ours, ForeignTokenizer)
    unknown = {
        ours.special_tokens[word] for word in ("<unk>", "[UNK]") if word in ours.special_tokens
    }
    rng = random.Random(1)
    words = [*SPELLED, *ours.special_tokens]
    texts = [
        "".join(rng.choices([*words, " ", "a", "\n", "<", "|>", "▁", "\U0010ffff"], k=6))
        for _ in range(1000)
    ]
    for text, ids in zip(texts, ours.encode_many(texts), strict=True):
        assert not (ours.special - unknown) & set(ids.tolist()), text


def test_a_vocabulary_whose_merges_spell_a_special_token_is_no_exception(tmp_path: Path) -> None:
    folder = write(tmp_path, sentencepiece("none"))
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.encode_special_tokens = True
    assert library.encode("<s>", add_special_tokens=False).ids == [1]  # which is what must not be
    ours = load_tokenizer(folder)
    assert 1 not in ours.encode("<s>")
    assert ours.decode(ours.encode("a<s>b")) == "a<s>b"


@pytest.mark.parametrize("kind", LOSSLESS)
def test_the_bytes_of_the_tokens_are_those_of_the_text(ours: Tokenizer, kind: str) -> None:
    words = ours.vocabulary
    typed = [text for text in fuzz(TEXTS_A_KIND, 2) if "<0x" not in text]
    if "sentencepiece" in kind:  # their sign for a space is no character of its own
        typed = [text.replace("▁", "_") for text in typed]
    if kind == "sentencepiece, first":  # a space of one's own stands for the one before the text
        typed = [text.lstrip(" ") for text in typed]
    for text, ids in zip(typed, ours.encode_many(typed), strict=True):
        assert ours.decode(ids) == text
        lead = ours.decode_bytes(ids).removesuffix(text.encode())
        assert lead in (b"", b" ")
        assert ours.bytes_per_token(ids).sum() == len(text.encode())
        assert [len(words[i]) for i in ids] == [len(ours.decode_bytes([i])) for i in ids]


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_is_the_library_s(library: tokenizers.Tokenizer, ours: Tokenizer) -> None:
    rng = random.Random(3)
    for text in fuzz(300, 4):
        ids = library.encode(text).ids
        if b"\xef\xbf\xbd" not in ours.decode(ids).encode():
            assert ours.decode(ids) == library.decode(ids)
    ids = rng.choices(range(ours.vocab_size), k=200)
    assert ours.decode_bytes(ids) == b"".join(ours.decode_bytes([i]) for i in ids)


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece"])
def test_a_space_before_every_text_is_not_counted_also_after_an_opening(
    ours: Tokenizer, kind: str
) -> None:
    one, other = ours.encode("the fox"), ours.encode("a dog")
    row = np.array([[*ours.prefix, *one, *ours.prefix, *other]])
    assert ours.bytes_per_token(row).sum() == len("the fox") + len("a dog")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_what_was_read(folder: Path, ours: Tokenizer, tmp_path: Path) -> None:
    (folder / "special_tokens_map.json").write_text('{"bos_token":   "<s>"}')
    (folder / "chat_template.jinja").write_text("{# ü #}{{ messages[0].content }}")
    loaded = load_tokenizer(folder)
    loaded.save(tmp_path / "again")
    for file in (tmp_path / "again").iterdir():
        assert file.read_bytes() == (folder / file.name).read_bytes()
    assert len(list((tmp_path / "again").iterdir())) == 4
    assert load_tokenizer(tmp_path / "again").fingerprint() == ours.fingerprint()


def test_what_was_last_done_with_the_file_is_not_done_again(tmp_path: Path) -> None:
    made = byte_level()
    text = "The quick brown fox jumps"
    ids = made.encode(text).ids
    made.enable_truncation(3)
    made.enable_padding(length=9)
    ours = load_tokenizer(write(tmp_path, made))
    assert ours.encode(text) == ids
    assert [each.tolist() for each in ours.encode_many([text, "a"])] == [
        ids,
        made.encode("a").ids[:1],
    ]


def test_what_opens_closes_and_fills_is_what_the_files_say(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "llama", llama_3(), bos_token="<|begin_of_text|>",
        eos_token={"content": "<|end_of_text|>", "special": True},
    )  # fmt: skip
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    begin, end, turn = (library.token_to_id(LLAMA3[i]) for i in (0, 1, 4))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": end, "pad_token_id": 3}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, turn]}))
    ours = load_tokenizer(folder)
    assert (ours.prefix, ours.begin, ours.end, ours.pad) == ((begin,), begin, end, 3)
    assert ours.ends == {end, turn}
    assert (ours.opening, ours.closing, ours.border) == ((begin,), (end,), None)
    assert ours.config_ids() == {
        "bos_token_id": begin, "eos_token_id": [end, turn], "pad_token_id": 3,
    }  # fmt: skip
    gpt = load_tokenizer(
        write(tmp_path / "gpt", byte_level(), bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    )
    assert (gpt.prefix, gpt.begin, gpt.end, gpt.pad) == ((), None, 0, None)
    assert (gpt.opening, gpt.closing) == ((0,), ())
    assert gpt.config_ids() == {"bos_token_id": 0, "eos_token_id": 0}
    bert = load_tokenizer(write(tmp_path / "bert", wordpiece(), pad_token="[PAD]"))
    assert (bert.prefix, bert.begin, bert.end, bert.pad) == ((2,), 2, 3, 0)


def test_documents_are_told_apart_where_one_token_ends_and_begins_them(tmp_path: Path) -> None:
    gpt = load_tokenizer(write(tmp_path, byte_level(), eos_token="<|endoftext|>"))
    texts = ["The fox", "", "a dog <|endoftext|>"]
    found = list(encode_documents([(None, Document(text, "")) for text in texts], gpt))
    expected = [token for text in texts for token in [0, *gpt.encode(text)]]
    assert np.concatenate([ids for _, ids, _ in found]).tolist() == expected
    assert expected.count(0) == 3


def test_a_tokenizer_with_neither_beginning_nor_end_cannot_tell_documents_apart(
    tmp_path: Path,
) -> None:
    bare = load_tokenizer(write(tmp_path, byte_level()))
    assert bare.end is None
    with pytest.raises(UserError, match="eos_token"):
        bare.opening  # noqa: B018


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece, no space", "unigram"])
def test_constrained_decoding_works_on_its_tokens(ours: Tokenizer) -> None:
    stop = (
        frozenset({ours.special_tokens.get("</s>", 2)})
        if isinstance(ours, ForeignTokenizer)
        else frozenset()
    )
    vocabulary = vocabulary_of(ours)
    for constraint in (
        regex("(dog|fox)( [a-z]{2,5})?", vocabulary, stop),
        choice(["dog", "the dog"], vocabulary, stop),
    ):
        rng, matcher, said = random.Random(0), constraint.start(), b""
        for _ in range(30):
            allowed = matcher.allowed().nonzero().flatten().tolist()
            token = rng.choice(allowed or [None])
            if token is None or token in stop:
                break
            said += ours.vocabulary[token]
            matcher.take(token)
        assert matcher.accepts()
        assert said.decode().split()[0] in ("dog", "fox", "the")


def test_ids_without_a_token_are_never_said_and_an_embedding_may_have_more_rows(
    tmp_path: Path,
) -> None:
    ours = load_tokenizer(write(tmp_path, llama_3()))
    assert ours.sayable.all()
    assert ours.fits(ours.vocab_size)
    assert ours.fits(ours.vocab_size + 37)
    assert ours.fits(ours.vocab_size - 2)  # but for two special tokens, which no text has
    assert not ours.fits(500)


@pytest.mark.parametrize("kind", ["byte-level"])
def test_a_broken_file_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    whole = json.loads((folder / "tokenizer.json").read_text())
    moved = json.loads(json.dumps(whole))
    moved["added_tokens"][1]["id"] = 700
    for broken in (
        {}, {"model": {}}, {"model": {"vocab": 3}}, {**whole, "decoder": {"kind": 1}}, moved,
        {**whole, "model": {**whole["model"], "merges": [["a", "nothing"]]}},
        {**whole, "pre_tokenizer": {"type": "Unheard"}},
        {**whole, "model": {**whole["model"], "vocab": whole["model"]["vocab"] | {"a": 10**12}}},
        {**whole, "model": {**whole["model"], "vocab": whole["model"]["vocab"] | {"a": -1}}},
    ):  # fmt: skip
        write(tmp_path, byte_level())
        (tmp_path / "tokenizer.json").write_text(json.dumps(broken))
        with pytest.raises(
            UserError, match="is not a tokenizer that the tokenizers library"
        ) as said:
            load_tokenizer(tmp_path)
        assert "\n" not in str(said.value)


@pytest.mark.parametrize("kind", ["byte-level"])
def test_half_a_surrogate_pair_is_a_user_error(ours: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"U\+D83D"):
        ours.encode_many(["a", "ab\ud83d"])
