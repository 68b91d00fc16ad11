"""What `fledge imagine` reads: pictures, in their three parts."""

from __future__ import annotations

from collections.abc import Mapping

from fledge.errors import UserError
from fledge.images.binarise import binarise
from fledge.images.pictures import PictureSet
from fledge.images.reading import read_pictures
from fledge.recipes.images.config import ImagineConfig
from fledge.splits import FEWEST_TO_SPLIT, Split


def read_parts(config: ImagineConfig) -> Mapping[Split, PictureSet]:
    """Raises UserError for pictures that cannot be read, and for too few of them."""
    given = binarise(read_pictures(config.data), config.binarise)
    parts = given.split()
    if parts is None:
        raise UserError(
            f"{config.data} has fewer than {FEWEST_TO_SPLIT} different pictures: none can be held "
            "out to judge by. Give more."
        )
    if config.test is None:
        return parts
    test = binarise(read_pictures(config.test), config.binarise)
    if test.shape != given.shape:
        raise UserError(
            f"test={config.test} has pictures of {test.shape.describe()} and labels "
            f"{', '.join(test.shape.names) or 'none'}, data={config.data} of "
            f"{given.shape.describe()} and labels {', '.join(given.shape.names) or 'none'}: give "
            "two sets of one kind."
        )
    return {**parts, "test": test}
