"""The page of `fledge scale`: the law over its runs, the iso-FLOP parabolas, what is foretold and
whether it came true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fledge.evaluate.scaling.bootstrap import Interval, UncertainLaw
from fledge.evaluate.scaling.iso_flop import IsoFlop
from fledge.evaluate.scaling.law import Points
from fledge.evaluate.scaling.repeats import UncertainRepeats
from fledge.report.log_chart import COLOURS, Marks, draw_log_chart
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter

_SIGNS = {"E": "E", "A": "A", "B": "B", "alpha": "α", "beta": "β"}
_EPOCHS = (1, 2, 4, 8, 16, 40, 100)
_CURVES = 5  # sizes that have a curve of their own


@dataclass(frozen=True)
class Held:
    """A run that was foretold, and then made (or left out of the fit)."""

    parameters: float
    tokens: float
    foretold: Interval
    loss: float

    @property
    def true(self) -> bool:
        return self.loss in self.foretold


def draw_scaling(
    law: UncertainLaw,
    iso: IsoFlop,
    held: Sequence[Held],
    optimum: Sequence[tuple[str, str]],
    tiles: Sequence[tuple[str, str]],
    unit: str,
    repeats: UncertainRepeats | None = None,
) -> Page:
    """optimum: rows of what a budget deserves. unit: of the loss."""
    share = f"{100 * law.share:.0f} %"
    chapters = [
        ShowChapter(
            "The law",
            f"Fitted on log L with Huber's loss; with {share} intervals of a bootstrap.",
            [draw_law(law, held, unit)],
            ["", "fitted", f"{share} interval"],
            [
                (_SIGNS[name], write_number(each.value), write_interval(each))
                for name, each in law.parameters.items()
            ],
            formula="L(N, D) = E + A / N^α + B / D^β",
        )
    ]
    if iso.parabolas:
        chapters.append(_draw_iso_chapter(iso, share, unit))
    if held:
        rows = [
            (
                write_number(each.parameters), write_number(each.tokens),
                f"{each.foretold.value:.4f}", write_interval(each.foretold), f"{each.loss:.4f}",
                f"{each.loss / each.foretold.value - 1:+.2%}", "inside" if each.true else "outside",
            )
            for each in held
        ]  # fmt: skip
        heads = ["parameters", "tokens", "foretold", f"{share} interval", "came", "error", ""]
        text = "Foretold from the other runs alone, each with the luck that one run has."
        chapters.append(ShowChapter("Held against runs", text, heads=heads, rows=rows))
    if repeats is not None:
        chapters.append(_draw_repeats(repeats, share))
    if optimum:
        chapters.append(ShowChapter("What a budget deserves", "", rows=optimum))
    lead = f"{len(law.fit.points)} runs, and what they say of sizes that nobody has trained."
    return Page("Scaling law", lead, tiles, chapters)


def _draw_iso_chapter(iso: IsoFlop, share: str, unit: str) -> ShowChapter:
    text = "Runs of one budget each, and the size at which it buys the least loss."
    if iso.exponent is not None:
        text += (
            f" The best size grows as C^{iso.exponent.value:.2f} ({share}: "
            f"{iso.exponent.low:.2f} to {iso.exponent.high:.2f})."
        )
    if iso.unseen:
        budgets = "1 budget has" if iso.unseen == 1 else f"{iso.unseen} budgets have"
        text += f" {budgets} no lowest point among its sizes, and is not drawn."
    heads = ["budget, FLOP", "runs", "best size", "tokens for it", unit]
    rows = [
        (
            f"{each.flop:.2e}", len(each.points), write_number(each.best_parameters),
            write_number(each.flop / 6 / each.best_parameters), f"{each.best_loss:.4f}",
        )
        for each in iso.parabolas
    ]  # fmt: skip
    return ShowChapter("Iso-FLOP", text, [draw_iso_flop(iso, unit)], heads, rows)


def _draw_repeats(repeats: UncertainRepeats, share: str) -> ShowChapter:
    """What a number of epochs is worth, in epochs of new tokens: D' / U."""
    constants = [repeats.data.value, repeats.data.low, repeats.data.high]
    rows = []
    for epochs in _EPOCHS:
        worth, low, high = (1 - c * np.expm1((1 - epochs) / c) for c in constants)
        rows.append((epochs, f"{worth:.3g}", f"{low:.3g} to {high:.3g}"))
    fit, points = repeats.fit, repeats.points
    said = fit.foretell(points.parameters, points.tokens, points.unique)
    epochs = np.geomspace(1, max(_EPOCHS), 40)
    middle, low, high = (
        [(float(e), float(1 - c * np.expm1((1 - e) / c))) for e in epochs] for c in constants
    )
    worth = Picture(
        "Effective epochs", "epochs of new tokens", draw_log_chart(
            [Marks(curve=middle), Marks(curve=low, colour=2), Marks(curve=high, colour=2)],
            x_label="epochs", description="What epochs are worth",
        ),
        ["fitted", f"{share} interval"],
    )  # fmt: skip
    came = Picture(
        "Runs that repeat", "loss", draw_log_chart(
            [Marks(list(zip(said.tolist(), points.loss.tolist(), strict=True)),
                   [(float(x), float(x)) for x in (said.min(), said.max())])],
            x_label="loss the law says", description="Loss of each run over what the law says",
        ),
        [],
    )  # fmt: skip
    text = (
        f"Of U unique tokens seen again and again, no more than R*_D = {repeats.data.value:.3g} "
        f"({share}: {write_interval(repeats.data)}) times U is added."
    )
    if repeats.parameters is not None:
        text += (
            f" Of parameters beyond what U tokens deserve, R*_N = {repeats.parameters.value:.3g} "
            f"({write_interval(repeats.parameters)})."
        )
    heads = ["epochs", "worth in new tokens, over U", f"{share} interval"]
    formula = "L = E + A / N′^α + B / D′^β,   D′ = U + U R*_D (1 − exp(−R_D / R*_D))"
    return ShowChapter("Repeated data", text, [worth, came], heads, rows, formula=formula)


