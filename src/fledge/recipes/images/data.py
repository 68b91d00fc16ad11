"""What `fledge imagine` reads: pictures, in their three parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.images.binarise import binarise
from fledge.images.films import FilmSet, are_films, read_films
from fledge.images.pictures import PictureSet
from fledge.images.reading import DIGITS, read_pictures
from fledge.recipes.images.config import ImagineConfig
from fledge.splits import FEWEST_TO_SPLIT, Split
from fledge.worlds.filmed import PREFIX, film_world


def read_parts(config: ImagineConfig) -> Mapping[Split, Any]:
    """Pictures, or films where the model is of films; the frames of films are pictures to any
    other.  Raises UserError for what cannot be read, is of the other kind, or is too little.
    """
    films = getattr(config.entry.algorithm, "reads", "pictures") == "films"
    given: Any = read_kind(config, config.data, films)
    parts: Mapping[Split, Any] | None = given.split()
    if parts is None:
        raise UserError(
            f"{config.data} has fewer than {FEWEST_TO_SPLIT} different "
            f"{'films' if films else 'pictures'}: none can be held out to judge by. Give more."
        )
    if config.test is not None:
        test = read_kind(config, config.test, films)
        if test.shape != given.shape:
            raise UserError(
                f"test={config.test} has pictures of {test.shape.describe()} and labels "
                f"{', '.join(test.shape.names) or 'none'}, data={config.data} of "
                f"{given.shape.describe()} and labels {', '.join(given.shape.names) or 'none'}: "
                "give two sets of one kind."
            )
        parts = {**parts, "test": test}
    if films or not isinstance(given, FilmSet):
        return parts
    frames: dict[Split, PictureSet] = {
        part: binarise(each.as_pictures(), config.binarise) for part, each in parts.items()
    }
    return frames


def read_kind(config: ImagineConfig, name: str, films: bool) -> PictureSet | FilmSet:
    """Raises UserError for pictures where films are wanted, and for what pictures have and films do
    not.
    """
    given = read_films_of(name)
    if given is None and films:
        raise UserError(
            f"model={config.model} learns from films, and {name} holds pictures: give "
            f"data={PREFIX}gridworld, {PREFIX}CartPole-v1 or {PREFIX}digits, or an .npz with "
            "`frames` [N, T, C, H, W]."
        )
    if given is None:
        return binarise(read_pictures(name), config.binarise)
    for field, asked in (
        ("augment", bool(config.augment)),
        ("binarise", config.binarise != "none"),
    ):
        if films and asked:
            raise UserError(f"{field}= was given, and films are not changed by it: leave it out.")
    return given


def read_films_of(name: str) -> FilmSet | None:
    """Those of a world of ours, or of an .npz; None of a name that has pictures."""
    if name.startswith(PREFIX):
        return film_world(name)
    path = Path(name).expanduser()
    return read_films(path) if path.is_file() and are_films(path) else None


def is_embedded(name: str) -> bool:
    """Whether it is no file: it comes with the package."""
    return name == DIGITS or name.startswith(PREFIX)
