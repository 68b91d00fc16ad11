"""The page of `fledge show attention`: one head large, with its tokens, and every head small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fledge.report.heat_map import draw_heat_map
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter


@dataclass(frozen=True)
class Head:
    """One head in figures. distance: tokens it looks back, on average. spread: over how many, as
    exp of the entropy; then the shares on the first token, the one before and itself.
    """

    layer: int
    head: int
    distance: float
    spread: float
    first: float
    before: float
    itself: float


def draw_attention(
    source: str,
    names: Sequence[str],
    windows: Sequence[int],
    maps: np.ndarray,
    heads: Sequence[Head],
    large: Head,
) -> Page:
    """maps [layers, heads, T, T], rows sum to 1. windows: how many tokens a layer looks at, 0 for
    all, each once.
    """
    layers = maps.shape[0]
    reach = " or ".join(f"the last {window:,}" if window else "all before it" for window in windows)
    return Page(
        "attention",
        f"What each token of a text looks at in {source}: rows look, columns are looked at. Above "
        "the diagonal lies what has not been read yet.",
        (
            ("from", source),
            ("tokens", f"{len(names):,}"),
            ("layers × heads", f"{layers} × {maps.shape[1]}"),
            ("a token looks at", reach),
        ),
        (
            ShowChapter(
                f"Layer {large.layer}, head {large.head}",
                "Each row is one token’s attention and sums to 1. The depth of the colour is the "
                "square root of a share, so that small ones show.",
                [_draw(maps, large, names, width=560)],
                formula="softmax(q·k / √d), over the tokens it may look at",
                layout="wide",
            ),
            *[
                ShowChapter(
                    f"Layer {layer}",
                    "",
                    [_draw(maps, each) for each in heads if each.layer == layer],
                    layout="small",
                )
                for layer in range(1, layers + 1)
            ],
            ShowChapter(
                "Every head in figures",
                "Means over the tokens after the first. Spread over 1 token is sharp; spread over "
                "as many as there are is a plain mean.",
                heads=("layer", "head", "looks back", "spread over", "first", "before", "itself"),
                rows=[
                    (
                        each.layer, each.head, f"{each.distance:.1f} tokens",
                        f"{each.spread:.1f} tokens",
                        *(f"{share:.0%}" for share in (each.first, each.before, each.itself)),
                    )
                    for each in heads
                ],
            ),
        ),
    )  # fmt: skip


def _draw(maps: np.ndarray, head: Head, names: Sequence[str] = (), *, width: int = 400) -> Picture:
    weights = maps[head.layer - 1, head.head - 1]
    said = f"looks back {head.distance:.1f} tokens, spread over {head.spread:.1f}"
    svg = draw_heat_map(
        np.sqrt(weights),
        description=f"layer {head.layer}, head {head.head}: {said}",
        rows=names,
        columns=names,
        width=width,
    )
    return Picture(f"Head {head.head}", "", svg, (), f"{said[0].upper()}{said[1:]}.")
