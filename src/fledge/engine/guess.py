"""Guesses of the next tokens, and how many of them stand: the formulas of speculative decoding
(Leviathan, Kalman and Matias 2023, algorithm 1), with what a constraint allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fledge.log_prob import Decoding, draw, restrict

if TYPE_CHECKING:
    from fledge.engine.constraint import Matcher

LONGEST_MATCH = 3  # tokens that a look-up compares, at most
ACCEPT, GUESS, DRAW = range(3)  # what a row's random numbers are for, at each token


@dataclass(frozen=True)
class Guess:
    """The next tokens of each row, and the chance with which each was guessed."""

    token: Tensor  # [B, K]
    q: Tensor  # [B, K, V], 0 where there is no guess


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
    # Where nothing may be said p is 0, and what is drawn is not said.
    rest = torch.where(rest.sum(1, keepdim=True) > 0, rest, 1.0)
    return count, draw(rest.log(), uniform[who, count, DRAW])[0]


def compute_distribution(raw: Tensor, rules: Sequence[Decoding]) -> Tensor:
    """What each row is sampled from; for a greedy rule all the mass is on the likeliest. 0 where
    nothing may be said, or a logit is no number.  raw [N, V] -> [N, V] float64
    """
    p = torch.empty(raw.shape, dtype=torch.float64, device=raw.device)
    for rule in set(rules):
        some = [i for i, other in enumerate(rules) if other == rule]
        logits = restrict(raw[some].double(), rule)
        if rule.greedy:
            p[some] = torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
        else:
            p[some] = logits.softmax(1)
    return p.masked_fill_(~raw.amax(1, keepdim=True).isfinite(), 0.0)


def keep_allowed(raw: Tensor, matchers: Sequence[Matcher | None]) -> None:
    """−∞, in place, for what a row's constraint does not allow now.  [B, V]"""
    for logits, matcher in zip(raw, matchers, strict=True):
        if matcher is not None:
            allowed = matcher.allowed(len(logits)).to(logits.device)
            logits.masked_fill_(~allowed, float("-inf"))


def keep_allowed_along(raw: Tensor, matcher: Matcher, tokens: Sequence[int]) -> None:
    """The same of one row, at the place of each token and after the last.  [K+1, V]"""
    for logits, token in zip(raw, tokens, strict=False):
        keep_allowed(logits[None], [matcher])
        matcher.take(token)
    keep_allowed(raw[-1:], [matcher])


def cut_allowed(tokens: list[int], matcher: Matcher | None, size: int) -> list[int]:
    """As many of them as a constraint allows one after the other, of `size` tokens in all."""
    if matcher is None:
        return tokens
    for n, token in enumerate(tokens):
        if not matcher.allowed(size)[token]:
            return tokens[:n]
        matcher.take(token)
    return tokens


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
