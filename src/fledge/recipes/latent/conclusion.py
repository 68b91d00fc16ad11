"""What `fledge fit` ends with: the model in its folder, and what there is to say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge.algorithms.latent.black_box_vi import BlackBoxVI
from fledge.algorithms.latent.choice_of_k import ChoiceOfK
from fledge.algorithms.latent.protocol import LatentAlgorithm
from fledge.algorithms.latent.weak_supervision import WeakSupervision
from fledge.models.latent.label_model import LabelModel
from fledge.models.latent.latent_model import save_latent
from fledge.next_command import write_command
from fledge.recipes.course import Course, Summary
from fledge.recipes.latent.config import FitConfig
from fledge.recipes.latent.sequence_words import (
    describe_classes,
    list_text_classes,
)
from fledge.recipes.latent.weak import conclude_weak
from fledge.rows.sequences import Sequences
from fledge.runs.model_files import write_model
from fledge.splits import Split


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
    own[f"train_{config.figure}"] = algorithm.log_likelihood(train) / train.total
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
