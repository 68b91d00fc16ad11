"""A model that is counted learns in one pass over the pictures: no speed to measure, no learning
rate, as many steps as there are batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge.algorithms.images.protocol import PictureAlgorithm
from fledge.errors import UserError
from fledge.images.pictures import PictureSet
from fledge.models.images.picture_model import PictureModel
from fledge.recipes.course import Course
from fledge.recipes.images.config import ImagineConfig
from fledge.recipes.images.judging import describe_model, judge_pictures
from fledge.sample.pictures import OnePass
from fledge.splits import Split

OF_LEARNING = ("steps", "learning_rate", "optimizer", "weight_decay", "warmup_steps", "augment")


def check_counted(config: ImagineConfig) -> None:
    """Raises UserError for fields of a learning that there is not."""
    for name in OF_LEARNING:
        value = getattr(config, name)
        if value != type(config).model_fields[name].default:
            raise UserError(
                f"{name}={value} was given, and model={config.model} is counted in one pass over "
                "the pictures: leave it out."
            )


def count_pictures(
    config: ImagineConfig, course: Course, model: PictureModel, parts: Mapping[Split, PictureSet]
) -> PictureAlgorithm:
    """The algorithm, when every picture of the training part was counted once."""
    train, kind = parts["train"], config.entry.algorithm
    course.say(f"{describe_model(config.model, model, train)}, counted in one pass")
    algorithm: Any = kind(config.settings, model, None, config.seed, course.stopwatch)
    once = OnePass(train, config.rows_per_step)
    judges = [judge_pictures(lambda: algorithm.model, parts, config.seed)]
    course.fit(algorithm, once, judges, figure="loss", figure_unit=" nats", steps=once.batches)
    return algorithm
