"""Completions of many prompts at once, in their order: the token engine for whoever wants all of
them before going on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.errors import UserError
from fledge.policy import TokenPolicy

SLOTS = 256  # rows side by side; more wait their turn


class Answers(Protocol):
    """Whoever answers requests in their order: the token engine, or a server."""

    def run(
        self, requests: Iterable[Request], on_token: Callable[[int, int], None] | None = None
    ) -> list[Completion]: ...


def generate(
    policy: TokenPolicy,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: int | Collection[int],
    generator: torch.Generator | None = None,
    samples: int = 1,
    on_token: Callable[[int, int], None] | None = None,
    engine: Answers | None = None,
    only: Collection[int] | None = None,
) -> list[Completion]:
    """`samples` completions of each prompt, side by side: len(prompts)·samples rows, under the
    policy's own rule and within its bound.

    stop: the tokens that end a row, or the only one; −1 for none. One number is taken from the
    generator, the seed of all rows: what a row says depends on it and on the row's place only.
    on_token(row, token) is called as tokens come. engine: one of this policy to go on with, if it
    has the positions; or who else answers. only: the numbers of the prompts that are answered here,
    by default all; what is said to them is the same. Raises UserError for an empty prompt or one
    that leaves no room in the context.
    """
    if not prompts:
        return []
    seed = int(torch.randint(2**62, (), generator=generator))
    if engine is None:
        positions = max(map(len, prompts)) + max(1, max_new_tokens)
        engine = Engine(policy, slots=min(SLOTS, len(prompts) * samples), positions=positions)
    wanted = range(len(prompts)) if only is None else sorted(only)
    rows = [number * samples + i for number in wanted for i in range(samples)]
    stops = frozenset({stop} - {-1} if isinstance(stop, int) else stop)
    bound: Any = policy.bound
    if bound is not None:
        # Imported where it is used: a model that says anything needs no llguidance.
        from fledge.engine.constraint import Constraint

        if not isinstance(bound, Constraint):
            raise ValueError(f"the engine cannot follow a bound of type {type(bound).__name__}.")
    requests = [
        Request(
            prompts[row // samples],
            max_new_tokens,
            rule=policy.rule,
            stop=stops,
            constraint=bound,
            seed=seed,
            sample=row,
        )
        for row in rows
    ]
    completions = engine.run(requests, on_token)
    for row, completion in zip(rows, completions, strict=True):
        if completion.error is not None:
            raise UserError(f"prompt {row // samples}: {completion.error}")
    return completions
