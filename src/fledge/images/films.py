"""Films: N of T frames, each a picture, with what was done between one and the next; read from and
written to .npz.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fledge.array_file import read_arrays
from fledge.errors import UserError
from fledge.images.pictures import (
    MOST_LEVELS,
    UNKNOWN,
    Pictures,
    PictureSet,
    PictureShape,
    digest_of,
)
from fledge.splits import SPLITS, Split, divide
from fledge.trajectories import Rows


@dataclass(frozen=True)
class Films(Rows):
    """frames: [B, T, C, H, W] uint8. action: [B, T−1] int64, 0 where nobody acts. label: [B, T]
    int64, of each frame, or `UNKNOWN`.
    """

    frames: Tensor
    action: Tensor
    label: Tensor

    def count_actions(self) -> int:
        return len(self)


@dataclass(frozen=True)
class FilmSet:
    """Films of one length. shape: of a frame, with the names of its labels. actions: their names;
    none where nobody acts.
    """

    rows: Films
    shape: PictureShape
    actions: tuple[str, ...] = ()
    source: str = "the films"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def frames_each(self) -> int:
        return self.rows.frames.shape[1]

    @property
    def labelled(self) -> bool:
        return bool(self.shape.names)

    def take(self, index: Tensor | slice) -> FilmSet:
        return replace(self, rows=self.rows[index])

    def as_pictures(self) -> PictureSet:
        """Every frame of every film, one after the other."""
        rows = Pictures(self.rows.frames.flatten(0, 1), self.rows.label.flatten())
        return PictureSet(rows, self.shape, self.source)

    def split(self) -> dict[Split, FilmSet] | None:
        """As `PictureSet.split`, film by film: frames of one film stay on one side."""
        keys = [digest_of(each) for each in self.rows.frames]
        sides = divide(keys)
        if sides is None:
            return None
        places: dict[Split, list[int]] = {split: [] for split in SPLITS}
        for place, key in enumerate(keys):
            places[sides[key]].append(place)
        return {split: self.take(torch.tensor(own)) for split, own in places.items()}


def make_films(
    frames: Tensor,
    action: Tensor | None,
    label: Tensor | None,
    *,
    actions: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    source: str = "the films",
) -> FilmSet:
    """frames: [N, T, C, H, W] uint8 of 256 levels. action: [N, T−1]. label: [N, T]."""
    N, T, C, H, W = frames.shape
    if action is None:
        action = torch.zeros(N, T - 1, dtype=torch.long)
    if label is None:
        label, names = torch.full((N, T), UNKNOWN), ()
    shape = PictureShape(C, H, W, MOST_LEVELS, names)
    return FilmSet(Films(frames.contiguous(), action.long(), label.long()), shape, actions, source)


def encode_films(given: FilmSet) -> bytes:
    """As an .npz that `read_films` reads: frames, action, and label where there are any."""
    arrays = {"frames": given.rows.frames.numpy(), "action": given.rows.action.numpy()}
    if given.labelled:
        arrays["label"] = given.rows.label.numpy()
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def are_films(path: Path) -> bool:
    """Whether an .npz holds films: it has `frames`."""
    return path.suffix == ".npz" and "frames" in read_arrays(path)


def read_films(path: Path) -> FilmSet:
    """frames: [N, T, C, H, W] bytes, of 1 or 3 channels. action: [N, T−1] whole numbers from 0 on.
    label: [N, T], where frames have labels. Raises UserError for anything else.
    """
    arrays = read_arrays(path)
    frames = arrays.get("frames")
    if frames is None or frames.ndim != 5 or frames.dtype != np.uint8 or 0 in frames.shape:
        given = "no `frames`" if frames is None else f"{list(frames.shape)} of {frames.dtype}"
        raise UserError(
            f"{path} has {given}: films are `frames`, [N, T, C, H, W] of bytes (uint8)."
        )
    N, T, C = frames.shape[:3]
    if T < 2 or C not in (1, 3):
        raise UserError(
            f"{path} has films of {T} frames with {C} channels: give 2 or more, of 1 or 3 channels."
        )
    action = _whole_numbers(path, arrays, "action", (N, T - 1))
    label = _whole_numbers(path, arrays, "label", (N, T))
    actions = () if action is None else tuple(map(str, range(int(action.max()) + 1)))
    names = () if label is None else tuple(map(str, range(int(label.max()) + 1)))
    return make_films(
        torch.from_numpy(frames), action, label, actions=actions, names=names, source=str(path)
    )


def _whole_numbers(
    path: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> Tensor | None:
    given = arrays.get(name)
    if given is None:
        return None
    if given.shape != shape or given.dtype.kind not in "iu" or given.min() < 0:
        raise UserError(
            f"{path} has `{name}` of shape {list(given.shape)} and type {given.dtype}: give whole "
            f"numbers from 0 on, of shape {list(shape)}."
        )
    return torch.from_numpy(given.astype(np.int64))
