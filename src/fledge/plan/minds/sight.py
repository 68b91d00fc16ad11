"""Who sees what on a map: two places see each other when the line between their middles passes
through no cell that hides. All in whole numbers, so that corners are no matter of rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_CELLS = 4_000_000  # that are looked at together: a few hundred megabytes


def find_visible(watcher: Tensor, seen: Tensor, hides: Tensor, reach: float) -> Tensor:
    """Which of `seen` are seen from each `watcher`.

    watcher: [S, 2], seen: [P, 2] whole numbers of row and column. hides: [H, W] bool. reach: how
    far one sees, in cells. -> [S, P] bool. A line that only touches a corner or an edge of a cell
    passes by it.
    """
    at_a_time = max(1, MOST_CELLS // max(1, len(seen) * int(hides.sum())))
    return torch.cat([look_from(part, seen, hides, reach) for part in watcher.split(at_a_time)])


def look_from(watcher: Tensor, seen: Tensor, hides: Tensor, reach: float) -> Tensor:
    """Of some watchers, all in one tensor.  -> [s, P] bool"""
    start, end = 2 * watcher[:, None, None] + 1, 2 * seen[None, :, None] + 1  # [S, 1, 1, 2] …
    low = 2 * hides.nonzero()[None, None]  # [1, 1, N, 2]: corners, in half cells
    high = low + 2
    # Open box and segment meet where they overlap along rows, columns and the segment's normal.
    within = (torch.maximum(start, end) > low) & (torch.minimum(start, end) < high)
    along = end - start
    normal = torch.stack([-along[..., 1], along[..., 0]], -1)
    line = (normal * start).sum(-1)
    corners = torch.stack([
        normal[..., 0] * row + normal[..., 1] * column
        for row in (low[..., 0], high[..., 0]) for column in (low[..., 1], high[..., 1])
    ])  # fmt: skip
    between = (corners.amin(0) < line) & (corners.amax(0) > line)
    here = (low == start - 1).all(-1) | (low == end - 1).all(-1)  # one is in it oneself
    hidden = (within.all(-1) & between & ~here).any(-1)
    far = (watcher[:, None] - seen[None]).double().square().sum(-1) > reach**2
    return ~hidden & ~far
