"""What each rule of sampling does to one distribution, in the order in which the engine applies
them: logits processors, temperature, top-k, nucleus, min-p.

Every stage is computed by the code that samples, so the last one is the distribution of the next
token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fledge.engine.logits import process_logits
from fledge.engine.request import Request
from fledge.engine.row import Row
from fledge.log_prob import PLAIN, Decoding, restrict


@dataclass(frozen=True)
class Stage:
    """The distribution after a rule. removed: what the tokens that it took out had before it."""

    name: str
    probability: Tensor  # [V], 0 off the support
    removed: float = 0.0

    @property
    def kept(self) -> int:
        """How many tokens can still be said."""
        return int((self.probability > 0).sum())

    @property
    def entropy(self) -> float:
        """−Σ p log p, in nats."""
        return float(torch.special.entr(self.probability).sum())


def list_stages(raw: Tensor, request: Request, said: Sequence[int] = ()) -> list[Stage]:
    """The model's own distribution, then one stage for each rule of the request that does anything.
    raw [V]: logits, −∞ for what is no action.

    said: the tokens of the completion so far, on which the penalties depend.
    """
    row = Row(0, request, list(request.prompt), request.max_new_tokens)
    for token in said:
        row.take(token)
    stages = [Stage("the model", raw.softmax(-1))]
    logits = raw
    if row.needs_processing:
        logits = raw.clone()
        process_logits(logits, row)
        stages.append(_after(stages[-1], "penalties", logits))
    for name, rule in _list_rules(request.rule):
        logits_now = restrict(logits[None], rule)[0]
        if rule.greedy:
            alone = torch.full_like(logits_now, float("-inf"))
            alone[logits_now.argmax()] = 0.0
            logits_now = alone
        stages.append(_after(stages[-1], name, logits_now))
    return stages


def _list_rules(rule: Decoding) -> list[tuple[str, Decoding]]:
    """The rule in parts, each with those before it."""
    if rule.greedy:
        return [("greedy", rule)]
    rules, part = [], PLAIN
    for field, name in (
        ("temperature", "temperature"), ("top_k", "top-k"), ("top_p", "nucleus"), ("min_p", "min-p")
    ):  # fmt: skip
        value = getattr(rule, field)
        if value != getattr(PLAIN, field):
            part = replace(part, **{field: value})
            rules.append((f"{name} {value:g}", part))
    return rules


def _after(before: Stage, name: str, logits: Tensor) -> Stage:
    probability = logits.softmax(-1)
    removed = float(before.probability[probability == 0].sum())
    return Stage(name, probability, removed)
