"""The tokenizers that fledge trains: bytes, characters or byte-level BPE, in Hugging Face's file
format.

The first six ids of each are the special tokens. No text can forge them: the encoder never sees
them, so "<|end|>" typed by a user is seven ordinary characters, before and after saving.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from fledge.disk import sync
from fledge.errors import UserError
from fledge.rows.tools import Known, Tools
from fledge.text.bpe import MOST_WORDS, Merge, count_words, learn_merges, unspell
from fledge.text.interface import Tokenizer, check_utf8
from fledge.text.objectives import SENTINEL
from fledge.text.own_chat import CHAT_TEMPLATE, render_own
from fledge.text.pieces import cut_at_words
from fledge.text.tokenizer_file import (
    SPECIAL,
    add_special,
    bpe_encoder,
    bpe_file,
    bpe_vocabulary,
    characters_file,
    read_added,
    read_characters,
    read_merges,
)

TokenizerKind = Literal["bytes", "characters", "bpe"]
KINDS: tuple[TokenizerKind, ...] = get_args(TokenizerKind)

BYTE_VOCABULARY = len(SPECIAL) + 256
"""The special tokens and the 256 bytes: the vocabulary of the bytes kind, and the least one of the
bpe kind.
"""

DEFAULT_BPE_VOCABULARY = 4096

# Characters after which a long text is cut before it goes to the BPE encoder, which works on a list
# of texts with all cores: 8.7 MB of novels at 7 MB/s on two cores, and at 1.4 MB/s uncut. Pieces of
# 2^16 are no faster.
_PIECE = 1 << 13


_PADDED_TO = 64  # rows of an embedding that is filled up
_MOST_PADDING = 1024


class OwnTokenizer(Tokenizer):
    """What all three kinds share. Built from the text of a tokenizer.json only: what encodes is
    what was saved.
    """

    system, user, assistant = range(3, len(SPECIAL))
    prefix = (1,)

    def __init__(self, file: str, ordinary: Sequence[bytes]) -> None:
        """file: the text of tokenizer.json; ordinary: the bytes of each token that is not special,
        by id from 6 on.
        """
        self._file = file
        ids = [*range(len(SPECIAL))]
        added = read_added(file, len(SPECIAL) + len(ordinary))
        ids += range(len(SPECIAL) + len(ordinary), len(SPECIAL) + len(ordinary) + len(added))
        self._token = [b""] * len(SPECIAL) + list(ordinary) + [b""] * len(added)
        self.special_tokens = dict(zip([*SPECIAL, *added], ids, strict=True))
        self.special = frozenset(ids)

    def extend(self, names: Sequence[str]) -> OwnTokenizer:
        """The same with further special tokens behind all ids. Raises UserError for one that it
        has.
        """
        return from_file(add_special(self._file, names), cast(TokenizerKind, self.kind))

    @property
    def file(self) -> str:
        """The text of its tokenizer.json."""
        return self._file

    @property
    def pad(self) -> int:
        return 0

    @property
    def begin(self) -> int:
        return 1

    @property
    def end(self) -> int:
        return 2

    @property
    def ends(self) -> frozenset[int]:
        return frozenset({self.end})

    @property
    def border(self) -> int:
        return self.begin

    @property
    def vocabulary(self) -> list[bytes]:
        return self._token

    @property
    def sayable(self) -> np.ndarray:
        """Text, the end, and what stands for parts of a text; no other special token."""
        allowed = np.ones(self.vocab_size, dtype=bool)
        sentinels = {n for name, n in self.special_tokens.items() if name.startswith(SENTINEL)}
        allowed[list(self.special - self.ends - sentinels)] = False
        return allowed

    def fits(self, rows: int) -> bool:
        padding = rows - self.vocab_size
        return padding == 0 or (0 < padding < _MOST_PADDING and rows % _PADDED_TO == 0)

    def knows(self, tools: Tools) -> Known:
        return Known()

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, reply: bool = False, tools: Tools = None
    ) -> tuple[list[int], list[bool]]:
        return render_own(self, messages, reply=reply)

    def find_reply(self, ids: Sequence[int]) -> int:
        return next((i for i, token in enumerate(ids) if token == self.assistant), len(ids))

    def config_ids(self) -> dict[str, Any]:
        return {"bos_token_id": self.begin, "eos_token_id": self.end, "pad_token_id": self.pad}

    def save(self, folder: str | Path) -> None:
        """Write and sync tokenizer.json and tokenizer_config.json, as `transformers` reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(self._file, encoding="utf-8", newline="\n")
        config = {
            "fledge_kind": self.kind,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": SPECIAL[self.begin],
            "eos_token": SPECIAL[self.end],
            "pad_token": SPECIAL[self.pad],
            "additional_special_tokens": [
                name for name, number in self.special_tokens.items() if number >= self.system
            ],
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        }
        text = json.dumps(config, indent=2) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8", newline="\n")
        for written in (folder / "tokenizer.json", folder / "tokenizer_config.json", folder):
            sync(written)

    def fingerprint(self) -> str:
        """The sha256 of tokenizer.json: equal fingerprints, equal ids for every text."""
        return hashlib.sha256(self._file.encode("utf-8")).hexdigest()


