"""Which labels are taken for which, as a table: a row a true label, a column what was said."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup, escape

from fledge.report.drawn import Drawn

MOST = 12  # labels that one picture has room for
NAMED = 3  # confusions that are said in words
WIDTH = 400
_LETTER = 6.6
_LONGEST = 14  # letters of a label


def draw_confusions(summary: dict[str, Any]) -> list[Drawn]:
    """Of the test part; nothing of a run that has no such table. Of more labels than there is room
    for those that are most often taken for others, or others for them.
    """
    labels, table = summary.get("labels"), summary.get("confusions")
    if not isinstance(labels, list) or not isinstance(table, list):
        return []
    counts = np.asarray(table, dtype=np.int64)  # [L, L]
    if counts.shape != (len(labels), len(labels)) or not counts.sum():
        return []
    wrong = counts - np.diag(np.diag(counts))
    mixed = wrong.sum(0) + wrong.sum(1)
    kept = np.sort(np.argsort(-mixed, kind="stable")[:MOST])
    names = [str(labels[n]) for n in kept]
    svg = _draw_table(names, counts[np.ix_(kept, kept)])
    which = "" if len(labels) <= MOST else f"the {MOST} of {len(labels)} that are confused most; "
    unit = f"{which}a row what is true, a column what was said, of the test part"
    return [Drawn("Confusions", unit, svg, [], describe(labels, wrong))]


def describe(labels: list[Any], wrong: np.ndarray) -> str:
    """The most frequent confusions in words.  [L, L], 0 on the diagonal"""
    order = np.argsort(-wrong, axis=None, kind="stable")[:NAMED]
    pairs = [divmod(int(place), len(labels)) for place in order]
    said = [
        f"{labels[true]} taken for {labels[other]} {wrong[true, other]:,} times"
        for true, other in pairs
        if wrong[true, other]
    ]
    return " · ".join(said) if said else "none was taken for another"


def _draw_table(names: list[str], counts: np.ndarray) -> Markup:
    short = [n if len(n) <= _LONGEST else f"{n[: _LONGEST - 1]}…" for n in names]
    left = 10 + _LETTER * max(map(len, short))
    side = min(56.0, (WIDTH - left - 2) / len(names))
    top = left
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    parts = []
    for row, name in enumerate(short):
        y, x = top + row * side, left + row * side
        parts.append(
            f'<text x="{left - 6:.1f}" y="{y + side / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(name)}</text>"
            f'<text transform="translate({x + side / 2 + 4:.1f} {top - 6:.1f}) rotate(-90)">'
            f"{escape(name)}</text>"
        )
        for column in range(len(names)):
            x, share = left + column * side, float(shares[row, column])
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}" '
                f'rx="2" fill="currentColor" fill-opacity="{0.04 + 0.4 * share:.3f}"/>'
                f'<text x="{x + side / 2:.1f}" y="{y + side / 2 + 4:.1f}" text-anchor="middle">'
                f"{counts[row, column]:,}</text>"
            )
    said = "; ".join(
        f"{name}: {', '.join(f'{n:,} {other}' for n, other in zip(row, names, strict=True) if n)}"
        for name, row in zip(names, counts.tolist(), strict=True)
    )
    height = top + len(names) * side + 2
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height:.1f}" role="img" '
        f'aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )
