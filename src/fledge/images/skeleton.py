"""The skeleton of a drawing as a graph: ends, crossings, and the lines between them.

As in Lake, Salakhutdinov & Tenenbaum (2015, supplement §3.1): a thinned drawing is walked from
node to node; crossings that lie within one width of the pen are one, and spurs shorter than that
are no lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fledge.images.thinning import AROUND

NEAR = 6.0  # pixels: crossings no farther apart are one
SPUR = 3.5  # pixels: an end no farther from a crossing is none

Pixel = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Line:
    """first, last: numbers of its nodes, which may be one. path: [L, 2] float64, (x, y) of its
    pixels from node to node, y downwards; L = 1 is a dot.
    """

    first: int
    last: int
    path: np.ndarray

    @property
    def length(self) -> float:
        return float(np.linalg.norm(np.diff(self.path, axis=0), axis=1).sum())

    def reversed(self) -> Line:
        return Line(self.last, self.first, self.path[::-1])


@dataclass(frozen=True)
class Skeleton:
    """nodes: [N, 2] float64, (x, y)."""

    nodes: np.ndarray
    lines: tuple[Line, ...]


def trace(thinned: np.ndarray) -> Skeleton:
    """[H, W] bool, one pixel thin (`thin`) -> its graph.  A ring has one node, where tracing it
    began.
    """
    beside = _link(thinned)
    node_of = _number_nodes(beside)
    lines: list[Line] = []
    left = set(beside) - set(node_of)
    walked: set[tuple[Pixel, Pixel]] = set()
    for start in list(node_of):
        if not beside[start]:
            lines.append(Line(node_of[start], node_of[start], _as_path([start])))
        for step in beside[start]:
            same = node_of.get(step) == node_of[start]
            if not same and (start, step) not in walked:
                lines.append(_follow(start, step, beside, node_of, walked, left))
    while left:  # rings
        start = min(left)
        node_of[start] = max(node_of.values(), default=-1) + 1
        lines.append(_follow(start, beside[start][0], beside, node_of, walked, left))
        left.discard(start)
    nodes = np.zeros((len(set(node_of.values())), 2))
    for node in set(node_of.values()):
        nodes[node] = _as_path([each for each, own in node_of.items() if own == node]).mean(0)
    return simplify(Skeleton(nodes, tuple(lines)))


def simplify(given: Skeleton) -> Skeleton:
    """Spurs left out, near crossings made one, lines that meet alone joined; paths begin and end
    at their nodes.
    """
    lines = _drop_spurs(list(given.lines))
    lines, nodes = _merge_crossings(lines, given.nodes)
    lines = _join(_drop_spurs(lines))
    used = sorted({node for line in lines for node in (line.first, line.last)})
    place = {node: i for i, node in enumerate(used)}
    kept = [Line(place[a.first], place[a.last], _pin(a, nodes)) for a in lines]
    return Skeleton(nodes[used], tuple(kept))


def _link(thinned: np.ndarray) -> dict[Pixel, list[Pixel]]:
    """Each pixel's neighbours; a diagonal one only where no other pixel joins the two."""
    pixels = {(int(row), int(column)) for row, column in np.argwhere(thinned)}
    beside: dict[Pixel, list[Pixel]] = {}
    for row, column in sorted(pixels):
        near: list[Pixel] = []
        for down, right in AROUND:
            other = (row + down, column + right)
            diagonal = down != 0 and right != 0
            joined = diagonal and bool({(row + down, column), (row, column + right)} & pixels)
            if other in pixels and not joined:
                near.append(other)
        beside[row, column] = near
    return beside


def _number_nodes(beside: dict[Pixel, list[Pixel]]) -> dict[Pixel, int]:
    """Pixels with two neighbours are on a line; crossings that touch are one node."""
    number: dict[Pixel, int] = {}
    count = 0
    for pixel, near in beside.items():
        if len(near) == 2 or pixel in number:
            continue
        waiting = [pixel]
        while waiting:
            one = waiting.pop()
            number[one] = count
            touching = beside[one] if len(beside[one]) > 2 else []
            waiting += [x for x in touching if len(beside[x]) > 2 and x not in number]
        count += 1
    return number


def _follow(
    start: Pixel,
    step: Pixel,
    beside: dict[Pixel, list[Pixel]],
    node_of: dict[Pixel, int],
    walked: set[tuple[Pixel, Pixel]],
    left: set[Pixel],
) -> Line:
    """From a node on, as far as the next; the way back is walked too."""
    path = [start, step]
    while path[-1] not in node_of:
        left.discard(path[-1])
        one, other = beside[path[-1]]
        path.append(other if one == path[-2] else one)
    walked |= {(path[0], path[1]), (path[-1], path[-2])}
    return Line(node_of[path[0]], node_of[path[-1]], _as_path(path))


def _as_path(pixels: list[Pixel]) -> np.ndarray:
    return np.array(pixels, float)[:, ::-1]


def _count_ends(lines: list[Line]) -> dict[int, int]:
    degree: dict[int, int] = {}
    for line in lines:
        for node in (line.first, line.last):
            degree[node] = degree.get(node, 0) + 1
    return degree


def _drop_spurs(lines: list[Line]) -> list[Line]:
    degree = _count_ends(lines)
    kept: list[Line] = []
    for line in lines:
        ends = sorted((degree[line.first], degree[line.last]))
        spur = line.first != line.last and ends[0] == 1 and ends[1] > 2 and line.length < SPUR
        if not spur:
            kept.append(line)
    return kept


def _merge_crossings(lines: list[Line], nodes: np.ndarray) -> tuple[list[Line], np.ndarray]:
    """The shortest line between two crossings first, until none is short."""
    nodes = nodes.copy()
    while True:
        degree = _count_ends(lines)
        short = [
            line for line in lines
            if line.first != line.last
            and line.length <= NEAR
            and degree[line.first] > 2
            and degree[line.last] > 2
        ]  # fmt: skip
        if not short:
            return lines, nodes
        least = min(short, key=lambda line: line.length)
        stays, goes = least.first, least.last
        nodes[stays] = (nodes[stays] + nodes[goes]) / 2
        moved = [line for line in lines if line is not least]
        lines = [
            Line(
                stays if line.first == goes else line.first,
                stays if line.last == goes else line.last,
                line.path,
            )
            for line in moved
        ]


def _join(lines: list[Line]) -> list[Line]:
    """Two lines that meet where no other ends are one."""
    while True:
        degree = _count_ends(lines)
        for node, ends in degree.items():
            own = [line for line in lines if node in (line.first, line.last)]
            if ends == 2 and len(own) == 2:
                a, b = own
                a = a if a.last == node else a.reversed()
                b = b if b.first == node else b.reversed()
                path = np.concatenate([a.path, b.path[1:]])
                lines = [line for line in lines if line not in own]
                lines.append(Line(a.first, b.last, path))
                break
        else:
            return lines


def _pin(line: Line, nodes: np.ndarray) -> np.ndarray:
    path = line.path.copy()
    path[0], path[-1] = nodes[line.first], nodes[line.last]
    return path
