"""What films of fits share: the colours of components, and when each frame comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SECONDS_A_FRAME, LAST_SECONDS = 0.45, 2.0
# Okabe & Ito (2008), which the colour-blind tell apart; then lighter ones between them.
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#b0548a", "#8a6d00", "#56b4e9", "#e69f00", "#444444",
    "#7a5cc4", "#a83f00", "#4fb89a", "#d48fb5",
)  # fmt: skip


@dataclass(frozen=True)
class Times:
    """When each frame comes, as SVG wants it: shares of the whole, and the whole's seconds."""

    keys: str
    seconds: float

    def animate(self, attribute: str, values: Sequence[str], still: str = "linear") -> str:
        """An element that moves one attribute; nothing where it never changes."""
        if len(set(values)) == 1:
            return ""
        return (
            f'<animate attributeName="{attribute}" values="{";".join((*values, values[-1]))}" '
            f'keyTimes="{self.keys}" dur="{self.seconds:g}s" calcMode="{still}" '
            'repeatCount="indefinite"/>'
        )

    def turn(self, kind: str, values: Sequence[str]) -> str:
        return (
            f'<animateTransform attributeName="transform" type="{kind}" '
            f'values="{";".join((*values, values[-1]))}" keyTimes="{self.keys}" '
            f'dur="{self.seconds:g}s" repeatCount="indefinite"/>'
        )


def spread_times(frames: int) -> Times:
    """Frame by frame, and then the last one for a while."""
    whole = (frames - 1) * SECONDS_A_FRAME + LAST_SECONDS
    keys = [number * SECONDS_A_FRAME / whole for number in range(frames)]
    return Times(";".join(f"{key:.4g}" for key in (*keys, 1)), round(whole, 2))


def blend_colours(share: np.ndarray) -> str:
    """The components' colours, each by its share.  [K] -> #rgb"""
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS])
    rgb = share @ table[np.arange(len(share)) % len(COLOURS)]
    return "#" + "".join(f"{round(value / 17):x}" for value in rgb)


def write_steps(steps: Sequence[int], right: float, times: Times) -> list[str]:
    """The number of the step, one text a frame, of which one is seen."""
    parts = []
    for number, step in enumerate(steps):
        seen = ["1" if other == number else "0" for other in range(len(steps))]
        parts.append(
            f'<text x="{right:g}" y="22" text-anchor="end" fill="#1f2124" opacity="{seen[-1]}">'
            f"step {step:,}{times.animate('opacity', seen, 'discrete')}</text>"
        )
    return parts