class ByteTokenizer(OwnTokenizer):
    """Every UTF-8 byte is a token: id = byte + 6."""

    kind = "bytes"

    def __init__(self, file: str) -> None:
        if read_merges(file):
            raise ValueError("it has merges, which the bytes kind has not")
        super().__init__(file, [bytes((byte,)) for byte in range(256)])

    def encode(self, text: str) -> list[int]:
        return [byte + len(SPECIAL) for byte in check_utf8(text)]

    def encode_many(self, texts: Iterable[str]) -> list[np.ndarray]:
        return [
            np.frombuffer(check_utf8(text), dtype=np.uint8).astype(np.int64) + len(SPECIAL)
            for text in texts
        ]


class CharacterTokenizer(OwnTokenizer):
    """Every character of the training text is a token, in the order of their code points."""

    kind = "characters"

    def __init__(self, file: str) -> None:
        characters = read_characters(file)
        super().__init__(file, [character.encode("utf-8") for character in characters])
        self._id = {
            character: number for number, character in enumerate(characters, start=len(SPECIAL))
        }

    def encode(self, text: str) -> list[int]:
        try:
            return [self._id[character] for character in text]
        except KeyError:
            place = next(place for place, character in enumerate(text) if character not in self._id)
            raise UserError(
                f"the tokenizer does not know the character {text[place]!r} "
                f"(U+{ord(text[place]):04X}) of {text[max(place - 20, 0) : place + 20]!r}: its "
                f"{len(self._id)} characters are those of its training text. Train one on a text "
                "that has it, or use kind=bytes or kind=bpe, which know every character."
            ) from None


class BpeTokenizer(OwnTokenizer):
    """Bytes, and merges of bytes: ids 6 to 261 are the bytes, the others in the order in which they
    were learned.
    """

    kind = "bpe"

    def __init__(self, file: str) -> None:
        self._merges = read_merges(file)
        super().__init__(
            file, [unspell(token) for token in bpe_vocabulary(self._merges)][len(SPECIAL) :]
        )
        self._encoder = bpe_encoder(self._merges)

    @property
    def merges(self) -> list[Merge]:
        return list(self._merges)

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        return cut_apart(chunks)

    def encode(self, text: str) -> list[int]:
        if len(text) > _PIECE:
            return self.encode_many([text])[0].tolist()
        check_utf8(text)
        return self._encoder.encode(text).ids

    def encode_many(self, texts: Iterable[str]) -> list[np.ndarray]:
        pieces: list[str] = []
        ends: list[int] = []
        for text in texts:
            check_utf8(text)
            pieces.extend(self.cut([text]) if len(text) > _PIECE else [text])
            ends.append(len(pieces))
        encoded = [
            np.array(piece.ids, dtype=np.int64) for piece in self._encoder.encode_batch_fast(pieces)
        ]
        empty = [np.zeros(0, dtype=np.int64)]
        return [
            np.concatenate(empty + encoded[start:end])
            for start, end in zip([0, *ends], ends, strict=False)
        ]


def cut_apart(chunks: Iterable[str]) -> Iterator[str]:
    """Pieces of bounded length of a text that comes in chunks, none of which ends within a word."""
    return cut_at_words(chunks, _PIECE)


def from_merges(merges: Sequence[Merge]) -> OwnTokenizer:
    """The byte-level BPE tokenizer of these merges, in the order of learning (GPT-2's published
    ones, for example).
    """
    return from_file(bpe_file(merges), "bpe")


def train_tokenizer(
    kind: TokenizerKind,
    texts: Iterable[str],
    vocab_size: int | None = None,
    say: Callable[[str], None] | None = None,
) -> OwnTokenizer:
    """A tokenizer for the texts; equal texts give equal files.

    texts: no word goes from one to the next, so of a document in pieces they are those of
        `cut_apart`.
    vocab_size: special tokens included; for bpe only (default 4,096), the others have the size they
    need. A text with fewer pairs to merge gives a smaller one. say: told where words were left out.
    Raises UserError for a size that cannot be, ValueError for the kind.
    """
    if kind == "bpe":
        size = DEFAULT_BPE_VOCABULARY if vocab_size is None else vocab_size
        if size < BYTE_VOCABULARY:
            raise UserError(
                f"vocab_size={size} is too small: byte-level BPE needs {BYTE_VOCABULARY} or more "
                f"(256 bytes and {len(SPECIAL)} special tokens)"
            )
        words = count_words(check_utf8(text).decode("utf-8") for text in texts)
        if words.forgotten and say:
            say(
                f"the text has more than {MOST_WORDS:,} different words: the merges are learned "
                f"from the most frequent {len(words):,} (rare ones were forgotten "
                f"{words.forgotten:,} times while counting)"
            )
        return from_merges(learn_merges(words, size - BYTE_VOCABULARY))
    if kind == "bytes":
        tokenizer = from_file(bpe_file([]), kind)
    elif kind == "characters":
        characters: set[str] = set().union(*(check_utf8(text).decode("utf-8") for text in texts))
        tokenizer = from_file(characters_file(sorted(characters)), kind)
    else:
        raise ValueError(f"kind={kind!r} is no kind of tokenizer: it is bytes, characters or bpe")
    if vocab_size not in (None, tokenizer.vocab_size):
        raise UserError(
            f"vocab_size={vocab_size} does not go with kind={kind}, whose vocabulary is "
            f"{tokenizer.vocab_size} here: leave vocab_size out, or use kind=bpe"
        )
    return tokenizer


def from_file(file: str, kind: TokenizerKind) -> OwnTokenizer:
    """Raises UserError, ValueError or KeyError for a file that is not one of that kind."""
    if kind == "bpe":
        return BpeTokenizer(file)
    return ByteTokenizer(file) if kind == "bytes" else CharacterTokenizer(file)
