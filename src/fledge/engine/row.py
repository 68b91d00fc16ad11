"""One request under way: what it was asked, what it has said, and whether that is the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fledge.engine.request import Completion, Ended, Request
from fledge.engine.stop_strings import StopStrings

OnToken = Callable[[int, int], None]  # (number of the request, token)


class Row:
    """`said` grows token by token only where something reads it (`watched`); the engine's slots
    keep all tokens anyhow.
    """

    def __init__(
        self,
        number: int,
        request: Request,
        read: list[int],
        vocabulary: Sequence[bytes] | None,
        on_token: OnToken | None,
    ) -> None:
        """read: the part of the prompt that the network reads."""
        self.number, self.request, self.prompt, self.on_token = number, request, read, on_token
        self.said: list[int] = []
        self.alternatives: list[list[tuple[int, float]]] = []
        self.state = request.constraint.start if request.constraint is not None else 0
        self.strings = (
            StopStrings(request.stop_strings, vocabulary)
            if request.stop_strings and vocabulary
            else None
        )
        self.cancelled = False
        self.needs_processing = bool(
            request.logit_bias or request.repetition_penalty != 1 or request.presence_penalty
            or request.min_new_tokens or request.constraint is not None
        )  # fmt: skip
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

    def complete(
        self,
        ended: Ended,
        tokens: list[int],
        logp: list[float],
        raw_logp: list[float],
        version: int,
        error: str | None,
    ) -> Completion:
        prompt = list(self.request.prompt)
        return Completion(prompt, tokens, logp, ended, raw_logp, self.alternatives, version, error)
