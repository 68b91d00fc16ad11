"""`fledge fit`: a model of what cannot be seen, fitted to points by raising a bound."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fledge.algorithms.latent.black_box_vi import BlackBoxVI
from fledge.algorithms.latent.choice_of_k import ChoiceOfK
from fledge.algorithms.latent.own import OwnLatent
from fledge.algorithms.latent.protocol import LatentAlgorithm
from fledge.algorithms.own import OwnClass
from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.recipes.course import Start, Summary
from fledge.recipes.latent.conclusion import conclude
from fledge.recipes.latent.config import FitConfig
from fledge.recipes.latent.data import choose_block, describe, read_parts
from fledge.recipes.latent.film import Filmed
from fledge.recipes.latent.gradient_watch import WatchedGradients
from fledge.recipes.latent.spoken_bound import SpokenBound
from fledge.rows.sequences import Sequences
from fledge.runs.atomic import write_text
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.points import PointBlocks
from fledge.splits import HeldOut, Split


def fit(config: FitConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for data that cannot be read or fitted."""
    start = Start("fit", show, run)
    config = config.composed()
    parts, apart = read_parts(config)
    train = parts["train"]
    blocks = PointBlocks(train, choose_block(config), config.seed)
    algorithm = build(config, start, train, parts["validation"])
    if config.film and isinstance(algorithm, BlackBoxVI):
        watched = WatchedGradients(algorithm)
    else:
        watched = Filmed(algorithm)
    if run is None or not run.checkpoints.steps() or isinstance(algorithm, BlackBoxVI):
        algorithm.begin(train)  # what cannot be fitted is said before there is a folder
    with start.begin(config, data=[config.data, *config.own_code, *config.own_files]) as course:
        course.say(describe(config, train))
        steps = config.steps * max(1, len(config.every_k))
        spoken = SpokenBound(watched, show.line)
        course.fit(
            spoken, blocks, [judge_points(config, algorithm, parts, apart)], figure="elbo",
            figure_unit=" nats", converged=lambda: algorithm.done, steps=steps,
        )  # fmt: skip
        spoken.say_bound()
        own: dict[str, Any] = {"model": config.model}
        if isinstance(watched, WatchedGradients):
            own["gradient_variances"] = watched.summarise()
        elif config.film and (film := watched.draw(train)) is not None:
            write_text(course.run.folder / "film.svg", film)
        return conclude(config, course, algorithm, parts, own)


def build(
    config: FitConfig, start: Start, train: Any, validation: Any
) -> LatentAlgorithm | ChoiceOfK:
    """The algorithm; where several numbers of components are asked for, one that tries each."""
    kind: Any = config.entry.algorithm
    settings: Any = config.settings
    if isinstance(kind, OwnClass):
        kind = partial(OwnLatent, kind)
    make = partial(kind, seed=config.seed, stopwatch=start.stopwatch)
    if hasattr(settings, "check_points"):
        settings.check_points(train)
    if len(config.every_k) < 2:
        return make(settings)
    if config.figure != "log_likelihood":
        raise UserError(
            f"model={config.model} has no likelihood by which to choose k={settings.k}: give one "
            "number, or model=gmm covariance=spherical."
        )
    return ChoiceOfK(
        lambda k: make(settings.replace(k=str(k))), config.every_k, config.steps, train, validation
    )


def judge_points(
    config: FitConfig, algorithm: LatentAlgorithm, parts: Mapping[Split, Any], apart: bool
) -> Judge:
    """By the log-likelihood of held-out points."""
    figure = config.figure

    def read(part: HeldOut, step: int) -> Figures:
        points = parts[part]
        return {figure: algorithm.log_likelihood(points) / points.total}

    items: dict[HeldOut, int] = {part: len(parts[part]) for part in ("validation", "test")}
    return Judge(
        read, headline=figure, items=items, apart=apart, prefix="validation_",
        what="sequence" if isinstance(parts["train"], Sequences) else "point",
    )  # fmt: skip
