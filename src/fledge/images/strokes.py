"""Drawings as they were drawn: where the pen was and when; Omniglot's stroke files.

A file is a drawing: START, then a line `x,y,t` a point (y is negative below the upper edge, t in
milliseconds), and BREAK where the pen left the paper (Lake, Salakhutdinov & Tenenbaum 2015).
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.images.ink import PAPER, draw_ink
from fledge.images.pictures import Pictures, PictureSet, PictureShape

NONE = -1  # the stroke of a point that is padding
Stroke = np.ndarray  # [L, 3] float32: x and y in pixels, y downwards; t in milliseconds


@dataclass(frozen=True)
class Drawings(Pictures):
    """Pictures of ink whose strokes are known. points: [B, P, 3] float32 (x, y, t). stroke: [B, P]
    int16, which one of its drawing a point is of, or `NONE`.
    """

    points: Tensor
    stroke: Tensor

    def strokes_of(self, row: int) -> list[Stroke]:
        """In the order in which they were drawn."""
        which, points = self.stroke[row].numpy(), self.points[row].numpy()
        return [points[which == i] for i in range(int(which.max()) + 1)]


def make_drawings(
    drawn: Sequence[Sequence[Stroke]], labels: Sequence[str], source: str
) -> PictureSet:
    """Of each drawing its strokes and what it is of; the ink is laid on paper of 105 × 105."""
    most = max(sum(len(stroke) for stroke in strokes) for strokes in drawn)
    points = torch.zeros(len(drawn), most, 3)
    which = torch.full((len(drawn), most), NONE, dtype=torch.int16)
    x = torch.zeros(len(drawn), 1, PAPER, PAPER, dtype=torch.uint8)
    for row, strokes in enumerate(drawn):
        flat = np.concatenate(list(strokes))
        points[row, : len(flat)] = torch.from_numpy(flat)
        number = [np.full(len(stroke), i) for i, stroke in enumerate(strokes)]
        which[row, : len(flat)] = torch.from_numpy(np.concatenate(number)).to(torch.int16)
        x[row, 0] = draw_ink([torch.from_numpy(stroke[:, :2]) for stroke in strokes])
    names = sorted(set(labels))
    place = {name: i for i, name in enumerate(names)}
    label = torch.tensor([place[each] for each in labels])
    shape = PictureShape(1, PAPER, PAPER, 2, tuple(names))
    return PictureSet(Drawings(x, label, points, which), shape, source)


def holds_strokes(path: Path) -> bool:
    """Whether the first text file in a folder or archive is a drawing."""
    return next((text for _, text in _list_texts(path)), "").lstrip().startswith("START")


def read_strokes(path: Path) -> PictureSet:
    """A folder, or a .zip, of drawings; the folders that one lies in are what it is of.

    Raises UserError for what is no drawing, with its line.
    """
    drawn: list[list[Stroke]] = []
    labels: list[str] = []
    for name, text in _list_texts(path):
        drawn.append(parse_strokes(text, f"{path}/{name}"))
        labels.append("/".join(PurePosixPath(name).parts[:-1][-2:]))
    if not drawn:
        raise UserError(f"{path} holds no drawing: give a folder or .zip of Omniglot's strokes.")
    return make_drawings(drawn, labels, str(path))


def parse_strokes(text: str, source: str) -> list[Stroke]:
    """Raises UserError for a line that is no point, and a drawing without any."""
    strokes: list[list[tuple[float, float, float]]] = [[]]
    for number, line in enumerate(text.split("\n"), 1):
        words = line.strip()
        if words == "BREAK":
            strokes.append([])
        elif words not in ("", "START"):
            strokes[-1].append(_parse_point(words, f"{source}, line {number}"))
    drawn = [np.array(points, np.float32) for points in strokes if points]
    if not drawn:
        raise UserError(f"{source} has no point: it is no drawing. Leave the file out.")
    return drawn


def _parse_point(words: str, where: str) -> tuple[float, float, float]:
    try:
        x, y, t = (float(word) for word in words.split(","))
    except ValueError:
        x = y = t = math.nan
    if not all(map(math.isfinite, (x, y, t))):
        raise UserError(f"{where} is “{words[:40]}”: a point is three numbers, x,y,milliseconds.")
    if not (-PAPER < x < 2 * PAPER and -2 * PAPER < y < PAPER):
        raise UserError(
            f"{where} is “{words[:40]}”, far off the paper: x is from 0 to {PAPER}, y from "
            f"−{PAPER} to 0."
        )
    return x, -y, t


def _list_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Names and contents of .txt files, without those that a Mac adds."""
    if path.is_dir():
        files = sorted(path.rglob("*.txt"))
        for file in files:
            yield file.relative_to(path).as_posix(), file.read_text("utf-8", "replace")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                at = PurePosixPath(name)
                hidden = at.parts[0] == "__MACOSX" or at.name.startswith(".")
                if at.suffix == ".txt" and not hidden:
                    yield name, archive.read(name).decode("utf-8", "replace")
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): put the whole file back.") from error
