"""`fledge imagine`: a model learns to make what the data is like."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from fledge.algorithms.images.own import OwnImages
from fledge.algorithms.images.protocol import PictureAlgorithm
from fledge.algorithms.own import OwnClass
from fledge.recipes.course import Start, Summary
from fledge.recipes.images.building import Learns, build_model
from fledge.recipes.images.conclusion import conclude
from fledge.recipes.images.config import ImagineConfig as ImagineConfig
from fledge.recipes.images.counting import check_counted, count_pictures
from fledge.recipes.images.data import is_embedded, read_parts
from fledge.recipes.images.judging import describe_model, list_judges
from fledge.recipes.images.quality import check_count
from fledge.recipes.texts.imagine_texts import imagine_texts
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.pictures import PictureBatches

VERB = "imagine"


def imagine(config: ImagineConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for data that cannot be read, or is not what the model is of."""
    start = Start(VERB, show, run)
    config = config.composed()
    check_count(config.judged_samples)
    kind: Any = config.entry.algorithm
    if getattr(kind, "reads", "pictures") == "texts":
        return imagine_texts(config, start)
    if isinstance(kind, OwnClass):
        kind = OwnImages(kind)
    counted = getattr(kind, "counted", False)
    if counted:
        check_counted(config)
    parts = read_parts(config)
    train = parts["train"]
    model: Any = build_model(config, kind, train)
    config.set_checkpointing(model)
    with start.begin(config, parents=list_parents(config), data=list_files(config)) as course:
        if counted:
            return conclude(config, course, count_pictures(config, course, model, parts), parts)
        model = model.to(config.on())
        # What is counted in closed form is counted over all of them.
        rows = len(train) if getattr(kind, "whole", False) else config.rows_per_step
        batches = PictureBatches(train, rows, config.seed, config.augment)
        typical = PictureBatches(train, rows, config.seed).__next__()
        speed = course.settle_speed(
            config, Learns(model), typical, equal_rows=True,
            share=lambda twin, rows: kind.share(twin.network, rows),
        )  # fmt: skip
        course.say(f"{describe_model(config.model, model, train)}, {speed.describe()}")
        make_learner = partial(config.learner, precision=speed.precision)
        algorithm: PictureAlgorithm = kind(
            config.settings, model, make_learner, config.seed, course.stopwatch
        )
        judges = list_judges(config, lambda: algorithm.model, parts)
        unit = "" if model.measure == "none" else getattr(kind, "loss_unit", " nats")
        course.fit(algorithm, batches, judges, figure="loss", figure_unit=unit)
        return conclude(config, course, algorithm, parts)


def list_parents(config: ImagineConfig) -> list[Path]:
    """The run that a model is built on, where it is."""
    base: str | None = getattr(config, "base", None)
    return [Path(base)] if base else []


def list_files(config: ImagineConfig) -> list[str]:
    """For the run's lineage: what does not come with the package."""
    target: str | None = getattr(config.settings, "target", None)
    named = [name for name in (config.data, config.test, target) if name]
    return [name for name in named if not is_embedded(name)] + config.own_code
