"""How often one of k programs is right, without bias, of n that were drawn.

Chen et al. 2021, "Evaluating Large Language Models Trained on Code", eq. 1.
"""

from __future__ import annotations

from math import comb


def estimate_pass_at_k(drawn: int, right: int, k: int) -> float:
    """1 − C(n − c, k) / C(n, k): the share of all sets of k of the n that have one of the c.

    Raises ValueError for more than were drawn.
    """
    if not (1 <= k <= drawn and 0 <= right <= drawn):
        raise ValueError(f"k={k}, right={right} of {drawn} drawn: both lie within what was drawn.")
    return 1.0 - comb(drawn - right, k) / comb(drawn, k)
