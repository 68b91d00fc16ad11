"""`fledge fit`: a model of what cannot be seen, fitted to points by raising a bound."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from fledge.algorithms.latent.black_box_vi import BlackBoxVI
from fledge.algorithms.latent.choice_of_k import ChoiceOfK
from fledge.algorithms.latent.own import OwnLatent
from fledge.algorithms.latent.protocol import LatentAlgorithm
from fledge.algorithms.latent.sequence_settings import SequenceSettings
from fledge.algorithms.latent.settings import MixtureSettings
from fledge.algorithms.latent.weak_supervision import WeakSupervision
from fledge.algorithms.own import OwnClass
from fledge.algorithms.registry import Subject, names_of
from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.models.latent.label_model import LabelModel
from fledge.models.latent.latent_model import save_latent
from fledge.next_command import write_command
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.latent.film import Filmed
from fledge.recipes.latent.gradient_watch import WatchedGradients
from fledge.recipes.latent.sequence_data import read_sequence_parts
from fledge.recipes.latent.sequence_words import (
    describe_classes,
    describe_sequences,
    list_text_classes,
)
from fledge.recipes.latent.spoken_bound import SpokenBound
from fledge.recipes.latent.weak import conclude_weak, read_vote_parts
from fledge.rows.point_files import read_points
from fledge.rows.points import Points, split_points
from fledge.rows.sequences import Sequences
from fledge.runs.atomic import write_text
from fledge.runs.folder import Run
from fledge.runs.model_files import write_model
from fledge.runs.show import Show
from fledge.sample.points import PointBlocks
from fledge.splits import HeldOut, Split

BLOCK_POINTS = 1_000


class FitConfig(AlgorithmFields):
    """Infer what cannot be seen: which component a point is of, which factors it is made of. Every
    step raises a bound on the log-likelihood, and prints it.
    """

    subject: ClassVar[Subject] = "latent"
    choice: ClassVar[str] = "model"

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    data: str = Field(
        description="points: a .csv, .npy, .npz or .safetensors, one point a row; a value may be "
        "missing. Of hmm and kalman the rows are steps; of hmm it may be a text; of weak rows with "
        "a text, a .jsonl"
    )
    model: str = Field(
        default="gmm",
        description=f"one of {', '.join(names_of('latent'))}; or FILE.py:Class for one of your own",
    )
    labels: str | None = Field(
        default=None, description="the column that names what each point is; not fitted to"
    )
    supervised: bool = Field(
        default=False,
        description="labels are the components: fitted to them; points without one are inferred",
    )
    weights: str | None = Field(
        default=None, description="the column that says how often each point counts"
    )
    block_points: int | None = Field(
        default=None,
        ge=1,
        description="points a step, of em=stepwise or incremental and of inference=svi; "
        f"{BLOCK_POINTS:,} by default",
    )
    steps: int = Field(
        default=200, ge=1, description="at the most; it ends as soon as the bound stands"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random number in the run")
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/fit, runs/fit-2, …",
    )
    evaluate_every: int = Field(
        default=0, ge=0, description="steps between evaluations; 0: only before and after"
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")
    film: bool = Field(
        default=True,
        description="of what is fitted as it moves, for the report; of bbvi how much each "
        "estimator of the gradient varies",
    )

    @property
    def every_k(self) -> list[int]:
        """The numbers of components that are tried; none of a model that has no such number."""
        settings = self.settings
        return settings.every_k if isinstance(settings, MixtureSettings) else []


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
    with start.begin(config, data=[config.data, *config.own_code, *own_files(config)]) as course:
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


def own_files(config: FitConfig) -> list[str]:
    """Files of the user's that a setting names: for the run's lineage."""
    given = [getattr(config.settings, name, "") for name in ("target", "functions")]
    return [each for each in given if each.endswith(".py")]


def read_parts(config: FitConfig) -> tuple[Mapping[Split, Any], bool]:
    """Train, validation and test, and whether they are apart: a few points are all trained on."""
    if isinstance(config.settings, WeakSupervision.Settings):
        return read_vote_parts(config.data, config.settings)
    if isinstance(config.settings, SequenceSettings):
        for name in ("labels", "weights"):
            if getattr(config, name) is not None:
                raise UserError(f"model={config.model} knows no {name}: leave {name} out.")
        return read_sequence_parts(config.data, config.settings)
    if config.supervised and config.labels is None:
        raise UserError("supervised=true was given without labels: give labels=COLUMN.")
    points = read_points(
        config.data, labels=config.labels, weights=config.weights,
        words=getattr(config.entry.algorithm, "takes_words", False),
    )  # fmt: skip
    if not config.supervised and not getattr(config.entry.algorithm, "takes_labels", False):
        points = points.without_labels()
    parts = split_points(points)
    if parts is None:
        return {"train": points, "validation": points, "test": points}, False
    return parts, True


def choose_block(config: FitConfig) -> int | None:
    """Points of a block; None: all of them. Raises UserError for blocks that nothing is made of."""
    in_blocks = bool(getattr(config.settings, "in_blocks", False))
    if not in_blocks and config.block_points is not None:
        own = next((n for n in ("em", "inference") if hasattr(config.settings, n)), "")
        which = f"{own}={getattr(config.settings, own)}" if own else f"model={config.model}"
        others = {"em": "em=stepwise or em=incremental", "inference": "inference=svi"}
        raise UserError(
            f"block_points={config.block_points} and {which}, which takes all points a step: give "
            f"{others.get(own, 'model=gmm em=stepwise')}, or leave block_points out."
        )
    return (config.block_points or BLOCK_POINTS) if in_blocks else None


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
    if figure_of(config) != "log_likelihood":
        raise UserError(
            f"model={config.model} has no likelihood by which to choose k={settings.k}: give one "
            "number, or model=gmm covariance=spherical."
        )
    return ChoiceOfK(
        lambda k: make(settings.replace(k=str(k))), config.every_k, config.steps, train, validation
    )


def figure_of(config: FitConfig) -> str:
    """What a model is judged by: the log-likelihood, unless its algorithm has another `figure`."""
    return getattr(config.entry.algorithm, "figure", "log_likelihood")


def judge_points(
    config: FitConfig, algorithm: LatentAlgorithm, parts: Mapping[Split, Any], apart: bool
) -> Judge:
    """By the log-likelihood of held-out points."""
    figure = figure_of(config)

    def read(part: HeldOut, step: int) -> Figures:
        points = parts[part]
        return {figure: algorithm.log_likelihood(points) / points.total}

    items: dict[HeldOut, int] = {part: len(parts[part]) for part in ("validation", "test")}
    return Judge(
        read, headline=figure, items=items, apart=apart, prefix="validation_",
        what="sequence" if isinstance(parts["train"], Sequences) else "point",
    )  # fmt: skip


def describe(config: FitConfig, train: Points | Sequences) -> str:
    several = f", k={config.settings.k}" if isinstance(config.settings, MixtureSettings) else ""
    if isinstance(train, Sequences):
        return describe_sequences(f"{config.model}{several}", train)
    missing = ", some values missing" if train.has_missing else ""
    return f"{config.model}{several} on {len(train):,} points of {train.width} columns{missing}"


def conclude(
    config: FitConfig,
    course: Course,
    algorithm: LatentAlgorithm | ChoiceOfK,
    parts: Mapping[Split, Any],
    own: dict[str, Any],
) -> Summary:
    """The model, and what it came to. own: what the summary holds beside."""
    model, train = algorithm.model, parts["train"]
    assert model is not None
    with write_model(course.run.model_folder) as folder:
        save_latent(folder, model, train.columns)
    lines: list[str] = []
    own["parameters"] = model.count_parameters()
    own[f"train_{figure_of(config)}"] = algorithm.log_likelihood(train) / train.total
    if isinstance(algorithm, BlackBoxVI):
        judged, more = algorithm.conclude()
        own["posterior"] = judged
        lines += more
    if isinstance(model, LabelModel) and isinstance(config.settings, WeakSupervision.Settings):
        weak, more = conclude_weak(course.run.folder, model, parts, config.settings)
        own |= weak
        lines += more
    if isinstance(algorithm, ChoiceOfK):
        own["table"] = algorithm.table
        lines += list_choices(algorithm)
    if isinstance(train, Sequences):
        own["classes"] = list_text_classes(model, train)
        lines += describe_classes(own["classes"])
    if not algorithm.done:
        lines.append(f"The bound was still rising after {course.step} steps: give more steps.")
    reseeded = [row["reseeded"] for row in course.run.metrics.each() if "reseeded" in row]
    if reseeded:
        lines.append(
            f"An empty component began anew at the point explained worst, {max(reseeded):.0f} "
            "times."
        )
    return course.finish(
        own, then=write_command("report", run=course.run.folder), lines=lines,
        held_out=course.judges[0].items,
    )  # fmt: skip


def list_choices(algorithm: ChoiceOfK) -> list[str]:
    """A line for every number of components, the chosen one marked."""
    best = min(algorithm.table, key=lambda row: row["bic"])
    likeliest = max(algorithm.table, key=lambda row: row["held_out"])
    lines = [
        f"{'→' if row is best else ' '} k={row['k']:.0f}: BIC {row['bic']:,.1f}, held-out "
        f"log-likelihood {row['held_out']:.4f} nats a point"
        for row in algorithm.table
    ]
    if likeliest is not best:
        lines.append(f"Held-out points would choose k={likeliest['k']:.0f}.")
    return lines
