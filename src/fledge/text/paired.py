"""The tokenizer of an encoder–decoder: a conversation is one input and one target, in one row.

input </s> <pad> target </s>         T5, whose start token stands between the two
<s> input </s> <s> target </s>       BART, whose start token is the end of the input
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fledge.errors import UserError
from fledge.rows.tools import Known, Tools
from fledge.text.bpe import Merge
from fledge.text.interface import Tokenizer
from fledge.text.objectives import SENTINEL


class PairedTokenizer(Tokenizer):
    """Another tokenizer, `inner`, by which all text is read. What was said before the last answer
    is the input, line by line; the answer is the target.
    """

    def __init__(self, inner: Tokenizer, start: int, *, joined: bool) -> None:
        """start: the token from which a decoder begins. joined: it also ends the input, and what
        opens a text opens a target too. Raises UserError for a tokenizer without an end.
        """
        if inner.end is None:
            raise UserError(
                "the tokenizer has no token that ends a text, which an encoder–decoder needs: name "
                "an eos_token in its tokenizer_config.json."
            )
        self.inner, self.stop = inner, inner.end
        self._start = start
        self.joined = joined
        self.kind, self.prefix, self.special = inner.kind, inner.prefix, inner.special
        self.special_tokens = inner.special_tokens

    @property
    def start(self) -> int:
        return self._start

    def open_input(self, ids: Sequence[int]) -> list[int]:
        """A prompt: the input with what opens and closes it, and what a target begins after."""
        between = [self.start, *self.prefix] if self.joined else [self.stop, self.start]
        return [*self.prefix, *ids, *between]

    def write_pair(
        self, given: Sequence[int], target: Sequence[int]
    ) -> tuple[list[int], list[bool]]:
        """A row, of which the target and its end are marked."""
        prompt, answer = self.open_input(given), [*target, self.stop]
        return prompt + answer, [False] * len(prompt) + [True] * len(answer)

    def spell(self, ids: Sequence[int]) -> str:
        """The text of the ids, in which sentinels stand as they are spelled."""
        names = {n: name for name, n in self.special_tokens.items() if name.startswith(SENTINEL)}
        words = self.vocabulary
        said = [names[n].encode() if n in names else words[n] for n in ids]
        return b"".join(said).decode("utf-8", errors="replace")

    def open_text(self, text: str) -> list[int]:
        return self.open_input(self.encode(text))

    @property
    def opening(self) -> tuple[int, ...]:
        """Raises UserError: there is no running text to open."""
        raise UserError(
            "an encoder–decoder reads an input and writes a target, and foretells no running text: "
            "give rows of `prompt` and `completion`, or a decoder."
        )

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, reply: bool = False, tools: Tools = None
    ) -> tuple[list[int], list[bool]]:
        last = messages[-1] if messages else {"role": "user", "content": ""}
        answered = last["role"] == "assistant" and not reply
        before = messages[:-1] if answered else messages
        if not reply and any(
            each["role"] == "assistant" and each.get("train", True) for each in before
        ):
            raise UserError(
                "an encoder–decoder reads one input and writes one target, and this conversation "
                "has several answers: give each as a row of its own."
            )
        given = self.encode("\n".join(each["content"] for each in before))
        if not answered:
            prompt = self.open_input(given)
            return prompt, [False] * len(prompt)
        ids, own = self.write_pair(given, self.encode(last["content"]))
        return ids, own if last.get("train", True) else [False] * len(own)

    def find_reply(self, ids: Sequence[int]) -> int:
        if self.start not in ids:
            return len(ids)
        opening = len(self.prefix) if self.joined else 0
        return min(len(ids), list(ids).index(self.start) + 1 + opening)

    def knows(self, tools: Tools) -> Known:
        return Known()

    @property
    def begin(self) -> int | None:
        return self.inner.begin

    @property
    def end(self) -> int | None:
        return self.inner.end

    @property
    def pad(self) -> int | None:
        return self.inner.pad

    @property
    def ends(self) -> frozenset[int]:
        return self.inner.ends

    @property
    def vocabulary(self) -> list[bytes]:
        return self.inner.vocabulary

    @property
    def sayable(self) -> np.ndarray:
        return self.inner.sayable

    @property
    def merges(self) -> list[Merge]:
        return self.inner.merges

    def fits(self, rows: int) -> bool:
        return self.inner.fits(rows)

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(text)

    def encode_many(self, texts: Iterable[str]) -> list[np.ndarray]:
        return self.inner.encode_many(texts)

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        return self.inner.cut(chunks)

    def config_ids(self) -> dict[str, Any]:
        return self.inner.config_ids()

    def save(self, folder: str | Path) -> None:
        self.inner.save(folder)

    def fingerprint(self) -> str:
        return self.inner.fingerprint()
