"""What an answer earns that was cut at the limit: at most so much, whoever judges it.

Half an answer may look good to a reward model, and a policy that is paid for it learns not to stop.
As in the fixed low reward that Ziegler et al. 2019 (section 3.1) give to samples without an end,
but as a cap: a low score is not raised by being cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from fledge.sample.generate import Completion

# nothing from a verifier; from a reward model, whose scores are scaled, what its pairs earn on
# average
MOST = 0.0


def cap_unfinished(
    scores: Sequence[float], completions: Sequence[Completion], most: float = MOST
) -> list[float]:
    """min(score, most) where the completion did not stop.  [B], [B] -> [B]"""
    return [
        score if completion.stopped else min(score, most)
        for score, completion in zip(scores, completions, strict=True)
    ]
