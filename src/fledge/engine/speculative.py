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

from fledge.engine.fast_form import make_fast_form
from fledge.engine.generation import Generation
from fledge.engine.logits import compute_raw_logits, list_forbidden
from fledge.engine.prefill import batch_prompts
from fledge.engine.request import Completion, Ended, Request
from fledge.errors import UserError
from fledge.log_prob import Decoding, draw, restrict
from fledge.policy import TokenPolicy

LONGEST_MATCH = 3  # tokens that a look-up compares, at most
ACCEPT, GUESS, DRAW = range(3)  # what a row's random numbers are for, at each token


class _Row:
    """One request under way. Its random numbers are a pure function of seed and sample, three a
    token.
    """

    def __init__(self, number: int, request: Request, room: int, ahead: int) -> None:
        self.number, self.request, self.room = number, request, room
        self.text = list(request.prompt)  # and what was said
        self.logp: list[float] = []
        self.raw_logp: list[float] = []
        self.uniform = torch.from_numpy(request.make_generator().random((room + ahead + 1, 3)))

    @property
    def said(self) -> int:
        return len(self.logp)

    def take(
        self, tokens: Sequence[int], logp: Sequence[float], raw_logp: Sequence[float]
    ) -> Ended | None:
        """As many as come before its end; whether that was it."""
        for token, chance, raw in zip(tokens, logp, raw_logp, strict=True):
            self.text.append(token)
            self.logp.append(chance)
            self.raw_logp.append(raw)
            if token in self.request.stop:
                return "stop"
            if self.said == self.room:
                return "length"
        return None

    def complete(self, ended: Ended) -> Completion:
        prompt = list(self.request.prompt)
        return Completion(prompt, self.text[len(prompt) :], self.logp, ended, self.raw_logp)


@dataclass(frozen=True)
class _Guess:
    """The next tokens of each row, and the chance with which each was guessed."""

    token: Tensor  # [B, K]
    q: Tensor  # [B, K, V], 0 where there is no guess


class _Reader:
    """A model's KV cache of the rows' text, kept up with what was said."""

    def __init__(
        self, policy: TokenPolicy, precision: Generation, slots: int, positions: int
    ) -> None:
        self.network: Any = make_fast_form(policy.network, precision)
        self.cache = self.network.make_cache(slots, positions)
        self.forbidden = list_forbidden(policy)
        self.device = policy.network.unembedding.device
        self.held = [0] * slots

    def read(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """What it has not read of each row's text.  -> raw logits after each token of that, a [t,
        V] a row
        """
        rest = [list(text[n:]) for text, n in zip(texts, self.held, strict=True)]
        states: list[Tensor] = [torch.empty(0)] * len(rest)
        for part in batch_prompts([len(row) for row in rest]):
            longest = max(len(rest[i]) for i in part)
            padded = torch.tensor(
                [rest[i] + [0] * (longest - len(rest[i])) for i in part], device=self.device
            )
            starts = torch.tensor([self.held[i] for i in part], device=self.device)
            end = max(self.held[i] for i in part) + longest
            hidden = self.network.extend(
                padded, starts, torch.tensor(part, device=self.device), end, self.cache
            )
            for k, i in enumerate(part):
                states[i] = hidden[k, : len(rest[i])]
        logits = compute_raw_logits(self.network, torch.cat(states), self.forbidden)
        self.held = [len(text) for text in texts]
        return list(logits.split([len(row) for row in rest]))

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
        rows: list[_Row] = []
        config = self.policy.network.config
        for number, request in enumerate(requests):
            try:
                request.check(config.vocab_size, config.context)
                _check(self.policy, request)
            except UserError as error:
                failed = Completion(list(request.prompt), [], [], "error", error=str(error))
                completions[number] = failed
            else:
                room = min(request.max_new_tokens, config.context - len(request.prompt))
                rows.append(_Row(number, request, room, self.ahead))
        rows.sort(key=lambda row: len(row.text) + row.room)  # that end together, as far as is known
        for first in range(0, len(rows), self.slots):
            completions |= self._run_group(rows[first : first + self.slots])
        return [completions[number] for number in range(len(requests))]

    def _run_group(self, rows: list[_Row]) -> dict[int, Completion]:
        positions = max(len(row.text) + row.room for row in rows) + self.ahead + 1
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
                row.number: row.complete(end)
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

    def _guess(self, rows: Sequence[_Row], draft: _Reader | None) -> _Guess:
        size, device = len(self.policy.network.unembedding), self.policy.network.unembedding.device
        if draft is None:
            guesses = [look_up(row.text, self.ahead) for row in rows]
            longest = max(1, *map(len, guesses))
            token = torch.tensor(
                [tokens + [0] * (longest - len(tokens)) for tokens in guesses], device=device
            )
            there = torch.tensor(
                [[j < len(tokens) for j in range(longest)] for tokens in guesses], device=device
            )
            q = torch.zeros(*token.shape, size, dtype=torch.float64, device=device)
            return _Guess(token, q.scatter_(2, token[..., None], there[..., None].double()))
        texts, tokens, chances = [list(row.text) for row in rows], [], []
        for j in range(self.ahead):
            logits = torch.stack([after[-1] for after in draft.read(texts)])
            p = compute_distribution(logits, [row.request.rule for row in rows])
            uniform = torch.stack([row.uniform[row.said + j, GUESS] for row in rows]).to(device)
            token = draw(p.log(), uniform)[0]
            tokens.append(token)
            chances.append(p)
            for text, one in zip(texts, token.tolist(), strict=True):
                text.append(one)
        return _Guess(torch.stack(tokens, 1), torch.stack(chances, 1))

    def _check_guess(
        self, rows: Sequence[_Row], model: _Reader, guess: _Guess
    ) -> list[Ended | None]:
        """Each row says what is accepted of the guess, and one token more; how it ended, if it
        did.
        """
        texts = [row.text + tokens for row, tokens in zip(rows, guess.token.tolist(), strict=True)]
        k, device = guess.token.shape[1], guess.token.device
        raw = torch.stack([after[-k - 1 :] for after in model.read(texts)])  # [B, K+1, V]
        rules = [row.request.rule for row in rows for _ in range(k + 1)]
        p = compute_distribution(raw.flatten(0, 1), rules).view_as(raw)
        # [B, K+1, 3]
        uniform = torch.stack([row.uniform[row.said : row.said + k + 1] for row in rows]).to(device)
        px, qx = (x.gather(2, guess.token[..., None]).squeeze(2) for x in (p[:, :k], guess.q))
        yes = (uniform[:, :k, ACCEPT] * qx < px) & (qx > 0)
        count = yes.long().cumprod(1).sum(1)  # [B]
        who = torch.arange(len(rows), device=device)
        refused = torch.cat([guess.q, torch.zeros_like(guess.q[:, :1])], 1)[who, count]  # [B, V]
        rest = (p[who, count] - refused).clamp_(min=0)
        rest = torch.where(rest.sum(1, keepdim=True) > 0, rest, p[who, count])
        last = draw(rest.log(), uniform[who, count, DRAW])[0]
        token = torch.cat([guess.token, torch.zeros_like(last[:, None])], 1).scatter_(
            1, count[:, None], last[:, None]
        )
        logp, raw_logp = (
            x.gather(2, token[..., None]).squeeze(2).tolist()
            for x in (p.log(), raw.double().log_softmax(2))
        )
        self.proposed += int((guess.q.sum(2) > 0).sum())
        self.accepted += int(count.sum())
        ended: list[Ended | None] = []
        for row, n, tokens, *told in zip(
            rows, (count + 1).tolist(), token.tolist(), logp, raw_logp, strict=True
        ):
            ended.append(row.take(tokens[:n], *(numbers[:n] for numbers in told)))
        return ended


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


def _check(policy: TokenPolicy, request: Request) -> None:
    border = getattr(policy.network, "border", None)
    given = {
        "stop_strings": bool(request.stop_strings),
        "repetition_penalty": request.repetition_penalty != 1,
        "presence_penalty": request.presence_penalty != 0,
        "logit_bias": bool(request.logit_bias),
        "min_new_tokens": request.min_new_tokens > 0,
        "constraint": request.constraint is not None,
        "alternatives": request.alternatives > 0,
        "a prompt of several documents": border is not None and border in request.prompt[1:],
    }
    for name, there in given.items():
        if there:
            raise UserError(
                f"{name} was given, which speculative decoding does not know: use the engine."
            )
