"""What a row may say, followed token by token by llguidance
(https://github.com/guidance-ai/llguidance; Willard and Louf 2023, §3, for the idea).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits
from torch import Tensor

from fledge.engine.vocabulary import Vocabulary
from fledge.errors import UserError

MOST_CHARACTERS = 200_000  # of a grammar: compiling takes quadratic time, half a second of so many
MOST_COUNTED = 20_000  # bytes of which the fewest tokens are counted: a tenth of a second
# Of one step some 20 ms, in the worst case; of what the making computes 20 ms, and its automaton
# may take 100 MB.
# A schema with 2,000 optional properties has some 8,000 items in a row.
LIMITS = LLParserLimits(
    max_items_in_row=10_000,
    max_lexer_states=50_000,
    max_grammar_size=100_000,
    verbose_errors=False,
)
# Nothing is forced: else of a text that must come only one spelling in tokens would be allowed, and
# the model's own share of the others would be lost.
OPTIONS = '%llguidance {"no_forcing": true}'


def silence(vocabulary: Vocabulary, stop: Collection[int]) -> Vocabulary:
    """Where the stop tokens say nothing. Raises UserError for one that is no token."""
    if outside := [token for token in stop if not 0 <= token < len(vocabulary)]:
        raise UserError(
            f"stop token {outside[0]} is not in the vocabulary of {len(vocabulary)} tokens."
        )
    return vocabulary.without(frozenset(stop))


class Constraint:
    """Compiled once for a vocabulary, shared by rows, each of which has a `Matcher` of its own.

    A row that keeps to `allowed` comes into no dead end where the tokens say every byte, as those
    of most models do; where they say every byte, or every character, of theirs alone, in none of a
    pattern or a choice. Else it may, and then ends with an error that says so.
    """

    def __init__(
        self,
        rules: str,
        vocabulary: Vocabulary,
        stop: Collection[int],
        what: str,
        least: int | None = None,
    ) -> None:
        """rules: Lark's. what: it is called in errors. least: how few tokens say a text; None where
        only what must come tells.
        """
        if len(rules) > MOST_CHARACTERS:
            raise UserError(
                f"{what} is too large: written as a grammar it has {len(rules):,} characters, and "
                f"{MOST_CHARACTERS:,} are the most."
            )
        self.vocabulary, self.stop, self.what = silence(vocabulary, stop), frozenset(stop), what
        self._compiled = LLMatcher(
            self.vocabulary.tree, f"{rules}\n{OPTIONS}\n", log_level=0, limits=LIMITS
        )
        if self._compiled.is_error():
            raise _explain_refusal(what, self._compiled.get_error())
        first = self.start()
        if not (first.allowed().any() or first.accepts()):
            raise first.failed or explain_unsaid(what, vocabulary)
        if least is None:
            forced = self._compiled.deep_copy().compute_ff_bytes()
            least = vocabulary.count_least(forced[:MOST_COUNTED], whole=False) if forced else 0
            if least is None:
                raise explain_unsaid(what, vocabulary)
            least = max(least, 0 if first.accepts() else 1)
        self.least = least
        """No text takes fewer tokens, the stop token not counted."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Constraint:
        """Itself: nothing of it changes, and what llguidance has compiled cannot be copied."""
        return self

    def start(self) -> Matcher:
        """Of a row that has said nothing."""
        return Matcher(self, self._compiled.deep_copy())

    def pack_support(self, action: Tensor, chosen: Tensor) -> Tensor:
        """What might have been said at each chosen step, as a trainer asks it: `Bound` of
        `fledge.policy`.  [B, T], [B, T] bool -> [N, W] uint8
        """
        packed: list[np.ndarray] = []
        for said, own in zip(action.tolist(), chosen.tolist(), strict=True):
            matcher = None
            for token, ours in zip(said, own, strict=True):
                if not ours:
                    matcher = None
                    continue
                matcher = matcher or self.start()
                packed.append(matcher.pack_allowed())
                matcher.take(token)
        width = 4 * (len(self.vocabulary) // 32 + 1)
        rows = np.concatenate(packed) if packed else np.zeros(0, dtype=np.uint8)
        return torch.from_numpy(rows.reshape(-1, width))


class Matcher:
    """How far one row has come in a constraint."""

    def __init__(self, constraint: Constraint, state: LLMatcher) -> None:
        self.constraint, self._state = constraint, state
        self._strayed = False  # a token has been taken that was not allowed
        self.failed: UserError | None = None
        """Why it can be followed no further, where following it took too much."""

    def copy(self) -> Matcher:
        """One that goes its own way from here."""
        twin = Matcher(self.constraint, self._state.deep_copy())
        twin._strayed, twin.failed = self._strayed, self.failed
        return twin

    def take(self, token: int) -> None:
        """The token said; after one that was not allowed nothing is. A stop token says nothing."""
        if token in self.constraint.stop:
            return
        # Asked first: llguidance's own error does not tell such a token from a limit.
        self._strayed = self._strayed or not self._state.validate_tokens([token])
        if not self._strayed and not self._state.consume_token(token):
            self._fail()

    def accepts(self) -> bool:
        """Whether the text said so far is complete."""
        return self.is_alive() and self._state.is_accepting()

    def is_alive(self) -> bool:
        """Whether all that was said was allowed, and could be followed."""
        return not self._strayed and not self._state.is_error()

    def pack_allowed(self) -> np.ndarray:
        """The tokens after which the text can still be completed, and the stop tokens if it is
        complete, as bits, the lowest first.  [⌈(V + 1) / 32⌉ · 4] uint8
        """
        stop, end = self.constraint.stop, len(self.constraint.vocabulary)
        if not self.is_alive():
            return np.zeros(4 * (end // 32 + 1), dtype=np.uint8)
        bits = np.frombuffer(self._state.compute_bitmask(), dtype=np.uint8).copy()
        if self._state.is_error():
            if "NoExtension" not in self._state.get_error():  # which is no fault: a dead end
                self._fail()
            bits[:] = 0
        complete = self.accepts()
        # llguidance allows its end token wherever nothing else may come, complete or not.
        for token in (*stop, end):
            if complete and token != end:
                bits[token >> 3] |= 1 << (token & 7)
            else:
                bits[token >> 3] &= 255 ^ (1 << (token & 7))
        return bits

    def allowed(self, size: int | None = None) -> Tensor:
        """The same, token by token.  [size] bool, by default [V]"""
        return unpack(self.pack_allowed(), size or len(self.constraint.vocabulary))

    def _fail(self) -> None:
        self.failed = UserError(
            f"{self.constraint.what} cannot be followed any further "
            f"({_shorten_message(self._state.get_error())}): simplify it."
        )


def unpack(bits: np.ndarray, size: int) -> Tensor:
    """Bits as truth values, False beyond the last of them.  [W] uint8 -> [size] bool"""
    flags = np.unpackbits(bits, count=min(size, 8 * len(bits)), bitorder="little")
    if len(flags) < size:
        flags = np.concatenate([flags, np.zeros(size - len(flags), dtype=np.uint8)])
    return torch.from_numpy(flags.view(np.bool_))


def explain_unsaid(what: str, vocabulary: Vocabulary) -> UserError:
    return UserError(
        f"no text of {what} can be said in this vocabulary of {len(vocabulary)} tokens: change one "
        "of them."
    )


def _explain_refusal(what: str, message: str) -> UserError:
    said = _shorten_message(message)
    if "nest" in message or "recursion limit" in message:
        return UserError(f"{what} is nested too deeply: flatten it.")
    if "fuel exhausted" in message or "too big" in message or "too large" in message:
        return UserError(f"{what} is too large ({said}): simplify it.")
    return UserError(f"{what} cannot be followed ({said}): change it.")


def _shorten_message(message: str) -> str:
    """What is wrong, without the listing beneath it."""
    lines = message.strip().split("\n")
    told = next((line for line in lines if line.startswith("error: ")), "")
    first = (lines[0] + " " + told.removeprefix("error: ")).strip().split(": ", 1)
    said = first[1] if len(first) == 2 and first[0].startswith("at ") else ": ".join(first)
    return said if len(said) <= 200 else said[:200] + "…"
