"""`data=`: the embedded digits or scribbles, an IDX file, arrays, a folder of pictures or of
strokes.
"""

from __future__ import annotations

from pathlib import Path

import torch

from fledge.array_file import SUFFIXES
from fledge.errors import UserError
from fledge.images.arrays import from_arrays
from fledge.images.digits import load_digits
from fledge.images.folder import read_folder
from fledge.images.idx import is_idx, read_idx
from fledge.images.pictures import MOST_LEVELS, PictureSet, make_set
from fledge.images.scribbles import draw_scribbles
from fledge.images.strokes import holds_strokes, read_strokes

DIGITS = "digits"
SCRIBBLES = "scribbles"


def read_pictures(name: str | Path) -> PictureSet:
    """name: `digits`, or a file or folder. The labels of …-images-idx3-ubyte are those of the
    …-labels-idx1-ubyte beside it.

    Raises UserError for what is not there, or holds no pictures.
    """
    if str(name) == DIGITS:
        return load_digits()
    if str(name) == SCRIBBLES:
        return draw_scribbles()
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(
            f"there is no {path}: give data={DIGITS}, a folder of pictures, an IDX file, or a "
            ".npy, .npz or .safetensors."
        )
    if path.is_dir() or path.suffix == ".zip":
        return read_strokes(path) if holds_strokes(path) else read_folder(path)
    if path.suffix in SUFFIXES:
        return from_arrays(path)
    if is_idx(path):
        return _from_idx(path)
    raise UserError(
        f"{path} is of no kind that is read: give a folder of pictures or a .zip of it, an IDX "
        "file (its name has -idx3-ubyte in it), or a .npy, .npz or .safetensors."
    )


def _from_idx(path: Path) -> PictureSet:
    x = read_idx(path)
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise UserError(
            f"{path} is of {' × '.join(map(str, x.shape))}: pictures are N × rows × columns; give "
            "the file with `images` in its name."
        )
    pixels = torch.from_numpy(x if x.ndim == 4 else x[:, None])
    beside = path.with_name(path.name.replace("images", "labels").replace("-idx3", "-idx1"))
    if beside == path or not beside.exists():
        return make_set(pixels, None, MOST_LEVELS, (), str(path))
    y = read_idx(beside)
    if y.shape != (len(x),):
        raise UserError(
            f"{beside} has {len(y):,} labels, and {path.name} {len(x):,} pictures: give the files "
            "that belong together."
        )
    names = [str(n) for n in range(int(y.max()) + 1)]
    return make_set(pixels, torch.from_numpy(y), MOST_LEVELS, names, str(path))
