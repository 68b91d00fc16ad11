"""Did the policy learn to please its reward model rather than to be right? Both scores over the way
from the start.

After Gao, Schulman & Hilton (2023), "Scaling laws for reward model overoptimization",
arXiv:2210.10760: with d = √KL(π‖π_start) on the x axis, the reward model's score keeps rising while
the true score turns down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from fledge.report.charts import Series, draw_two_scale_chart, smooth
from fledge.report.curves import Curve
from fledge.report.figures import is_number
from fledge.runs.landmarks import LogRow

SOURCE = "https://arxiv.org/abs/2210.10760"
_NEEDED = ("kl_k1", "reward_model_score", "true_score")


@dataclass(frozen=True)
class Overoptimisation:
    """The picture, what it says in a sentence, and whether the true score turned down while the
    reward model's rose.
    """

    svg: Markup
    sentence: str
    happened: bool


@dataclass
class BothScores:
    """Distance and the two scores of the metrics rows that have `kl_k1`, `reward_model_score` and
    `true_score`, counted through.
    """

    rows: int = 0
    distance: Curve = field(default_factory=Curve)
    proxy: Curve = field(default_factory=Curve)
    true: Curve = field(default_factory=Curve)

    def add(self, row: LogRow) -> None:
        if not all(is_number(row.get(name)) for name in _NEEDED):
            return
        # an estimate of a KL near 0 may fall below it
        self.distance.add(self.rows, math.sqrt(max(0.0, row["kl_k1"])))
        self.proxy.add(self.rows, row["reward_model_score"])
        self.true.add(self.rows, row["true_score"])
        self.rows += 1


def find_overoptimisation(scores: BothScores) -> Overoptimisation | None:
    """None of fewer than three rows."""
    if scores.rows < 3:
        return None
    # Of a long log means of stretches: the scatter that is left is smaller by the root of their
    # length, and so is the number of points, so the noise comes out the same.
    distance, proxy, true = (
        curve.series("").y for curve in (scores.distance, scores.proxy, scores.true)
    )
    happened, sentence = _judge(distance, proxy, true)
    svg = draw_two_scale_chart(
        Series("reward model's score", distance, proxy),
        Series("true score", distance, true),
        x_label="√KL from the start, in √nats",
        description=(
            f"Reward model's score and true score over the square root of the KL. {sentence}"
        ),
    )
    return Overoptimisation(svg, sentence, happened)


def _judge(
    distance: Sequence[float], proxy: Sequence[float], true: Sequence[float]
) -> tuple[bool, str]:
    """The smoothed true score's highest point against its end. A fall counts from 0.02 on, and from
    three times what noise is left after smoothing (which averages over about a twentieth of the
    steps)."""
    proxy_means, true_means = smooth(proxy), smooth(true)
    peak = max(range(len(true)), key=true_means.__getitem__)
    fall = true_means[peak] - true_means[-1]
    scatter = math.sqrt(
        sum((t - m) ** 2 for t, m in zip(true, true_means, strict=True)) / len(true)
    )
    noise = scatter / math.sqrt(max(1.0, len(true) / 20))
    rose = proxy_means[-1] - proxy_means[peak]
    if fall <= max(0.02, 3 * noise):
        return False, (
            f"No over-optimisation here: the true score ends at {true_means[-1]:.2f}; "
            f"its highest is {true_means[peak]:.2f}."
        )
    if rose <= 0:
        return False, (
            f"The true score fell from {true_means[peak]:.2f} to {true_means[-1]:.2f}, "
            "and the reward model's score fell with it."
        )
    return True, (
        f"Over-optimised: beyond √KL = {distance[peak]:.1f} the true score fell from "
        f"{true_means[peak]:.2f} to {true_means[-1]:.2f} while the reward model's score still rose "
        f"by {rose:.2f}."
    )
