"""Runs of 2 to 10 words that repeat within a document, the second half of Gopher's rules (Rae et
al. 2021, appendix A.1.1).
"""

from __future__ import annotations

import numpy as np

from fledge.curate.run_kernel import judge_native, load_kernel, pack_bounds
from fledge.curate.word_hashes import encode, hash_runs, hash_words

# Of all words' characters, at the most: the commonest run of n words; all that stand twice.
TOP_RUNS = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED_RUNS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
MOST = {**TOP_RUNS, **REPEATED_RUNS}
_BOUNDS = pack_bounds(MOST)


def judge_runs(text: str, small: bytes | None = None) -> str | None:
    """Characters are bytes of UTF-8 here, and words as in `hash_words`. small: the text as `encode`
    has it, where that is known.
    """
    library = load_kernel()
    if library is None:
        length, size, whole = find_too_common(text)
    else:
        small = encode(text) if small is None else small
        length, size, whole = judge_native(library, b"\n" + small + b"\n", _BOUNDS)
    if not length:
        return None
    share = size / whole
    if length in TOP_RUNS:
        return (
            f"one run of {length} words is {share:.0%} of the text, and {MOST[length]:.0%} may be"
        )
    return f"runs of {length} words that stand twice are {share:.0%}, and {MOST[length]:.0%} may be"


def find_too_common(text: str) -> tuple[int, int, int]:
    """As `judge_native`, by NumPy: of equally common runs that of the smallest hash."""
    hashed = hash_words([text])
    lengths = hashed.ends - hashed.starts
    if len(lengths) < max(MOST):
        return 0, 0, 0
    ends = np.concatenate([[0], np.cumsum(lengths)])
    longest, whole = int(lengths.max()), int(ends[-1])
    for n, most in MOST.items():
        runs = hash_runs(hashed.words, n)
        ordered = np.sort(runs)
        again = ordered[1:] == ordered[:-1]
        if not again.any():
            break  # what has no run of n twice has none of n + 1
        if n in TOP_RUNS:
            # Only a run that stands often enough is looked for, which most texts have none of.
            often = int(most * whole / (n * longest))
            if not (ordered[often:] == ordered[: len(ordered) - often]).any():
                continue
            _, first, times = np.unique(runs, return_index=True, return_counts=True)
            top = int(np.argmax(times))
            size = int(times[top] * (ends[first[top] + n] - ends[first[top]]))
        else:
            places = np.flatnonzero(np.isin(runs, ordered[1:][again]))
            covered = np.zeros(len(lengths) + 1, dtype=np.int64)
            np.add.at(covered, places, 1)
            np.add.at(covered, places + n, -1)
            size = int(lengths[np.cumsum(covered[:-1]) > 0].sum())
        if size / whole > most:
            return n, size, whole
    return 0, 0, 0
