"""What one row has said, in the parts that an answer has: text, how it ended, and each token with
its log-probability and alternatives. The same for an answer as a whole and one in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fledge.engine.request import Completion
from fledge.serve.engine_loop import Said
from fledge.serve.incremental_text import IncrementalText

FINISH = {"stop": "stop", "stop_string": "stop", "length": "length", "cancelled": "stop"}
NOTHING = -9999.0  # log 0, which JSON cannot say; as vLLM writes it


@dataclass(frozen=True)
class Told:
    """A token. raw_logp: under the model itself."""

    token: int
    raw_logp: float
    alternatives: list[tuple[int, float]]


@dataclass(frozen=True)
class Part:
    """What may be shown since the last part. finish: why the row has ended, of its last part."""

    text: str
    tokens: list[Told]
    finish: str | None = None


class Spoken:
    """Of one row. words: the bytes of each token. begin: tokens that the answer begins with and
    that the model has not said now.
    """

    def __init__(
        self, words: Sequence[bytes], stop_strings: Sequence[str] = (), begin: Sequence[int] = ()
    ) -> None:
        self._text = IncrementalText(words, stop_strings)
        self._told: list[Told] = []  # that the text has not come to
        begun = self._text.add(begin)
        self._begun = begun.text
        # Tokens that are not told of, and that the text has not come to.
        self._skip = len(begin) - len(begun.tokens)
        self.heard = 0  # tokens of the completion

    def hear(self, said: Said, *, told: bool) -> Part:
        return self._take(said.tokens, said.raw_logp, said.alternatives, told)

    def end(self, completion: Completion, *, told: bool) -> Part:
        """What has not been heard of it, and what was held back."""
        n = self.heard
        part = self._take(
            completion.tokens[n:], completion.raw_logp[n:], completion.alternatives[n:], told
        )
        last = self._text.finish()
        tokens = part.tokens + self._pass(len(last.tokens))
        return Part(part.text + last.text, tokens, FINISH[completion.ended])

    def _take(
        self,
        tokens: Sequence[int],
        raw_logp: Sequence[float],
        alternatives: Sequence[list[tuple[int, float]]],
        told: bool,
    ) -> Part:
        self.heard += len(tokens)
        if told:
            best = alternatives or [[] for _ in tokens]
            self._told += map(Told, tokens, raw_logp, best)
        piece = self._text.add(tokens)
        text, self._begun = self._begun + piece.text, ""
        return Part(text, self._pass(len(piece.tokens)))

    def _pass(self, count: int) -> list[Told]:
        """The tokens that the text has come to."""
        skipped = min(self._skip, count)
        self._skip -= skipped
        count -= skipped
        shown, self._told = self._told[:count], self._told[count:]
        return shown


def spell(word: bytes) -> str:
    """A token as text; bytes that are no whole character as escapes, as OpenAI's API has it."""
    try:
        return word.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in word)


def bound(logp: float) -> float:
    return max(logp, NOTHING)


def list_chat_logprobs(
    tokens: Sequence[Told], words: Sequence[bytes], stop: frozenset[int], *, ids: bool
) -> list[dict[str, Any]]:
    """`logprobs.content` of a chat completion. ids: with the number of each token, and the stop
    token as well, whose text is empty.
    """

    def describe(token: int, logp: float) -> dict[str, Any]:
        word = words[token]
        said = {"token": spell(word), "logprob": bound(logp), "bytes": list(word)}
        return said | ({"token_id": token} if ids else {})

    return [
        describe(told.token, told.raw_logp)
        | {"top_logprobs": [describe(token, logp) for token, logp in told.alternatives]}
        for told in tokens
        if ids or told.token not in stop
    ]
