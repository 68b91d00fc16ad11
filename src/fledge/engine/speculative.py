"""Speculative decoding: a cheap guess of the next few tokens, checked by the model in one pass;
what is said has the model's distribution.

Leviathan, Kalman and Matias 2023, algorithm 1. The guess is a smaller model's, or what followed the
same words earlier in the row (prompt look-up,
https://github.com/apoorvumang/prompt-lookup-decoding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge.engine.forms import make_form
from fledge.engine.generation import Generation
from fledge.engine.logits import compute_raw_logits, list_forbidden
from fledge.engine.prefill import prefill
from fledge.engine.request import Completion, Ended, Feature, Request, Way
from fledge.engine.row import Row, fail, fit_prompt
from fledge.errors import UserError
from fledge.log_prob import Decoding, draw, restrict
from fledge.policy import TokenPolicy

LONGEST_MATCH = 3  # tokens that a look-up compares, at most
ACCEPT, GUESS, DRAW = range(3)  # what a row's random numbers are for, at each token
# Several tokens are judged in one pass, each by the logits of the model alone: what the logits
# processors take from a row depends on the tokens before, which are not said yet.
SPECULATIVE = Way("speculative decoding", frozenset({Feature.RULE}))


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


@dataclass(frozen=True)
class Guess:
    """The next tokens of each row, and the chance with which each was guessed."""

    token: Tensor  # [B, K]
    q: Tensor  # [B, K, V], 0 where there is no guess


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
                row.number: row.complete(end, row.said, row.logp, row.raw_logp, self.policy.version)
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
        guesses = [look_up(row.text, self.ahead) for row in rows]
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
        """What the draft says, a token at a time, under the rule of the row: the nearer its
        distribution is to the model's, the more is accepted.
        """
        texts, tokens, chances = [row.text for row in rows], [], []
        for j in range(self.ahead):
            p = compute_distribution(draft.read(texts, 1)[:, 0], [row.request.rule for row in rows])
            uniform = torch.stack([row.uniform[len(row.said) + j, GUESS] for row in rows])
            token = draw(p.log(), uniform.to(draft.device))[0]
            tokens.append(token)
            chances.append(p)
            for text, one in zip(texts, token.tolist(), strict=True):
                text.append(one)
        return Guess(torch.stack(tokens, 1), torch.stack(chances, 1))

    def _check_guess(
        self, rows: Sequence[_GuessedRow], model: _Reader, guess: Guess
    ) -> list[Ended | None]:
        """Each row says what is accepted of the guess, and one token more; how it ended, if it
        did.
        """
        texts = [row.text + tokens for row, tokens in zip(rows, guess.token.tolist(), strict=True)]
        k = guess.token.shape[1]
        # One pass answers for all guesses: after the last token said, and after each that is
        # guessed.
        raw = model.read(texts, k + 1)  # [B, K+1, V]
        rules = [row.request.rule for row in rows for _ in range(k + 1)]
        p = compute_distribution(raw.flatten(0, 1), rules).view_as(raw)
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
        ended: list[Ended | None] = []
        for row, n, tokens, *told in zip(
            rows, (count + 1).tolist(), token.tolist(), logp, raw_logp, strict=True
        ):
            ended.append(row.take_all(tokens[:n], *(numbers[:n] for numbers in told)))
        return ended


def settle(guess: Guess, p: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """How many guesses stand, and the token after them (Leviathan et al. 2023, algorithm 1).

    p [B, K+1, V]: the model's distribution at each place. uniform [B, K+1, 3] -> [B], [B]

    A guess x is accepted with probability min(1, p(x)/q(x)); the first that is refused is drawn
    anew from what p has more than q, (p − q)⁺. Together that is p: min(p, q) of x's mass comes by
    the guess, and the rest of it, p − min(p, q) = (p − q)⁺, by the drawing anew.
    """
    k = guess.token.shape[1]
    px, qx = (x.gather(2, guess.token[..., None]).squeeze(2) for x in (p[:, :k], guess.q))
    # u < p/q without the division: q = 0 is no guess, and is refused.
    yes = (uniform[:, :k, ACCEPT] * qx < px) & (qx > 0)
    count = yes.long().cumprod(1).sum(1)  # those before the first that is refused
    who = torch.arange(len(p), device=p.device)
    # Where all were accepted nothing was refused: q is 0 there, and what is drawn is p itself.
    refused = torch.cat([guess.q, torch.zeros_like(guess.q[:, :1])], 1)[who, count]  # [B, V]
    rest = (p[who, count] - refused).clamp_(min=0)
    # Where p = q a guess is refused by rounding alone, and nothing is left of the difference.
    rest = torch.where(rest.sum(1, keepdim=True) > 0, rest, p[who, count])
    return count, draw(rest.log(), uniform[who, count, DRAW])[0]


def compute_distribution(raw: Tensor, rules: Sequence[Decoding]) -> Tensor:
    """What each row is sampled from; for a greedy rule all the mass is on the likeliest.  raw [N,
    V] -> [N, V] float64
    """
    p = torch.empty(raw.shape, dtype=torch.float64, device=raw.device)
    for rule in set(rules):
        some = [i for i, other in enumerate(rules) if other == rule]
        logits = restrict(raw[some].double(), rule)
        if rule.greedy:
            p[some] = torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
        else:
            p[some] = logits.softmax(1)
    return p


def look_up(text: Sequence[int], ahead: int) -> list[int]:
    """What followed the latest earlier place where the last tokens stand, of the longest match of
    at most LONGEST_MATCH.
    """
    for n in range(min(LONGEST_MATCH, len(text) - 1), 0, -1):
        last = text[-n:]
        for begin in range(len(text) - n - 1, -1, -1):
            if text[begin : begin + n] == last:
                return list(text[begin + n : begin + n + ahead])
    return []
