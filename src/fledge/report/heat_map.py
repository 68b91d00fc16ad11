"""A matrix as a picture: one dot a number, the deeper the larger, in a colour that shows on light
paper and on dark.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from fledge.images.png import encode_png

_BLUE, _ORANGE = (0, 114, 178), (213, 94, 0)  # the first two colours of the style sheet
_LABELLED = 26  # rows beyond which names would lie on each other
_LETTER = 6.0


def encode_map(values: np.ndarray) -> bytes:
    """A PNG with one pixel a number: its amount is how much covers the paper, its sign the colour.
    values [H, W] in [−1, 1]
    """
    height, width = values.shape
    pixels = np.zeros((height, width, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(values[..., None] >= 0, _BLUE, _ORANGE)
    pixels[..., 3] = np.rint(255 * np.abs(values).clip(0, 1))
    return encode_png(pixels)


def draw_heat_map(
    values: np.ndarray,
    *,
    description: str,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    width: int = 400,
) -> Markup:
    """values [H, W] in [−1, 1], with a name for each row and column, where there is room for
    names.
    """
    height, across = values.shape
    names = bool(rows) and max(height, across) <= _LABELLED
    left = 8 + _LETTER * max((len(name) for name in rows), default=0) if names else 1
    top = 8 + _LETTER * max((len(name) for name in columns), default=0) if names else 1
    side = (width - left - 2) / across
    tall = side * height
    picture = base64.b64encode(encode_map(values)).decode("ascii")
    parts = [
        f'<rect class="frame" x="{left:.1f}" y="{top:.1f}" width="{side * across:.1f}" '
        f'height="{tall:.1f}"/>',
        f'<image x="{left:.1f}" y="{top:.1f}" width="{side * across:.1f}" height="{tall:.1f}" '
        f'preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{picture}"/>',
    ]
    if names:
        for number, name in enumerate(rows):
            y = top + (number + 0.5) * side + 4
            parts.append(
                f'<text x="{left - 5:.1f}" y="{y:.1f}" text-anchor="end">{escape(name)}</text>'
            )
        for number, name in enumerate(columns):
            x = left + (number + 0.5) * side + 4
            parts.append(
                f'<text transform="translate({x:.1f} {top - 5:.1f}) rotate(-90)">'
                f"{escape(name)}</text>"
            )
    return Markup(
        f'<svg class="map" viewBox="0 0 {width} {top + tall + 2:.1f}" role="img" '
        f'aria-label="{escape(description)}">{"".join(parts)}</svg>'
    )
