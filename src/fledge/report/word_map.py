"""Words as points of a plane, near each other where their vectors are: by principal components, or
by t-SNE where scikit-learn is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from markupsafe import escape
from torch import Tensor

from fledge.errors import UserError

WIDTH, HEIGHT, EDGE = 900, 640, 16
LETTER, LINE = 6.4, 12.0  # of a name as it is drawn
Projection = Literal["pca", "tsne", "none"]


def project(vectors: Tensor, how: Projection) -> Tensor:
    """[N, D] -> [N, 2], of directions alone. Raises UserError for t-SNE without scikit-learn."""
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    if how != "tsne":
        centred = unit - unit.mean(0)
        _, _, axes = torch.linalg.svd(centred, full_matrices=False)
        # Of both signs of an axis the one by which its largest number is above 0.
        axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()
        return torch.nn.functional.pad(centred @ axes.T, (0, 2 - len(axes)))
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise UserError(
            "map=tsne needs scikit-learn, which is not installed: pip install scikit-learn, or "
            "give map=pca."
        ) from None
    if len(unit) < 4:
        return project(vectors, "pca")
    plan = TSNE(
        2, perplexity=min(15.0, (len(unit) - 1) / 3), init="pca", metric="cosine", random_state=0
    )
    return torch.from_numpy(plan.fit_transform(unit.numpy())).double()


def draw_word_map(words: Sequence[str], points: Tensor) -> str:
    """An SVG with a dot a word, and its name where it lies on no other; the first of the words go
    first.  points: [N, 2]
    """
    x = points.numpy()
    low, high = x.min(0), x.max(0)
    room = np.array([WIDTH - 2 * EDGE - 60, HEIGHT - 2 * EDGE])
    places = EDGE + (x - low) / np.maximum(high - low, 1e-12) * room
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        "<style>text{font:11px sans-serif;fill:#333}circle{fill:#0072b2;opacity:.6}"
        "@media(prefers-color-scheme:dark){text{fill:#ccc}circle{fill:#56b4e9}}</style>",
    ]
    taken: list[tuple[float, float, float]] = []
    for word, (left, top) in zip(words, places.tolist(), strict=True):
        parts.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="2.2"><title>{escape(word)}')
        parts[-1] += "</title></circle>"
        end = left + 5 + LETTER * len(word)
        if any(left < b and a < end and abs(top - y) < LINE for a, b, y in taken):
            continue
        taken.append((left, end, top))
        parts.append(f'<text x="{left + 5:.1f}" y="{top + 4:.1f}">{escape(word)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
