"""What many rows begin with, such as the examples before each question: where reading it once, and
every row behind it, computes less than the rows as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy

LEAST = 32  # tokens: a pass over what is shorter costs more than it saves
LEAST_SAVED = 0.15  # of all tokens


@dataclass(frozen=True)
class Row:
    """Tokens, of which those from `start` on are asked about."""

    tokens: list[int]
    start: int

    def cut(self, number: int) -> Row:
        """Without its first tokens, one before `start` being left: what foretells."""
        return Row(self.tokens[number:], self.start - number)


def find_beginning(policy: TokenPolicy, rows: Sequence[Row]) -> tuple[int, list[bool]]:
    """How many tokens are to be read once, and which rows begin with them; 0 and none where little
    is gained, or the network cannot.
    """
    none = 0, [False] * len(rows)
    network = policy.network
    if len(rows) < 2 or not can_read_behind(network):
        return none
    first = rows[0].tokens
    alike = [_count_alike(first, row) for row in rows]
    # n tokens of every row that has so many: the n that saves most
    ordered = sorted(alike, reverse=True)
    number = max(range(len(ordered)), key=lambda i: ordered[i] * i)
    n = ordered[number]
    if n < LEAST:
        return none
    behind = [own >= n for own in alike]
    ours = [row for row, own in zip(rows, behind, strict=True) if own]
    border = network.border
    if border is not None and any(border in row.tokens[1:] for row in ours):
        return none  # what stands behind a border does not see what stands before it
    cut = n + _count([row.cut(n) for row in ours], policy.shares_prompts)
    plain = _count(ours, policy.shares_prompts)
    return (n, behind) if cut < (1 - LEAST_SAVED) * plain else none


def can_read_behind(network: object) -> bool:
    """Whether rows may be read behind keys and values that are there already."""
    if not isinstance(network, Transformer) or type(network) is not Transformer:
        return False
    compiled = network._compiled_call_impl is not None
    return not compiled and network.virtual is None and network.config.scaling.kind != "longrope"


def _count(rows: Sequence[Row], shared: bool) -> int:
    """Tokens that are computed. shared: what several have up to `start` is so once."""
    if not shared:
        return sum(len(row.tokens) for row in rows)
    once = {tuple(row.tokens[: row.start]) for row in rows}
    return sum(map(len, once)) + sum(len(row.tokens) - row.start for row in rows)


def _count_alike(first: Sequence[int], row: Row) -> int:
    """How many tokens a row begins with as `first` does, up to the one that foretells."""
    most = min(len(first), row.start - 1)
    if row.tokens[:most] == first[:most]:
        return most
    return next(i for i in range(most) if row.tokens[i] != first[i])