def draw_law(law: UncertainLaw, held: Sequence[Held], unit: str) -> Picture:
    """Loss over tokens: every run, and the law's curve for some of the sizes."""
    points = law.fit.points
    sizes = np.unique(points.parameters)
    chosen = sizes[np.unique(np.linspace(0, len(sizes) - 1, _CURVES).round().astype(int))]
    middle = np.sqrt(chosen[1:] * chosen[:-1])
    group = np.searchsorted(middle, points.parameters)
    marks = []
    for number, size in enumerate(chosen):
        of = points.take(group == number)
        tokens = np.geomspace(of.tokens.min(), of.tokens.max(), 40)
        curve = [(d, float(law.law.foretell(size, d))) for d in tokens]
        dots = list(zip(of.tokens.tolist(), of.loss.tolist(), strict=True))
        marks.append(Marks(dots, curve, colour=1 + number % COLOURS))
    for each in held:
        whisker = (each.tokens, each.foretold.low, each.foretold.high)
        marks.append(Marks([(each.tokens, each.loss)], whiskers=[whisker], colour=2))
    return Picture(
        "Loss over tokens", unit, draw_log_chart(
            marks, x_label="tokens trained on", description="Every run, and the law's curves"
        ),
        [f"{write_number(size)} parameters" for size in chosen],
        "Points are runs, by the nearest of these sizes; lines are the law at the size itself."
        + (" With a bar: foretold interval, and what came." if held else ""),
    )  # fmt: skip


def draw_iso_flop(iso: IsoFlop, unit: str) -> Picture:
    """Loss over parameters, budget by budget."""
    shown = iso.parabolas
    if len(shown) > COLOURS:
        places = np.linspace(0, len(shown) - 1, COLOURS).round().astype(int)
        shown = [shown[at] for at in places]
    marks = []
    for number, each in enumerate(shown):
        sizes = np.geomspace(each.points.parameters.min(), each.points.parameters.max(), 40)
        curve = [(n, float(np.polyval(each.coefficients, np.log(n)))) for n in sizes]
        dots = _pair(each.points)
        marks.append(Marks(dots, curve, colour=1 + number))
    svg = draw_log_chart(
        marks, x_label="parameters", description="A parabola for each budget", log_y=False
    )
    return Picture("Iso-FLOP", unit, svg, [f"{each.flop:.1e} FLOP" for each in shown])


def _pair(points: Points) -> list[tuple[float, float]]:
    return list(zip(points.parameters.tolist(), points.loss.tolist(), strict=True))


def write_number(value: float) -> str:
    """70,300,000,000 -> 70.3 B"""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def write_interval(each: Interval) -> str:
    return f"{write_number(each.low)} to {write_number(each.high)}"
