"""One request under way: what it was asked, what it has said, and whether that is the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fledge.engine.request import PROCESSED, Completion, Ended, Request
from fledge.engine.stop_strings import StopStrings

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

    prompt: the part of the request's that the network reads. room: how many tokens it may say.
    """

    def __init__(
        self,
        number: int,
        request: Request,
        network: Any,
        *,
        positions: int | None = None,
        vocabulary: Sequence[bytes] | None = None,
        on_token: OnToken | None = None,
    ) -> None:
        """positions: that its slot holds, by default the network's context. vocabulary: the bytes
        of each token, for the stop strings.
        """
        self.number, self.request, self.on_token = number, request, on_token
        self.prompt = cut_at_border(request.prompt, getattr(network, "border", None))
        most = network.config.context if positions is None else positions
        self.room = min(request.max_new_tokens, most - len(self.prompt))
        self.said: list[int] = []
        self.alternatives: list[list[tuple[int, float]]] = []
        self.state = request.constraint.start if request.constraint is not None else 0
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
        if self.request.constraint is not None and token not in self.request.stop:
            self.state = self.request.constraint.advance(self.state, token)
        return self.strings is not None and self.strings.match(token)

    def is_complete(self) -> bool:
        """Whether a row that can say nothing more has said all. A request with stop tokens has not:
        it says one.
        """
        constraint = self.request.constraint
        accepted = constraint is not None and constraint.accepts(self.state)
        return accepted and not self.request.stop and len(self.said) >= self.request.min_new_tokens

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


def cut_at_border(prompt: Sequence[int], border: int | None) -> list[int]:
    """The prompt from its last document border on: attention never crosses one."""
    whole = list(prompt)
    if border is not None and border in whole[1:]:
        return whole[len(whole) - 1 - whole[::-1].index(border) :]
    return whole


def fail(request: Request, error: str, version: int) -> Completion:
    """The completion of a request that cannot be answered."""
    return Completion(list(request.prompt), [], [], "error", version=version, error=error)
