"""What every tokenizer does, our own and those that come with other people's models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fledge.errors import UserError
from fledge.rows.tools import Known, Tools
from fledge.text.bpe import Merge


class Tokenizer(ABC):
    """Text to token ids and back, and which ids are special.

    No text can forge a special token: `encode` gives the ids of what is written, and "<|end|>"
    typed by a user is ordinary characters. Special ids come in through the attributes below and
    through `render`, the chat template.
    """

    kind: str
    """bytes, characters or bpe; of another program what its tokenizer.json calls its model (BPE,
    Unigram, WordPiece, WordLevel).
    """
    prefix: tuple[int, ...]
    """What stands before the tokens of a text that a model is to go on with; () for many models."""
    special: frozenset[int]
    """Every id that text cannot come to, the ends among them."""
    special_tokens: Mapping[str, int]
    """Special tokens by their spelling."""

    @property
    @abstractmethod
    def begin(self) -> int | None:
        """Opens a text and does nothing else: nothing foretells it, so it is never a target."""

    @property
    @abstractmethod
    def end(self) -> int | None:
        """Closes a document."""

    @property
    @abstractmethod
    def pad(self) -> int | None:
        """Fills rows up for those who look for it; masks come from lengths."""

    @property
    @abstractmethod
    def ends(self) -> frozenset[int]:
        """The ids that end a completion: `end`, and whatever else ends a turn."""

    @property
    def start(self) -> int | None:
        """From which a decoder begins, of an encoder–decoder's."""
        return None

    @property
    def border(self) -> int | None:
        """A token across which attention never goes, where a model was trained so: ours were."""
        return None

    @property
    def opening(self) -> tuple[int, ...]:
        """What opens each document of running text: the prefix or, without one, the end of whatever
        came before.

        Raises UserError for a tokenizer that has neither.
        """
        if self.prefix:
            return self.prefix
        if self.end is None:
            raise UserError(
                "the tokenizer has no token that begins or ends a text, so documents cannot be "
                "told apart: name an eos_token in its tokenizer_config.json."
            )
        return (self.end,)

    def open_text(self, text: str) -> list[int]:
        """The ids of a text that a model is to go on with, behind what opens it."""
        return [*self.prefix, *self.encode(text)]

    @property
    def closing(self) -> tuple[int, ...]:
        """What closes each document: nothing where the opening of the next one does."""
        return () if self.end is None or self.opening[0] == self.end else (self.end,)

    @property
    @abstractmethod
    def vocabulary(self) -> list[bytes]:
        """The bytes of each token by id, b"" of special ones and of ids that are none."""

    @property
    def vocab_size(self) -> int:
        """The number of ids, special tokens included."""
        return len(self.vocabulary)

    @abstractmethod
    def fits(self, rows: int) -> bool:
        """Whether an embedding of so many rows can be its model's. Rows that no token has are
        common: they fill products up to a size that is fast, and nobody says them.
        """

    @property
    @abstractmethod
    def sayable(self) -> np.ndarray:
        """Which ids a model may say.  [vocab_size] bool"""

    @property
    def merges(self) -> list[Merge]:
        """The merges in the order in which they were learned; none unless the kind is bpe."""
        return []

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of the text and nothing else; never one of a special token, but for the token
        that stands for what a tokenizer does not know. Raises UserError for a text without ids.
        """

    def encode_many(self, texts: Iterable[str]) -> list[np.ndarray]:
        """`encode` for many texts, with all cores: one int64 array of ids a text."""
        return [np.array(self.encode(text), dtype=np.int64) for text in texts]

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """Pieces of bounded length of a text that comes in chunks; their ids, joined, are those of
        the whole text.
        """
        return iter(chunks)

    @abstractmethod
    def knows(self, tools: Tools) -> Known:
        """What the chat template of a conversation with these tools has words of its own for."""

    @abstractmethod
    def render(
        self, messages: Sequence[Mapping[str, Any]], *, reply: bool = False, tools: Tools = None
    ) -> tuple[list[int], list[bool]]:
        """The ids of a conversation by the chat template, and for each whether the assistant chose
        it: its answers and what ends them, of turns whose `train` is not False.

        reply: a prompt that waits for the assistant. tools: of a template that knows them. Raises
        UserError for a conversation that the
        template cannot say.
        """

    @abstractmethod
    def find_reply(self, ids: Sequence[int]) -> int:
        """Where in a rendered conversation the assistant first speaks; its length, if it never
        does.
        """

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes the ids stand for, special tokens dropped. A token may end in the middle of a
        character.

        Raises ValueError for an id that is not in the vocabulary.
        """
        numbers: list[int] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        self._check(numbers)
        words = self.vocabulary
        return b"".join([words[number] for number in numbers])

    def decode(self, ids: Iterable[int]) -> str:
        """The text the ids stand for, special tokens dropped; bytes that are not UTF-8 become
        U+FFFD.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def bytes_per_token(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The number of UTF-8 bytes each id stands for, special tokens 0: int64, of the shape of
        ids.
        """
        numbers = np.asarray(ids, dtype=np.int64)
        self._check((int(numbers.min()), int(numbers.max())) if numbers.size else ())
        return self._lengths[numbers]

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.array([len(token) for token in self.vocabulary], dtype=np.int64)

    def _check(self, ids: Sequence[int]) -> None:
        if ids and (min(ids) < 0 or max(ids) >= self.vocab_size):
            wrong = min(ids) if min(ids) < 0 else max(ids)
            raise ValueError(
                f"id {int(wrong)} is not in this vocabulary of {self.vocab_size} tokens"
            )

    @abstractmethod
    def config_ids(self) -> dict[str, Any]:
        """bos_token_id, eos_token_id and pad_token_id of a config.json."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write and sync its files, as `transformers` reads them."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The sha256 of tokenizer.json: equal fingerprints, equal ids for every text."""


def check_utf8(text: str) -> bytes:
    """The text as UTF-8. Raises UserError for one that has no UTF-8."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"the text holds half of a surrogate pair (U+{ord(text[error.start]):04X}) at position "
            f"{error.start}, which UTF-8 cannot write: repair or remove that character"
        ) from None
