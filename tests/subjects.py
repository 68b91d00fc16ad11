"""What the tests try things on: small transformers, batches with every kind of step, and a look at
gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fledge.exact.enumerable import Language
from fledge.hub.folder import Loaded
from fledge.learner import Learner, Schedule
from fledge.log_prob import Decoding
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.sharded import put_together
from fledge.trajectories import Trajectories
from fledge.verify.table import TableNetwork as TableNetwork
from fledge.verify.table import speak as speak

GARBAGE = (math.nan, math.inf, -math.inf, 1e30)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def go_on_greedily(loaded: Loaded, prompt: Sequence[int], tokens: int) -> list[int]:
    """The likeliest tokens by the whole forward pass, one after the other, up to a stop token."""
    policy, said = loaded.policy(), list[int]()
    assert policy.allowed is not None
    with torch.inference_mode():
        while len(said) < tokens and not loaded.tokenizer.ends & set(said):
            logits = policy.logits(policy.hidden(torch.tensor([[*prompt, *said]]))[0, -1:])
            logits[0, ~policy.allowed] = -torch.inf
            said.append(int(logits.argmax()))
    return said


def transformer(
    seed: int = 0, *, border: int | None = None, dtype: torch.dtype = torch.float32, **sizes: Any
) -> Transformer:
    """Two layers of width 16 unless told otherwise. Norm weights are moved away from 1, where a
    missing one would not show.
    """
    config: dict[str, Any] = {
        "vocab_size": 11,
        "context": 32,
        "layers": 2,
        "width": 16,
        "heads": 4,
        "kv_heads": 2,
        "mlp_width": 24,
    } | sizes
    network = Transformer(TransformerConfig(**config), border=border, generator=seeded(seed))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 1:
                weight += 0.3 * torch.randn(weight.shape, generator=seeded(seed + len(name)))
            else:
                weight *= 2  # far from uniform
    return network.to(dtype)


def learner(module: nn.Module, rate: float = 1e-2, **settings: Any) -> Learner:
    """At a constant rate, without decay and clipping unless told otherwise."""
    given: dict[str, Any] = {"optimizer": adamw(weight_decay=0.0), "clip": 0.0} | settings
    return Learner(module, Schedule(rate, 1000), **given)


class Gradients:
    """Stands in for a learner's optimizer: keeps the gradient of each step, all 0 of one that is
    not made, and moves nothing.
    """

    def __init__(self, learner: Learner) -> None:
        self.taken: list[list[Tensor]] = []
        self.learner = learner
        learner.optimizer.step = self.step  # pyright: ignore[reportAttributeAccessIssue]
        learner.skip = self.skip

    def step(self) -> None:
        self.taken.append(
            [
                torch.zeros_like(p) if p.grad is None else p.grad.clone()
                for p in self.learner.parameters
            ]
        )

    def skip(self) -> dict[str, float]:
        self.step()
        return {"steps_skipped": 1.0}

    @property
    def flat(self) -> Tensor:
        """The last step's gradient in one row."""
        return torch.cat([put_together(g).flatten() for g in self.taken[-1]])


def network_logits(policy: TokenPolicy, language: Language, opening: int) -> Tensor:
    """What any policy says after each prefix, one plain forward pass at a time.  [P, V]"""
    rows = [torch.tensor([[opening, *prefix]]) for prefix in language.prefixes]
    return torch.stack(
        [policy.logits(policy.network(row)[:, -1])[0, : language.vocabulary] for row in rows]
    )


def rollouts(
    policy: TokenPolicy, rows: int = 16, steps: int = 12, seed: int = 0, vocabulary: int = 11
) -> Trajectories:
    """Rows of unequal length with prompts, a gap (tool output) in some, ends of both kinds, rewards
    on the way, groups of two.

    Tokens 0 (padding) and 1 (prompt) are never chosen. `logp` is the policy's own.
    """
    random = seeded(seed)
    number = lambda low, high: int(torch.randint(low, high, (), generator=random))  # noqa: E731
    obs = torch.randint(2, vocabulary, (rows, steps + 1), generator=random)
    chosen, terminated, truncated = (torch.zeros(rows, steps, dtype=torch.bool) for _ in range(3))
    for i in range(rows):
        first, last = number(0, 4), number(5, steps)
        chosen[i, first : last + 1] = True
        if i % 3 == 0:
            gap = number(first + 1, last)
            chosen[i, gap : gap + 2] = False
            chosen[i, last] = True
        (terminated if i % 2 else truncated)[i, last] = True
        obs[i, last + 2 :] = 0
        obs[i, 0] = 1
        obs[i, 1:][~chosen[i] & (torch.arange(steps) < last)] = (
            1  # prompts and gaps hold what is no action
        )
    dtype = policy.network.unembedding.dtype
    reward = torch.where(chosen, torch.randn(rows, steps, generator=random, dtype=dtype), 0.0)
    with torch.no_grad():
        logp = policy.log_prob(obs, obs[:, 1:], chosen)
    group = torch.arange(rows) // 2
    return Trajectories(
        obs, obs[:, 1:], chosen, reward, terminated, truncated, logp=logp, group=group
    )


