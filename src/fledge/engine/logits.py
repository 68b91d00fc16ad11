"""From logits to the next tokens: the logits processors and sampling rule of each row, the chance
under what was sampled and under the model itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge.engine.native_draw import can_draw, draw_natively
from fledge.engine.row import Row
from fledge.log_prob import PLAIN, Decoding, draw, restrict
from fledge.policy import TokenPolicy


@dataclass(frozen=True)
class Choice:
    """One token a row, and what is told of it. All [B]."""

    token: Tensor
    logp: Tensor  # under the distribution that was sampled; 0 where the rule is greedy
    raw_logp: Tensor  # under the model, over all tokens that are actions
    top: Tensor  # the greatest logit; where it is no finite number there is no token to choose


def apply_rules(
    raw: Tensor, rows: Sequence[Row], rules: Mapping[Decoding, Sequence[int]]
) -> Tensor:
    """Logits of what each row is sampled from, −∞ off the support.  raw [B, V] -> [B, V]

    raw: −∞ for what is no action. rules: which rows go by which rule.
    """
    processed = [i for i, row in enumerate(rows) if row.needs_processing]
    if processed:
        raw = raw.clone()
        for i in processed:
            process_logits(raw[i], rows[i])
    if len(rules) == 1:
        return restrict(raw, next(iter(rules)))
    logits = torch.empty_like(raw)
    for rule, members in rules.items():
        logits[members] = restrict(raw[members], rule)
    return logits


def process_logits(logits: Tensor, row: Row) -> None:
    """The row's logits processors, in place: biases, penalties, no stop that comes too early, the
    constraint. Some depend on what the row has said.  [V]
    """
    request = row.request
    for token, bias in request.logit_bias.items():
        logits[token] += bias
    if request.repetition_penalty != 1:
        seen = torch.tensor(sorted({*row.prompt, *row.said}), device=logits.device)
        there = logits[seen]
        logits[seen] = torch.where(
            there > 0, there / request.repetition_penalty, there * request.repetition_penalty
        )
    if request.presence_penalty and row.said:
        logits[torch.tensor(sorted(set(row.said)), device=logits.device)] -= (
            request.presence_penalty
        )
    if request.frequency_penalty and row.said:
        counts = torch.bincount(torch.tensor(row.said, device=logits.device), minlength=len(logits))
        logits -= request.frequency_penalty * counts.to(logits)
    if len(row.said) < request.min_new_tokens:
        for token in request.stop:
            logits[token] = float("-inf")
    if (matcher := row.follow_constraint()) is not None:
        allowed = matcher.allowed(len(logits)).to(logits.device)
        logits.masked_fill_(~allowed, float("-inf"))


def draw_tokens(
    raw: Tensor,
    logits: Tensor,
    uniform: Tensor,
    rows: Sequence[Row],
    rules: Mapping[Decoding, Sequence[int]],
) -> Choice:
    """raw, logits [B, V] (of `apply_rules`); uniform [B]. Of a row without a token to choose the
    token is any.
    """
    greedy = [i for rule, members in rules.items() if rule.greedy for i in members]
    if len(greedy) == len(uniform):
        top, token = logits.max(-1)
        logp = torch.zeros_like(top)
    elif can_draw(logits):
        token, logp, top = draw_natively(logits, uniform)
    else:
        top = logits.amax(-1)
        lost = ~top.isfinite()
        token, logp = draw(
            logits.masked_fill(lost[:, None], 0.0) if lost.any() else logits, uniform
        )
    if 0 < len(greedy) < len(uniform):
        token[greedy], logp[greedy] = logits[greedy].argmax(-1), 0.0
    raw_logp = logp
    other = {i for i, row in enumerate(rows) if row.needs_processing}
    other.update(i for rule, members in rules.items() if rule != PLAIN for i in members)
    if other := sorted(other):
        chance = raw[other].log_softmax(-1).gather(-1, token[other, None]).squeeze(-1)
        raw_logp = logp.index_put((torch.tensor(other, device=logp.device),), chance)
    return Choice(token, logp, raw_logp, top)


def list_forbidden(policy: TokenPolicy) -> Tensor | None:
    """The tokens that are never said: a few columns to fill, where a mask would go over them all.
    [F]
    """
    return None if policy.allowed is None else (~policy.allowed).nonzero().squeeze(-1)


def compute_raw_logits(network: Any, hidden: Tensor, forbidden: Tensor | None) -> Tensor:
    """The model's own, −∞ for what is no action.  [B, D] -> [B, V]"""
    raw = network.logits(hidden)
    return raw if forbidden is None else raw.index_fill_(-1, forbidden, float("-inf"))
