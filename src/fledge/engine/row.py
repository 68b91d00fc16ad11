"""One request under way: what it was asked, what it has said, and whether that is the end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from fledge.engine.request import PROCESSED, Completion, Ended, Request
from fledge.engine.stop_strings import StopStrings

if TYPE_CHECKING:
    from fledge.engine.constraint import Matcher

OnToken = Callable[[int, int], None]  # (number of the request, token)

NOT_FINITE = (
    "the logits are not finite: a bias or penalty is too large, the temperature too small, or a "
    "weight is no number."
)
NOTHING_LEFT = (
    "nothing may be said next: the constraint, the biases and min_new_tokens leave no token."
)


class Row:
    """`said` grows token by token only where something reads it (`watched`): the engine's slots and
    the beam keep all tokens anyhow.
    """

    def __init__(
        self,
        number: int,
        request: Request,
        prompt: list[int],
        room: int,
        *,
        vocabulary: Sequence[bytes] | None = None,
        on_token: OnToken | None = None,
    ) -> None:
        """prompt: the part of the request's that the network reads. room: how many tokens it may
        say. vocabulary: the bytes of each token, for the stop strings.
        """
        self.number, self.request, self.on_token = number, request, on_token
        self.prompt, self.room = prompt, room
        self.said: list[int] = []
        self.alternatives: list[list[tuple[int, float]]] = []
        self.matcher: Matcher | None = None
        self.strings = (
            StopStrings(request.stop_strings, vocabulary)
            if request.stop_strings and vocabulary
            else None
        )
        self.cancelled = False
        self.needs_processing = bool(request.asks() & PROCESSED)
        self.watched = (
            self.needs_processing
            or bool(request.alternatives)
            or self.strings is not None
            or on_token is not None
        )

    def take(self, token: int) -> bool:
        """The token just said; whether a stop string has come with it."""
        self.said.append(token)
        matcher = self.follow_constraint()
        if matcher is not None:
            matcher.take(token)
        return self.strings is not None and self.strings.match(token)

    def follow_constraint(self) -> Matcher | None:
        """How far the row has come in its constraint. Begun when it is first asked for: rows that
        wait take no memory.
        """
        if self.matcher is None and self.request.constraint is not None:
            self.matcher = self.request.constraint.start()
        return self.matcher

    def grow(self, token: int) -> Self:
        """A row of its own that has said one token more: several may grow from one."""
        twin = copy.copy(self)
        twin.said = list(self.said)
        twin.matcher = None if self.matcher is None else self.matcher.copy()
        twin.take(token)
        return twin

    def is_complete(self) -> bool:
        """Whether a row that can say nothing more has said all. A request with stop tokens has not:
        it says one.
        """
        matcher = self.follow_constraint()
        accepted = matcher is not None and matcher.accepts()
        return accepted and not self.request.stop and len(self.said) >= self.request.min_new_tokens

    def name_end(self, tokens: Sequence[int], *, heard: bool) -> Ended:
        """tokens: all that it said. heard: a stop string has come."""
        if self.cancelled:
            return "cancelled"
        if tokens and tokens[-1] in self.request.stop:
            return "stop"
        return "stop_string" if heard else "length"

    def explain_stuck(self, best: float) -> tuple[Ended, str | None]:
        """How a row ends that has no next token, and what is wrong; best: its largest logit."""
        if best != float("-inf"):
            return "error", NOT_FINITE
        if self.matcher is not None and self.matcher.failed is not None:
            return "error", str(self.matcher.failed)
        # The request has no stop token to say so.
        return ("stop", None) if self.is_complete() else ("error", NOTHING_LEFT)

    def complete(
        self,
        ended: Ended,
        tokens: list[int],
        logp: list[float],
        raw_logp: list[float],
        version: int,
        error: str | None = None,
    ) -> Completion:
        prompt = list(self.request.prompt)
        return Completion(prompt, tokens, logp, ended, raw_logp, self.alternatives, version, error)


def fit_prompt(
    request: Request, network: Any, positions: int | None = None
) -> tuple[list[int], int]:
    """The part of the prompt that the network reads, from its last document border on, since
    attention never crosses one; and how many tokens may follow.

    positions: how many a slot holds, by default the network's context. Raises UserError for a
    prompt that the network cannot go on from, where it has a `check_prompt`.
    """
    if (check := getattr(network, "check_prompt", None)) is not None:
        check(request.prompt)
    prompt, border = list(request.prompt), getattr(network, "border", None)
    if border is not None and border in prompt[1:]:
        prompt = prompt[len(prompt) - 1 - prompt[::-1].index(border) :]
    most = network.config.context if positions is None else positions
    return prompt, min(request.max_new_tokens, most - len(prompt))


def fail(request: Request, error: str, version: int) -> Completion:
    """The completion of a request that cannot be answered."""
    return Completion(list(request.prompt), [], [], "error", version=version, error=error)
