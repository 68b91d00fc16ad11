"""MinHash beside enumeration: of two sets the least hash is common exactly where the least of all
their members lies in both, which has the chance of Jaccard's share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from fledge.curate.near_copies import BANDS, FACTORS, ROWS, SHINGLE, hash_bands
from fledge.curate.word_hashes import hash_runs, hash_words
from fledge.verify.rows import TableRow

PAIRS = 60
WHOLE = 1 << 64


def jaccard_row() -> TableRow:
    """Over all orders of six things, counted: that the idea is right."""
    orders, error = list(itertools.permutations(range(6))), 0.0
    for a, b in (({0, 1, 2, 3}, {2, 3, 4, 5}), ({0, 1, 2}, {0, 1, 2, 3, 4}), ({0}, {1, 2, 3})):
        same = sum(min(o[x] for x in a) == min(o[x] for x in b) for o in orders)
        error = max(error, abs(same / len(orders) - len(a & b) / len(a | b)))
    return TableRow(
        "L11.1", "the least of two sets, over all orders", "common by Jaccard's share",
        error, 1e-12, f"{len(orders)} orders counted, to {error:.1e}",
    )  # fmt: skip


def band_row() -> TableRow:
    """A band is common where each of its rows is; each row's least is found here run by run, in
    whole numbers of Python's.

    The share of rows that are common is Jaccard's but for chance: 5 σ, once in 10⁶.
    """
    wrong, common, wanted, variance = 0, 0.0, 0.0, 0.0
    for number in range(PAIRS):
        first, second = write_pair(number)
        bands = hash_bands([first, second])
        a, b = (set(map(int, hash_runs(hash_words([t]).words, SHINGLE))) for t in (first, second))
        rows = [find_least(a, int(f)) == find_least(b, int(f)) for f in FACTORS]
        told = (bands[0] == bands[1]).tolist()
        wrong += sum(all(rows[at * ROWS : (at + 1) * ROWS]) != told[at] for at in range(BANDS))
        share = len(a & b) / len(a | b)
        common, wanted = common + sum(rows), wanted + share * len(rows)
        variance += share * (1 - share) * len(rows)
    apart = abs(common - wanted) / math.sqrt(variance)
    return TableRow(
        "L11.2", "MinHash, band by band", "as its least runs, by Jaccard's share",
        wrong + max(0.0, apart - 5), 0.0,
        f"{PAIRS * BANDS} bands, {wrong} told wrongly; {common:.0f} of {PAIRS * len(FACTORS)} rows "
        f"are common where {wanted:.0f} are expected ({apart:.1f} σ)",
    )  # fmt: skip


def find_least(runs: set[int], factor: int) -> int:
    """By h · a mod 2⁶⁴."""
    return min(runs, key=lambda run: run * factor % WHOLE)


def write_pair(number: int) -> tuple[str, str]:
    """Two texts of random words that share a beginning, the longer the higher the number."""
    random = np.random.default_rng(number)

    def write(length: int) -> Sequence[str]:
        return [f"w{word}" for word in random.integers(1 << 40, size=length)]

    shared = write(SHINGLE + number)
    return " ".join([*shared, *write(30)]), " ".join([*shared, *write(25)])


def copy_rows() -> list[TableRow]:
    return [jaccard_row(), band_row()]
