"""`fledge scale`: which size a budget deserves. A law of runs that there are, or of a sweep that is
planned, made and held against a run which it foretold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from fledge import ranks
from fledge.data_names import split_names
from fledge.errors import UserError
from fledge.evaluate.scaling.bootstrap import Interval, UncertainLaw, fit_with_intervals
from fledge.evaluate.scaling.fitting import check_points
from fledge.evaluate.scaling.iso_flop import IsoFlop, fit_iso_flop
from fledge.evaluate.scaling.law import Points, tokens_left
from fledge.evaluate.scaling.point_file import read_points
from fledge.evaluate.scaling.repeats import (
    UncertainRepeats,
    fit_repeats_with_intervals,
    is_repeated,
)
from fledge.loop import Interrupted
from fledge.recipes.course import Summary
from fledge.recipes.studies.scale_fields import ScaleConfig
from fledge.recipes.studies.scale_rewards import fit_rewards
from fledge.recipes.studies.scale_sweep import foretell_and_train, make_sweep
from fledge.report.figures import format_duration
from fledge.report.scaling_page import Held, draw_scaling, write_interval, write_number
from fledge.report.show_page import check_show_page, write_show_page
from fledge.runs.folder import Run
from fledge.runs.show import Show


def scale(config: ScaleConfig, show: Show, run: Run | None = None) -> Summary:
    """A sweep that is continued repeats no finished run. Raises UserError for points that cannot
    tell a law, and for minutes in which no sweep fits.
    """
    if not ranks.is_first():
        config.check()
        make_sweep(None, config, show)
    if run is not None:
        return scale_in(run, config, show)
    config.check()
    points = read_given(config) if config.of_points else None
    given = list_inputs(config)
    with Run.create(
        config.out, "scale", config.model_dump(mode="json"), seed=config.seed, data=given
    ) as made:
        try:
            return scale_in(made, config, show, points)
        except UserError:
            if not (made.folder / "plan.json").exists():
                made.take_back()
            raise


def list_inputs(config: ScaleConfig) -> list[str]:
    """The files whose hashes are kept."""
    if config.of_points:
        return [config.data]
    if not config.of_runs:
        return []
    return [str(Path(name).expanduser() / "metrics.jsonl") for name in split_names(config.data)]


def read_given(config: ScaleConfig) -> Points:
    """The runs of the file, those with the highest loss left out. Raises UserError."""
    points = read_points(Path(config.data).expanduser())
    if config.without_worst >= len(points) > 0:
        raise UserError(
            f"without_worst={config.without_worst} leaves nothing of the {len(points)} runs of "
            f"{config.data}: give fewer."
        )
    kept = np.argsort(points.loss, kind="stable")[: len(points) - config.without_worst]
    points = points.take(np.sort(kept))
    again = is_repeated(points)
    if config.unique_tokens and not again.any():
        raise UserError(
            f"unique_tokens= asks what reading again is worth, and no run of {config.data} saw a "
            "token again: give such runs, with a column `epochs`."
        )
    what = f"{config.data}, without its {again.sum()} runs that saw tokens again,"
    check_points(points.take(~again), what if again.any() else config.data)
    return points


def scale_in(run: Run, config: ScaleConfig, show: Show, points: Points | None = None) -> Summary:
    """The law, its page and the summary."""
    if config.of_runs:
        return fit_rewards(run, config, show)
    page = run.folder / "report.html"
    check_show_page(page)
    unit, repeats = "nats a token", None
    if config.of_points:
        points = read_given(config) if points is None else points
        again = is_repeated(points)
        repeated, points = points.take(again), points.take(~again)
        law = fit(config, points)
        if len(repeated):
            repeats = fit_repeats_with_intervals(law, repeated, seed=config.seed)
        held = leave_largest_out(config, points)
    else:
        try:
            points = make_sweep(run, config, show)
            law = fit(config, points)
            held = [foretell_and_train(run, config, law, show)]
        except Interrupted as stopped:
            raise stopped.of(str(run.folder)) from None
    iso = fit_iso_flop(points, share=config.share, seed=config.seed)
    show.print(draw_table(law))
    for line in (*tell_held(held, config), *tell_iso(iso), *tell_repeats(repeats)):
        show.line(line)
    optimum = [*find_optimum(config, law), *find_epochs(config, repeats)]
    for name, value in optimum:
        show.line(f"{name}: {value}")
    tiles = [("runs", str(len(points))), ("seed", str(config.seed)),
             ("time", format_duration(run.seconds))]  # fmt: skip
    write_show_page(page, draw_scaling(law, iso, held, optimum, tiles, unit, repeats))
    show.line(f"The page: {page}")
    summary = {
        "verb": "scale",
        "run": str(run.folder),
        "steps": len(points),
        "seconds": run.seconds,
        **describe(law, iso, held),
        "repeats": None if repeats is None else describe_repeats(repeats),
        "optimum": describe_optimum(config, law),
        "epochs": describe_epochs(config, repeats),
    }
    run.finish(summary)
    return summary


def fit(config: ScaleConfig, points: Points) -> UncertainLaw:
    return fit_with_intervals(
        points, huber=config.huber, resamples=config.resamples, share=config.share,
        seed=config.seed,
    )  # fmt: skip


def leave_largest_out(config: ScaleConfig, points: Points) -> list[Held]:
    """The run of the most FLOP, foretold from all runs of smaller sizes; none where these are too
    few.
    """
    rest = points.take(points.parameters < points.parameters.max())
    try:
        check_points(rest, "the rest")
    except UserError:
        return []
    law = fit(config, rest)
    largest = points.take(points.parameters == points.parameters.max())
    at = int(np.argmax(largest.flop))
    size, tokens = float(largest.parameters[at]), float(largest.tokens[at])
    return [Held(size, tokens, law.foretell_run(size, tokens), float(largest.loss[at]))]


def find_optimum(config: ScaleConfig, law: UncertainLaw) -> list[tuple[str, str]]:
    """Rows of what `budget` deserves; none where none is given."""
    if config.budget is None:
        return []
    if idle := name_idle(law):
        return [("best size", f"none: by this law more {idle} lower no loss")]
    size = law.best_parameters(config.budget, config.serve_tokens)
    tokens = float(tokens_left(config.budget, np.asarray(size.value), config.serve_tokens))
    rows = [
        ("budget", f"{config.budget:.3g} FLOP"),
        ("best size", f"{write_number(size.value)} parameters ({write_interval(size)})"),
        ("trained on", f"{write_number(tokens)} tokens, {tokens / size.value:.3g} a parameter"),
        ("foretold loss", f"{float(law.law.foretell(size.value, tokens)):.4f}"),
    ]
    if config.serve_tokens:
        served = 2 * size.value * config.serve_tokens / config.budget
        rows.append(("of the budget for serving", f"{served:.0%}"))
    return rows


def find_epochs(config: ScaleConfig, repeats: UncertainRepeats | None) -> list[tuple[str, str]]:
    """Rows of how often a budget should read the tokens that there are."""
    unique = config.unique_tokens
    if repeats is None or config.budget is None or unique is None:
        return []
    size, epochs = repeats.best_epochs(config.budget, unique)
    tokens = epochs.value * unique
    loss = float(repeats.fit.foretell(size.value, tokens, unique))
    return [
        (f"best size on {write_number(unique)} unique tokens",
         f"{write_number(size.value)} parameters ({write_interval(size)})"),
        ("each token seen", f"{epochs.value:.3g} times ({write_interval(epochs)})"),
        ("foretold loss, some tokens seen again", f"{loss:.4f}"),
    ]  # fmt: skip


def describe_epochs(config: ScaleConfig, repeats: UncertainRepeats | None) -> dict[str, Any] | None:
    if repeats is None or config.budget is None or config.unique_tokens is None:
        return None
    size, epochs = repeats.best_epochs(config.budget, config.unique_tokens)
    return {"parameters": as_list(size), "epochs": as_list(epochs)}


def name_idle(law: UncertainLaw) -> str:
    """What of parameters and tokens lowers no loss by the law."""
    powers = {"parameters": law.law.alpha, "tokens": law.law.beta}
    return " and ".join(name for name, power in powers.items() if power <= 0)


def tell_held(held: list[Held], config: ScaleConfig) -> list[str]:
    share = f"{100 * config.share:.0f} %"
    return [
        f"{write_number(each.parameters)} parameters on {write_number(each.tokens)} tokens: "
        f"foretold {each.foretold.value:.4f} ({share}: {each.foretold.low:.4f} to "
        f"{each.foretold.high:.4f}), came to {each.loss:.4f}: "
        f"{'inside' if each.true else 'OUTSIDE'} the interval, "
        f"{each.loss / each.foretold.value - 1:+.2%}"
        for each in held
    ]


def tell_iso(iso: IsoFlop) -> list[str]:
    if iso.exponent is None:
        return ["iso-FLOP: fewer than two budgets have their best size among those tried"]
    return [
        f"iso-FLOP: over {len(iso.parabolas)} budgets the best size grows as "
        f"C^{iso.exponent.value:.2f} ({iso.exponent.low:.2f} to {iso.exponent.high:.2f})"
    ]


def tell_repeats(repeats: UncertainRepeats | None) -> list[str]:
    if repeats is None:
        return []
    told = [
        f"repeated data ({len(repeats.points)} runs): R*_D = {repeats.data.value:.3g} "
        f"({write_interval(repeats.data)}): tokens seen again and again add at most as much as "
        f"{repeats.data.value:.3g} times as many new ones"
    ]
    if repeats.parameters is not None:
        told.append(
            f"parameters beyond what unique tokens deserve: R*_N = {repeats.parameters.value:.3g} "
            f"({write_interval(repeats.parameters)})"
        )
    return told


def draw_table(law: UncertainLaw) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "fitted", f"{100 * law.share:.0f} % interval"):
        table.add_column(column, justify="left" if not column else "right")
    for name, each in law.parameters.items():
        table.add_row(name, write_number(each.value), write_interval(each))
    return table


def describe(law: UncertainLaw, iso: IsoFlop, held: list[Held]) -> dict[str, Any]:
    return {
        "law": {name: as_list(each) for name, each in law.parameters.items()},
        "iso_flop": {
            "exponent": None if iso.exponent is None else as_list(iso.exponent),
            "budgets": [
                {"flop": each.flop, "parameters": each.best_parameters, "loss": each.best_loss}
                for each in iso.parabolas
            ],
        },
        "held": [
            {
                "parameters": each.parameters, "tokens": each.tokens,
                "foretold": as_list(each.foretold), "loss": each.loss, "inside": each.true,
            }
            for each in held
        ],
    }  # fmt: skip


def describe_repeats(repeats: UncertainRepeats) -> dict[str, Any]:
    size = repeats.parameters
    return {
        "runs": len(repeats.points),
        "data": as_list(repeats.data),
        "parameters": None if size is None else as_list(size),
    }


def describe_optimum(config: ScaleConfig, law: UncertainLaw) -> dict[str, Any] | None:
    if config.budget is None or name_idle(law):
        return None
    size = law.best_parameters(config.budget, config.serve_tokens)
    tokens = float(tokens_left(config.budget, np.asarray(size.value), config.serve_tokens))
    return {"parameters": as_list(size), "tokens": tokens}


def as_list(each: Interval) -> list[float]:
    """value, low, high"""
    return [each.value, each.low, each.high]
