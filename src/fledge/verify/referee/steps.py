"""The steps that a trainer of language models is asked for: drawn ones, on which an equation is
looked for, and everything that one group can be.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import combinations_with_replacement, permutations, product

import torch

from fledge.exact.problem import Problem
from fledge.verify.referee.question import PAIRED, Hearing, Step, data_law

CLEARLY = 0.1  # nats
DRAWN = 8  # batches on which an equation is looked for


def draw_steps(hearing: Hearing) -> Iterator[Step]:
    """Two groups, or pairs, or rows, of both lengths; the last has equal rewards in a group."""
    random = torch.Generator().manual_seed(11)
    count = len(hearing.problem.reward)
    if hearing.family in PAIRED:
        for _ in range(DRAWN):
            # The two of a pair differ.
            order = [torch.randperm(count, generator=random)[:2].tolist() for _ in range(2)]
            yield Step((order[0][0], order[1][0], order[0][1], order[1][1]))
        # Chosen ones of one step and of two: a mean over tokens is not one over rows.
        short, long = _find_lengths(hearing.problem)
        yield Step((short[0], long[0], long[1], long[2]))
        yield Step(_find_crossing(hearing.problem))
        return
    groups = 2 if hearing.family == "policy" else 1
    rows = 2 * hearing.group
    drawn = 0
    words = (0,) * rows
    while drawn < DRAWN:
        words = tuple(torch.randint(count, (rows,), generator=random).tolist())
        if len({hearing.problem.reward[word].item() for word in words}) > rows // 2:
            drawn += 1
            yield Step(words, groups)
    if hearing.family == "policy":
        yield Step((words[0],) * hearing.group + words[-hearing.group :], groups)


def _find_lengths(problem: Problem) -> tuple[list[int], list[int]]:
    """The sequences of one step, and all longer ones."""
    words = problem.language.sequences
    short = [at for at, word in enumerate(words) if len(word) == 1]
    return short, [at for at, word in enumerate(words) if len(word) > 1]


def _find_crossing(problem: Problem) -> tuple[int, ...]:
    """Two pairs of which the policy prefers the first more clearly, the reference the second: a
    loss that sorts either is another one than a loss that does not.
    """
    assert problem.reference is not None
    policy, reference = problem.log_prob(problem.logits), problem.log_prob(problem.reference)
    for first, second, third, fourth in permutations(range(len(problem.reward)), 4):
        ours = policy[first] - policy[third] - policy[second] + policy[fourth]
        theirs = reference[first] - reference[third] - reference[second] + reference[fourth]
        if ours > CLEARLY and theirs < -CLEARLY:
            return first, second, third, fourth
    raise ValueError("policy and reference order all pairs alike")


def enumerate_steps(hearing: Hearing) -> Iterator[tuple[Step, float]]:
    """Everything that one group, or one pair, can be, and how likely it is. Rows of a step are
    taken in any order for one: every multiset once, with the number of its orders.
    """
    problem = hearing.problem
    count = len(problem.reward)
    if hearing.family in PAIRED:
        # The chosen one earns more: of all pairs in both orders a linear loss would add up to 0.
        pairs = [
            (i, j)
            for i, j in product(range(count), repeat=2)
            if problem.reward[i] > problem.reward[j]
        ]
        yield from ((Step(pair), 1 / len(pairs)) for pair in pairs)
        return
    law = problem.prob() if hearing.family == "policy" else data_law(problem)
    for words in combinations_with_replacement(range(count), hearing.group):
        orders = math.factorial(hearing.group)
        for times in Counter(words).values():
            orders //= math.factorial(times)
        yield Step(words), orders * math.prod(float(law[word]) for word in words)
