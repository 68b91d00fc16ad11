"""Pictures out of a folder, or a zip archive, of picture files: a folder inside is a label."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from fledge.errors import UserError
from fledge.images.pictures import MOST_LEVELS, PictureSet, make_set

KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm")


def read_folder(path: Path) -> PictureSet:
    """All of one size and number of channels; a picture's label is the folder it lies in.

    Raises UserError for a folder without pictures, one that cannot be read, and one that differs.
    """
    named = list(_list_archive(path) if path.is_file() else _list_folder(path))
    if not named:
        kinds = ", ".join(KINDS[:2])
        raise UserError(f"{path} holds no picture: give a folder with {kinds} files.")
    first, pixels = "", []
    for name, content in named:
        x = decode(content, f"{path}/{name}")
        if pixels and x.shape != pixels[0].shape:
            raise UserError(
                f"{path}/{name} is {_describe(x)}, and {path}/{first} is {_describe(pixels[0])}: "
                "pictures of one set are of one size; resize them first."
            )
        first = first or name
        pixels.append(x)
    folders = [str(PurePosixPath(name).parent) for name, _ in named]
    names = sorted(set(folders))
    x = torch.from_numpy(np.stack(pixels))
    levels = MOST_LEVELS
    if len(names) == 1:
        return make_set(x, None, levels, (), str(path))
    label = torch.tensor([names.index(folder) for folder in folders])
    return make_set(x, label, levels, names, str(path))


def decode(content: bytes, source: str) -> np.ndarray:
    """[C, H, W] uint8: one channel where the picture is grey, black and white or has one colour a
    pixel, else red, green and blue; what is seen through is laid on white.

    Raises UserError for a broken picture, and where Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise UserError(
            "picture files are read by Pillow, which is not here: pip install 'fledge[pictures]', "
            "or give an array (.npy, .npz) or an IDX file."
        ) from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image).convert("RGB")
            if image.mode in ("1", "L", "I", "I;16", "F"):
                return np.asarray(image.convert("L"))[None]
            array = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{source} is no picture that can be read ({error}).") from error
    if (array == array[:, :, :1]).all():
        array = array[:, :, :1]
    return array.transpose(2, 0, 1)


def _list_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in KINDS and file.is_file():
            yield file.relative_to(path).as_posix(), file.read_bytes()


def _list_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if PurePosixPath(name).suffix.lower() in KINDS:
                    yield name, archive.read(name)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): put the whole file back.") from error


def _describe(x: np.ndarray) -> str:
    return f"{x.shape[1]} × {x.shape[2]} with {x.shape[0]} channels"
