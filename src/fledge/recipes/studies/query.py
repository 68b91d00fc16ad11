"""`fledge query`: which labels to ask a person for, or which answers to have compared, so that few
are enough; every way of choosing beside choosing nothing, at equal labels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fledge.errors import UserError
from fledge.evaluate.intervals import student_interval
from fledge.evaluate.judge import Judge
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.minds.telling import Table, write_table
from fledge.recipes.studies.query_fields import QueryConfig, read_methods
from fledge.recipes.studies.query_pairs import AskingPairs
from fledge.recipes.studies.query_pictures import AskingLabels
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.iterations import Iterations

__all__ = ["QueryConfig", "query"]


def query(config: QueryConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for data that cannot be read, or have no labels."""
    start = Start("query", show, run)
    if config.by is not None and config.kind != "pairs":
        raise UserError(f"by={config.by} is of kind=pairs: give that too, or leave it out.")
    methods = read_methods(config)
    make = AskingLabels if config.kind == "pictures" else AskingPairs
    asking = make(config, methods)
    with start.begin(config, data=[config.data]) as course:
        pool, held_out = asking.sizes
        course.say(
            f"{pool:,} {config.kind} of {config.data} to ask about, {held_out:,} held out, "
            f"{len(methods)} ways of choosing, {config.seeds} seeds"
        )
        judge = Judge(lambda part, step: {"labels": float(config.first)}, ranks="labels")
        course.fit(asking, Iterations(), [judge], figure="random_accuracy")
        return conclude(course, config, methods, asking.accuracy)


def conclude(
    course: Course, config: QueryConfig, methods: tuple[str, ...], accuracy: Tensor
) -> Summary:
    """Means over seeds with their intervals, each way's paired difference to random, and after how
    many labels it was as right as random is in the end.  accuracy: [seeds, methods, rounds + 1]
    """
    labels = [config.first + r * config.labels_per_round for r in range(config.rounds + 1)]
    rows, curves = [], {}
    differences: dict[str, Any] = {}
    areas = accuracy.mean(-1)  # over rounds: the area under the curve
    final = float(accuracy[:, 0, -1].mean())
    for i, name in enumerate(methods):
        each = accuracy[:, i]
        ends = [student_interval(column.tolist()) for column in each.T]
        curves[name] = {
            "x": labels, "y": each.mean(0).tolist(), "low": [max(0.0, low) for low, _ in ends],
            "high": [min(1.0, high) for _, high in ends],
        }  # fmt: skip
        enough = next(
            n
            for n, y in zip([*labels, None], [*each.mean(0).tolist(), 1.0], strict=True)
            if y >= final
        )
        told = ""
        if i:
            low, high = student_interval((areas[:, i] - areas[:, 0]).tolist())
            mean = float((areas[:, i] - areas[:, 0]).mean())
            differences[name] = {"difference": mean, "low": low, "high": high, "enough": enough}
            told = f"{100 * mean:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        last = f"{100 * float(each[:, -1].mean()):.1f} %"
        rows.append([name, last, told, "never" if enough is None else str(enough)])
    note = (
        f"accuracy with {labels[-1]} labels; points more than random over all rounds, with "
        f"Student's paired 95 % interval over {config.seeds} seeds; labels after which the mean "
        "is random's last"
    )
    columns = ["", "in the end", "more than random", "labels for random's end"]
    table = Table("Ways of choosing", note, columns, rows)
    own = {"tables": [vars(table)], "budget_curves": curves, "differences": differences}
    return course.finish(
        own, then=write_command("report", run=course.run.folder), lines=write_table(table),
        test={}, figures={},
    )  # fmt: skip