def spoil(batch: Trajectories, kind: float, seed: int = 0) -> Trajectories:
    """The same batch with garbage wherever no step was chosen, and other tokens after each row's
    end.
    """
    changes: dict[str, Tensor | None] = {}
    for name in ("reward", "logp"):
        value = getattr(batch, name)
        changes[name] = None if value is None else torch.where(batch.chosen, value, kind)
    for name in ("terminated", "truncated"):
        changes[name] = getattr(batch, name) | ~batch.chosen
    after = torch.arange(batch.obs.shape[1]) > batch.last()[:, None]  # [B, T+1]
    other = torch.randint(0, 11, batch.obs.shape, generator=seeded(seed))
    obs = torch.where(after, other, batch.obs)
    return batch.replace(obs=obs, action=obs[:, 1:], **changes)


def policy_of(network: Transformer, **settings: Any) -> TokenPolicy:
    """A policy whose actions are all tokens but 0 and 1."""
    allowed = torch.arange(network.config.vocab_size) >= 2
    return TokenPolicy(network, allowed, **settings)


def truncated(logits: Sequence[float], rule: Decoding) -> list[float]:
    """The rule by its definition, in plain Python: temperature, the k likeliest, the fewest whose
    mass reaches p, those near the likeliest.
    """
    weights = np.exp(np.array(logits, dtype=np.float64) / rule.temperature)
    order = sorted(range(len(logits)), key=lambda i: -weights[i])
    kept = order[: rule.top_k] if rule.top_k else order
    mass = weights[kept].sum()
    nucleus: list[int] = []
    while not nucleus or (weights[nucleus].sum() / mass < rule.top_p and len(nucleus) < len(kept)):
        nucleus.append(kept[len(nucleus)])
    nucleus = [i for i in nucleus if weights[i] >= rule.min_p * weights.max()]
    total = weights[nucleus].sum()
    return [float(weights[i] / total) if i in nucleus else 0.0 for i in range(len(logits))]


def chi_squared_bound(degrees: int, false_alarm: float = 1e-4) -> float:
    """Where a χ² with this many degrees of freedom is exceeded with the given probability.

    Wilson & Hilferty 1931: (χ²/k)^(1/3) is nearly normal with mean 1 − 2/9k and variance 2/9k.
    """
    assert false_alarm == 1e-4
    quantile = 3.719  # of the standard normal
    return degrees * (1 - 2 / (9 * degrees) + quantile * (2 / (9 * degrees)) ** 0.5) ** 3


def come_as_often_as(exact: Mapping[Any, float], count: Mapping[Any, int]) -> None:
    """One χ² of what was counted over all that is expected 10 times or more, the rest as one class;
    false alarm 1 in 10,000.
    """
    samples = sum(count.values())
    assert math.isclose(sum(exact.values()), 1, rel_tol=1e-9)
    assert count.keys() <= exact.keys(), "something of probability 0 was sampled"
    likely = [one for one, p in exact.items() if p * samples >= 10]
    observed = [count.get(one, 0) for one in likely] + [
        samples - sum(count.get(one, 0) for one in likely)
    ]
    expected = [exact[one] * samples for one in likely] + [
        samples * (1 - sum(exact[one] for one in likely))
    ]
    if expected[-1] < 1e-6:
        assert observed.pop() == 0
        expected.pop()
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    assert statistic < chi_squared_bound(len(expected) - 1)


def figures_close(a: Mapping[str, float], b: Mapping[str, float], bound: float) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert math.isclose(a[name], b[name], rel_tol=bound, abs_tol=bound), name


def same_bits(a: Trajectories, b: Trajectories) -> bool:
    """Whether every field of the one is that of the other."""
    fields = zip(a.items(), b.items(), strict=True)
    return all(x is y if x is None or y is None else torch.equal(x, y) for (_, x), (_, y) in fields)
