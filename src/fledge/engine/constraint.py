"""What a row may say: a finite automaton over bytes, run over the tokens of a vocabulary (Willard
and Louf 2023, §3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fledge.engine.automaton import Automaton, compile_pattern, compile_words, shorten
from fledge.errors import UserError

MASK_BYTES = 64 << 20  # kept masks, for each constraint: a state has one of V bytes


def regex(pattern: str, vocabulary: Sequence[bytes], stop: Collection[int]) -> Constraint:
    """The whole text said matches the pattern, read as `re.fullmatch(pattern, text, re.ASCII)`
    reads it.

    vocabulary: the bytes of each token, b"" for special ones. stop: the tokens that end a row; what
    bytes they have is not said. Raises UserError for a pattern that does not parse, is not regular,
    is too large, or cannot be said in this vocabulary.
    """
    return Constraint(
        compile_pattern(pattern),
        vocabulary,
        stop,
        f"the pattern {shorten(pattern)} matches no text",
    )


def choice(
    options: Sequence[str], vocabulary: Sequence[bytes], stop: Collection[int]
) -> Constraint:
    """The whole text said is one of the options; one that the vocabulary cannot say is never
    chosen.

    Raises UserError for an empty list, or if the vocabulary can say none of them.
    """
    if not options:
        raise UserError("an empty list of choices was given: give one option or more.")
    try:
        words = [option.encode() for option in options]
    except UnicodeEncodeError as error:
        raise UserError(
            f"the choice {error.object!r} holds half of a surrogate pair, which UTF-8 cannot write."
        ) from None
    return Constraint(
        compile_words(words), vocabulary, stop, f"none of the {len(options)} choices is a text"
    )


class Constraint:
    """Compiled once for a vocabulary, shared by rows; a row's own part is its state, an int.

    A row that keeps to `allowed` is never in a dead end. Without stop tokens it still comes to
    states where nothing is allowed: those accept, and nothing can follow.
    """

    def __init__(
        self, automaton: Automaton, vocabulary: Sequence[bytes], stop: Collection[int], what: str
    ) -> None:
        """what: the beginning of "… that this vocabulary can say", for the error."""
        if not vocabulary:
            raise UserError(
                "an empty vocabulary was given: a constraint needs tokens to choose from."
            )
        if outside := [token for token in stop if not 0 <= token < len(vocabulary)]:
            raise UserError(
                f"stop token {outside[0]} is not in the vocabulary of {len(vocabulary)} tokens."
            )
        self.start = 1
        self.stop, self.vocab_size = frozenset(stop), len(vocabulary)
        self._table, self._accepting = automaton.table, automaton.accepting
        self._bytes = [
            b"" if token in self.stop else bytes(said) for token, said in enumerate(vocabulary)
        ]
        # Longest tokens first: column j, the byte j of every token that has one, then belongs to
        # the first len(column) of them.
        length = np.array([len(said) for said in self._bytes])
        order = np.argsort(-length, kind="stable")
        self._place, self._length = np.argsort(order), length[order]
        text = np.frombuffer(b"".join([self._bytes[token] for token in order]), dtype=np.uint8)
        begin = self._length.cumsum() - self._length
        self._columns = [
            text[begin[: np.count_nonzero(length > j)] + j] for j in range(max(length.max(), 1))
        ]
        # Bytes that are tokens.
        self._single = sorted({said[0] for said in self._bytes if len(said) == 1})
        self._live = self._find_live()  # [S]: an accepting state can be reached by tokens
        if not self._live[self.start]:
            raise UserError(
                f"{what} that this vocabulary of {len(vocabulary)} tokens can say: change one of "
                "them."
            )
        self._masks = lru_cache(max(MASK_BYTES // len(vocabulary), 16))(self._build_mask)
        self._fitting = lru_cache(64)(self._find_fit)

    def allowed(self, state: int) -> Tensor:
        """The tokens after which the text can still be completed, and the stop tokens if it is
        complete.  [V] bool, not to be changed
        """
        return self._masks(state)

    def advance(self, state: int, token: int) -> int:
        """The state after a token; 0, where nothing is allowed, after one that was not. A stop
        token says nothing.
        """
        if token in self.stop:
            return state if self._accepting[state] else 0
        for byte in self._bytes[token]:
            state = int(self._table[state, byte])
        return state if self._bytes[token] and self._live[state] else 0

    def accepts(self, state: int) -> bool:
        """Whether the text said so far is complete."""
        return bool(self._accepting[state])

    def fits(self, tokens: int) -> bool:
        """Whether some complete text takes no more tokens than this, the stop token not counted."""
        return self._fitting(tokens)

    def _find_fit(self, tokens: int) -> bool:
        # A byte at a time where that is enough: it looks at no token, and mostly there is far more
        # room than a text needs.
        bytewise = self._reaches_within(tokens, lambda states: self._table[states][:, self._single])
        return bytewise or self._reaches_within(
            tokens, lambda states: np.stack([self._walk(state) for state in states])
        )

    def _reaches_within(self, steps: int, after: Callable[[np.ndarray], np.ndarray]) -> bool:
        """Whether so many steps, or fewer, lead from the start to an accepting state."""
        reached = np.zeros(len(self._accepting), dtype=bool)
        reached[[0, self.start]] = True
        here = np.array([self.start])
        while len(here) and not self._accepting[here].any() and steps > 0:
            here = np.unique(after(here))
            here, steps = here[~reached[here]], steps - 1
            reached[here] = True
        return bool(self._accepting[here].any())

    def _build_mask(self, state: int) -> Tensor:
        mask = self._live[self._walk(state)]
        mask[list(self.stop)] = self._accepting[state]
        return torch.from_numpy(mask)

    def _walk(self, state: int) -> np.ndarray:
        """The state after each token, all tokens a byte at a time; 0, which is dead, after those
        that say nothing.  [V]
        """
        after = np.zeros(len(self._length), dtype=np.int32)
        first = self._table[state].take(self._columns[0])
        after[: len(first)] = first
        # Most states let few first bytes pass: all else is work on those that did.
        walking = np.flatnonzero(first)
        here = first[walking]
        for column in self._columns[1:]:
            size = walking.searchsorted(len(column))  # the others are at their ends
            walking, here = walking[:size], here[:size]
            here = self._table.ravel().take(here * 256 + column.take(walking))
            after[walking] = here
            if not here.all():
                walking, here = walking[here != 0], here[here != 0]
        return after.take(self._place)

    def _find_live(self) -> np.ndarray:
        """The states from which tokens lead to an accepting one.  [S] bool

        First by tokens of one byte, all that is needed where every byte is a token. Only the other
        states are walked by all.
        """
        after = self._table[:, self._single]
        news = after != 0
        news[:, 1:] &= after[:, 1:] != after[:, :-1]  # neighbours mostly lead to the same state
        live = _trace_back(
            self._accepting, zip(news.nonzero()[0].tolist(), after[news].tolist(), strict=True)
        )
        rest = np.flatnonzero(~live)[1:].tolist()
        return _trace_back(
            live,
            ((state, there) for state in rest for there in np.unique(self._walk(state)).tolist()),
        )


def _trace_back(goal: np.ndarray, steps: Iterable[tuple[int, int]]) -> np.ndarray:
    """The states from which steps (from, to) lead to a goal, and the goals.  [S] bool"""
    before: list[list[int]] = [[] for _ in goal]
    for state, there in steps:
        before[there].append(state)
    reached = goal.copy()
    waiting = np.flatnonzero(goal).tolist()
    while waiting:
        for state in before[waiting.pop()]:
            if not reached[state]:
                reached[state] = True
                waiting.append(state)
    return reached
