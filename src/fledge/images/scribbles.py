"""Drawings of a few invented characters by invented hands: strokes without any file.

A character is one to three strokes of lines, hooks and arcs, each somewhere or where an earlier
one begins, ends or passes; a hand moves, turns and resizes it, and each stroke a little. The pen
goes 0.1 pixels a millisecond and rests where a stroke turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fledge.images.ink import PAPER
from fledge.images.pictures import PictureSet
from fledge.images.strokes import Stroke, make_drawings

CHARACTERS, HANDS = 20, 10
MS_PER_PIXEL, REST_MS = 10.0, 250.0
FAR = 10  # pixels of the edge that a character leaves free


@dataclass(frozen=True)
class Piece:
    """start: [2]. turns: how far it goes on either side of a straight line, in radians. length:
    pixels. angle: of its first step.
    """

    start: np.ndarray
    angle: float
    turn: float
    length: float

    def walk(self) -> np.ndarray:
        """[L, 2], a point every two pixels."""
        count = max(2, round(self.length / 2))
        angles = self.angle + self.turn * np.linspace(0, 1, count)
        steps = np.stack([np.cos(angles), np.sin(angles)], 1) * (self.length / count)
        return self.start + np.concatenate([np.zeros((1, 2)), steps.cumsum(0)])


def invent_character(random: np.random.Generator) -> list[list[np.ndarray]]:
    """Of each stroke its pieces, [L, 2] pixels; on paper, with an edge left free."""
    while True:
        strokes: list[list[np.ndarray]] = []
        for _ in range(random.integers(1, 4)):
            start = _choose_start(strokes, random)
            pieces: list[np.ndarray] = []
            angle = random.uniform(-0.3, np.pi / 2 + 0.3)
            for _ in range(random.integers(1, 3)):
                turn = random.choice([0.0, 0.0, 2.0, -2.0, 4.5])
                piece = Piece(start, angle, float(turn), random.uniform(25, 60)).walk()
                pieces.append(piece)
                start = piece[-1]
                angle = angle + turn + random.choice([-1, 1]) * random.uniform(1.4, 2.4)
            strokes.append(pieces)
        every = np.concatenate([piece for stroke in strokes for piece in stroke])
        if every.min() >= FAR and every.max() <= PAPER - 1 - FAR:
            return strokes


def _choose_start(strokes: list[list[np.ndarray]], random: np.random.Generator) -> np.ndarray:
    where = int(random.integers(4))
    if where == 0 or not strokes:
        return random.uniform(20, 60, 2)
    earlier = np.concatenate(strokes[random.integers(len(strokes))])
    along = int(random.integers(len(earlier)))
    return earlier[{1: 0, 2: -1}.get(where, along)]


def draw_by_hand(character: list[list[np.ndarray]], random: np.random.Generator) -> list[Stroke]:
    """The same character as another hand draws it, with its times."""
    middle = np.full(2, PAPER / 2)
    affine = np.diag(random.normal(1, 0.07, 2)) + random.normal(0, 0.05, (2, 2))
    shift = random.normal(0, 2.0, 2)
    strokes: list[Stroke] = []
    now = 0.0
    for pieces in character:
        own = random.normal(0, 1.0, 2)
        points: list[np.ndarray] = []
        for i, piece in enumerate(pieces):
            path = (piece - middle) @ affine.T + middle + shift + own
            run = np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum() * MS_PER_PIXEL
            now += REST_MS if i else 4 * REST_MS
            times = now + np.concatenate([[0.0], run])
            now = times[-1]
            points.append(np.column_stack([path, times]))
        strokes.append(np.concatenate(points).clip(0).astype(np.float32))
    return strokes


def draw_scribbles(characters: int = CHARACTERS, hands: int = HANDS, seed: int = 0) -> PictureSet:
    """hands: drawings of each character."""
    random = np.random.default_rng(seed)
    invented = [invent_character(random) for _ in range(characters)]
    drawn = [draw_by_hand(each, random) for each in invented for _ in range(hands)]
    labels = [f"scribble{i:02d}" for i in range(characters) for _ in range(hands)]
    return make_drawings(drawn, labels, "scribbles")
