"""Speculative decoding: a cheap guess of the next few tokens, checked by the model in one pass;
what is said has the model's distribution.

Leviathan, Kalman and Matias 2023, algorithm 1. The guess is a smaller model's, or what followed the
same words earlier in the row (prompt look-up,
https://github.com/apoorvumang/prompt-lookup-decoding).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fledge.engine.forms import make_form
from fledge.engine.generation import Generation
from fledge.engine.guess import (
    GUESS,
    Guess,
    compute_distribution,
    cut_allowed,
    keep_allowed,
    keep_allowed_along,
    look_up,
    settle,
)
from fledge.engine.logits import compute_raw_logits, list_forbidden
from fledge.engine.prefill import prefill
from fledge.engine.request import Completion, Ended, Feature, Request, Way
from fledge.engine.row import Row, fail, fit_prompt
from fledge.errors import UserError
from fledge.log_prob import draw
from fledge.policy import TokenPolicy

if TYPE_CHECKING:
    from fledge.engine.constraint import Matcher

# Several tokens are judged in one pass. A constraint is followed along the guesses, and says what
# may come after each; the other logits processors go by tokens that are said.
SPECULATIVE = Way("speculative decoding", frozenset({Feature.RULE, Feature.CONSTRAINT}))


class _GuessedRow(Row):
    """A row that is told several tokens at a time, and what its random numbers are: a pure function
    of seed and sample, three a token.
    """

    def __init__(self, number: int, request: Request, network: Any, ahead: int) -> None:
        super().__init__(number, request, *fit_prompt(request, network))
        self.logp: list[float] = []
        self.raw_logp: list[float] = []
        # Tokens may be guessed beyond the last that is said.
        numbers = request.make_generator().random((self.room + ahead + 1, 3))
        self.uniform = torch.from_numpy(numbers)

    @property
    def text(self) -> list[int]:
        return self.prompt + self.said

    def fork_matcher(self) -> Matcher | None:
        """How far it has come in its constraint, to be followed along guesses."""
        matcher = self.follow_constraint()
        return None if matcher is None else matcher.copy()

    def take_all(
        self, tokens: Sequence[int], logp: Sequence[float], raw_logp: Sequence[float]
    ) -> Ended | None:
        """As many as come before its end; whether that was it."""
        for token, chance, raw in zip(tokens, logp, raw_logp, strict=True):
            self.take(token)
            self.logp.append(chance)
            self.raw_logp.append(raw)
            if token in self.request.stop:
                return "stop"
            if len(self.said) == self.room:
                return "length"
        return None


class _Reader:
    """A model's KV cache of the rows' text, kept up with what was said."""

    def __init__(
        self, policy: TokenPolicy, precision: Generation, slots: int, positions: int
    ) -> None:
        self.network: Any = make_form(policy.network, precision, positions)
        self.cache = self.network.make_cache(slots, positions)
        self.forbidden = list_forbidden(policy)
        self.device = policy.network.unembedding.device
        self.held = [0] * slots

    def read(self, texts: Sequence[Sequence[int]], last: int) -> Tensor:
        """What it has not read of each row's text.  -> raw logits after each of its last tokens
        [B, last, V]
        """
        states: dict[int, Tensor] = {}
        slots = range(len(texts))
        for some, hidden in prefill(self.network, self.cache, texts, self.held, slots, last):
            states |= zip(some, hidden, strict=True)
        hidden = torch.cat([states[i] for i in slots])
        logits = compute_raw_logits(self.network, hidden, self.forbidden)
        self.held = [len(text) for text in texts]
        return logits.view(len(texts), last, -1)

    def keep(self, rows: Sequence[int], held: Sequence[int]) -> None:
        """Go on with these rows, of which it has read this much that still holds."""
        if list(rows) != list(range(len(self.held))):
            self.cache.reorder(torch.tensor(rows, device=self.device), 0, max(self.held))
        self.held = list(held)


class Speculator:
    """`run` requests as an engine does, several tokens a pass. `proposed` and `accepted` count the
    guesses.

    draft: a smaller policy over the same tokens; without one, prompt look-up. ahead: tokens guessed
    at a time. slots: rows side by side. What a row says depends on its request alone. Raises
    UserError for a draft of other tokens or a shorter context.
    """

    def __init__(
        self,
        policy: TokenPolicy,
        *,
        draft: TokenPolicy | None = None,
        ahead: int = 4,
        slots: int = 64,
        precision: Generation = "fp32",
    ) -> None:
        if ahead < 1 or slots < 1:
            raise UserError(f"ahead={ahead}, slots={slots} was given: both must be 1 or more.")
        size, context = policy.network.config.vocab_size, policy.network.config.context
        if draft is not None and (
            draft.network.config.vocab_size,
            draft.network.config.context >= context,
        ) != (
            size,
            True,
        ):
            own = draft.network.config
            raise UserError(
                f"the draft model has {own.vocab_size} tokens and a context of {own.context}, the "
                f"model {size} and {context}: a draft needs the same tokens and as long a context."
            )
        self.policy, self.draft, self.ahead, self.slots = policy, draft, ahead, slots
        self.precision: Generation = precision
        self.proposed = self.accepted = 0

    @torch.inference_mode()
    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """All of them, in their order. A request that cannot be answered ends with an error, and
        its neighbours go on.
        """
        completions: dict[int, Completion] = {}
        rows: list[_GuessedRow] = []
        network = self.policy.network
        for number, request in enumerate(requests):
            try:
                request.check(network.config.vocab_size, network.config.context, SPECULATIVE)
            except UserError as error:
                completions[number] = fail(request, str(error), self.policy.version)
            else:
                rows.append(_GuessedRow(number, request, network, self.ahead))
        # Those that end together, as far as is known, side by side.
        rows.sort(key=lambda row: len(row.prompt) + row.room)
        for first in range(0, len(rows), self.slots):
            completions |= self._run_group(rows[first : first + self.slots])
        return [completions[number] for number in range(len(requests))]

    def _run_group(self, rows: list[_GuessedRow]) -> dict[int, Completion]:
        positions = max(len(row.prompt) + row.room for row in rows) + self.ahead + 1
        model = _Reader(self.policy, self.precision, len(rows), positions)
        draft = (
            None
            if self.draft is None
            else _Reader(self.draft, self.precision, len(rows), positions)
        )
        completions: dict[int, Completion] = {}
        while rows:
            guess = self._guess(rows, draft)
            ended = self._check_guess(rows, model, guess)
            stay = [i for i, end in enumerate(ended) if end is None]
            completions |= {
                row.number: row.complete(
                    end[0], row.said, row.logp, row.raw_logp, self.policy.version, end[1]
                )
                for row, end in zip(rows, ended, strict=True)
                if end is not None
            }
            rows = [rows[i] for i in stay]
            for reader in (model, draft):
                if reader is not None and rows:
                    # Refused guesses are overwritten; the last token is always to be read.
                    held = [
                        min(reader.held[i], len(row.text) - 1)
                        for i, row in zip(stay, rows, strict=True)
                    ]
                    reader.keep(stay, held)
        return completions

    def _guess(self, rows: Sequence[_GuessedRow], draft: _Reader | None) -> Guess:
        return self._guess_by_look_up(rows) if draft is None else self._guess_by(draft, rows)

    def _guess_by_look_up(self, rows: Sequence[_GuessedRow]) -> Guess:
        """A look-up draws nothing: its guess has probability 1. Rows that guess fewer tokens are
        filled up with guesses of probability 0, which are refused whatever comes.
        """
        size, device = len(self.policy.network.unembedding), self.policy.network.unembedding.device
        guesses = [
            cut_allowed(look_up(row.text, self.ahead), row.fork_matcher(), size) for row in rows
        ]
        longest = max(1, *map(len, guesses))
        token = torch.tensor(
            [tokens + [0] * (longest - len(tokens)) for tokens in guesses], device=device
        )
        there = torch.tensor(
            [[j < len(tokens) for j in range(longest)] for tokens in guesses], device=device
        )
        q = torch.zeros(*token.shape, size, dtype=torch.float64, device=device)
        return Guess(token, q.scatter_(2, token[..., None], there[..., None].double()))

    def _guess_by(self, draft: _Reader, rows: Sequence[_GuessedRow]) -> Guess:
        """What the draft says, a token at a time, under the rule and the constraint of the row: the
        nearer its distribution is to the model's, the more is accepted.
        """
        texts, tokens, chances = [row.text for row in rows], [], []
        matchers = [row.fork_matcher() for row in rows]
        for j in range(self.ahead):
            raw = draft.read(texts, 1)[:, 0]
            keep_allowed(raw, matchers)
            p = compute_distribution(raw, [row.request.rule for row in rows])
            uniform = torch.stack([row.uniform[len(row.said) + j, GUESS] for row in rows])
            # Where nothing may be said any token is guessed, with probability 0.
            token = draw(p.log().masked_fill(~p.any(1, keepdim=True), 0.0), uniform.to(p.device))[0]
            tokens.append(token)
            chances.append(p)
            for text, matcher, one in zip(texts, matchers, token.tolist(), strict=True):
                text.append(one)
                if matcher is not None:
                    matcher.take(one)
        return Guess(torch.stack(tokens, 1), torch.stack(chances, 1))

    def _check_guess(
        self, rows: Sequence[_GuessedRow], model: _Reader, guess: Guess
    ) -> list[tuple[Ended, str | None] | None]:
        """Each row says what is accepted of the guess, and one token more; how it ended, if it
        did, and the error if that was one.
        """
        texts = [row.text + tokens for row, tokens in zip(rows, guess.token.tolist(), strict=True)]
        k = guess.token.shape[1]
        # One pass answers for all guesses: after the last token said, and after each that is
        # guessed.
        raw = model.read(texts, k + 1)  # [B, K+1, V]
        kept = raw.clone() if any(row.request.constraint for row in rows) else raw
        for logits, row, tokens in zip(kept, rows, guess.token.tolist(), strict=True):
            if (matcher := row.fork_matcher()) is not None:
                keep_allowed_along(logits, matcher, tokens)
        rules = [row.request.rule for row in rows for _ in range(k + 1)]
        p = compute_distribution(kept.flatten(0, 1), rules).view_as(raw)
        uniform = torch.stack(
            [row.uniform[len(row.said) : len(row.said) + k + 1] for row in rows]
        ).to(raw.device)  # [B, K+1, 3]
        count, last = settle(guess, p, uniform)
        self.proposed += int((guess.q.sum(2) > 0).sum())
        self.accepted += int(count.sum())
        token = torch.cat([guess.token, torch.zeros_like(last[:, None])], 1).scatter_(
            1, count[:, None], last[:, None]
        )
        # What stands behind a row's last token is never said.
        logp, raw_logp = (
            x.gather(2, token[..., None]).squeeze(2).tolist()
            for x in (p.log(), raw.double().log_softmax(2))
        )
        best = kept.amax(2)[torch.arange(len(rows), device=raw.device), count]
        ended: list[tuple[Ended, str | None] | None] = []
        for row, n, top, tokens, *told in zip(
            rows, count.tolist(), best.tolist(), token.tolist(), logp, raw_logp, strict=True
        ):
            stuck = not math.isfinite(top)  # nothing may be said after what was accepted
            n = n if stuck else n + 1
            end = row.take_all(tokens[:n], *(numbers[:n] for numbers in told))
            if end is not None:
                ended.append((end, None))
            else:
                ended.append(row.explain_stuck(top) if stuck else None)
        return ended
