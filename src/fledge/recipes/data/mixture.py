"""`fledge data mixture`: how much of each source a model should learn from, by many small runs on
mixtures that were drawn, and a law of what they came to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ConfigDict, Field
from rich.table import Table

from fledge.curate.mixture_law import BestMixture, draw_shares, find_best
from fledge.data_names import split_sources
from fledge.errors import UserError
from fledge.loop import Interrupted
from fledge.next_command import write_command
from fledge.recipes.course import Summary
from fledge.recipes.data.effect import compare_sides
from fledge.recipes.data.mixture_sources import write_sources
from fledge.recipes.data.proxy import Measured, ProxyFields, train_proxy
from fledge.recipes.inputs import choose_files
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter, check_show_page, write_show_page
from fledge.report.whiskers import Whisker, draw_whiskers
from fledge.runs.folder import Run
from fledge.runs.show import Show, silent

LEAST = 0.005  # a smaller share is none


class DataMixtureConfig(ProxyFields):
    """Say how much of each source a model should learn from: small models are trained on mixtures
    of them, a law is fitted of what they come to on held-out text of each, and its best mixture,
    with intervals, is held against an even one.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    data: str = Field(description="two to ten sources of text, with commas between")
    mixtures: int | None = Field(
        default=None, ge=1, le=1000,
        description="models that the law is of; by default six more than twice what it has numbers",
    )  # fmt: skip
    counts: str | None = Field(
        default=None,
        description="how much the held-out text of each source counts, such as 1,1,2; by default "
        "alike",
    )
    seeds: int = Field(
        default=3, ge=2, le=100, description="models each of the best mixture and the even one"
    )
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/data-mixture, …"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="the first of the seeds")

    def list_sources(self) -> list[str]:
        """Raises UserError."""
        sources = [name for source in split_sources(self.data) for name in source.names]
        if any(source.share < 1 for source in split_sources(self.data)):
            raise UserError(f"data={self.data} has weights, which are to be found: leave them out.")
        if not 2 <= len(sources) <= 10 or len(set(sources)) < len(sources):
            raise UserError(
                f"data={self.data} names {len(sources)} sources: give two to ten different ones."
            )
        if self.count_mixtures(len(sources)) < len(sources) + 3:
            raise UserError(
                f"mixtures={self.mixtures} are too few: a law of {len(sources)} sources has "
                f"{len(sources) + 1} numbers, and {len(sources) + 3} runs are wanted."
            )
        return sources

    def count_mixtures(self, sources: int) -> int:
        return self.mixtures or 2 * (sources + 1) + 6

    def list_counts(self, sources: int) -> list[float]:
        """Raises UserError."""
        if self.counts is None:
            return [1.0] * sources
        try:
            counts = [float(count) for count in self.counts.split(",")]
        except ValueError:
            counts = []
        if len(counts) != sources or min(counts) < 0 or not 0 < sum(counts) < float("inf"):
            raise UserError(
                f"counts={self.counts} wants {sources} numbers with commas between, one for each "
                "source, none below 0 and not all 0."
            )
        return counts


def data_mixture(config: DataMixtureConfig, show: Show, run: Run | None = None) -> Summary:
    """A study that is continued repeats no finished model. Raises UserError for sources of which
    too little can be held out.
    """
    if run is not None:
        return measure_in(run, config, show)
    sources = config.list_sources()
    config.list_counts(len(sources))
    fields = config.model_dump(mode="json")
    with Run.create(
        config.out, "data mixture", fields, seed=config.seed, data=[config.data],
        files_of=choose_files(fields),
    ) as made:  # fmt: skip
        try:
            return measure_in(made, config, show)
        except UserError:
            if not (made.folder / "sources.json").exists():
                for file in made.folder.glob("*.jsonl"):
                    file.unlink()
                made.take_back()
            raise


def measure_in(run: Run, config: DataMixtureConfig, show: Show) -> Summary:
    page = run.folder / "report.html"
    check_show_page(page)
    names = config.list_sources()
    write_sources(run.folder, config, names)
    shares = draw_shares(len(names), config.count_mixtures(len(names)), config.seed)
    counts = np.array(config.list_counts(len(names)))
    try:
        judged = [
            train_on(run, config, f"mixture-{number}", mixed, config.seed + number, show)
            for number, mixed in enumerate(shares)
        ]
        losses = np.array([tell_losses(measured) for measured in judged])
        best = find_best(shares, losses, counts.tolist(), config.seed)
        chosen = round_shares(best.shares)
        told = hold_against_even(run, config, chosen, counts, show)
    except Interrupted as stopped:
        raise stopped.of(str(run.folder)) from None
    better = "better" if told["high"] < 0 else "worse" if told["low"] > 0 else "no different"
    verdict = (
        f"the best mixture comes to {told['with']:.4f} bits per byte, an even one to "
        f"{told['without']:.4f}: {told['difference']:+.4f} (95 %: {told['low']:+.4f} to "
        f"{told['high']:+.4f}), {better}"
    )
    show.print(draw_table(names, best, chosen))
    show.line(f"data mixture: {verdict}; the law is off by {best.error:.0%} of what runs differ by")
    write_show_page(page, draw_page(names, best, chosen, losses, shares, verdict, told))
    show.line(f"The page: {page}")
    mixed = write_mixture(names, chosen)
    summary = {
        "verb": "data mixture", "run": str(run.folder), "seconds": run.seconds,
        "steps": config.steps * (len(shares) + 2 * config.seeds), "data": mixed,
        "shares": dict(zip(names, chosen.tolist(), strict=True)),
        "low": best.low.tolist(), "high": best.high.tolist(), "error": best.error,
        "difference": told,
    }  # fmt: skip
    run.finish(summary)
    show.line(f"Next: {write_command('pretrain', data=mixed)}")
    return summary


def train_on(
    run: Run, config: DataMixtureConfig, name: str, shares: np.ndarray, seed: int, show: Show
) -> list[Measured]:
    """What a model of this mixture makes of the held-out text of each source, in one line: of some
    twenty models nobody wants to read more.
    """
    places = range(len(shares))
    data = write_mixture([str(run.folder / f"source-{at}.jsonl") for at in places], shares)
    held = [run.folder / f"held-{at}.jsonl" for at in places]
    measured = train_proxy(run, config, name, data, held, seed, Show(silent()))
    mixed = " ".join(f"{share:.0%}" for share in shares)
    losses = " ".join(f"{loss:.3f}" for loss in tell_losses(measured))
    show.line(f"{name}: shares of {mixed} come to {losses} bits per byte")
    return measured


def tell_losses(measured: list[Measured]) -> list[float]:
    """Bits per byte of each held-out text."""
    return [float(np.sum(bits) / np.sum(size)) for bits, size in measured]


def write_mixture(names: Sequence[str], shares: np.ndarray) -> str:
    """As `pretrain` takes it; a source of no share is left out."""
    return ",".join(f"{n}:{share:.4g}" for n, share in zip(names, shares, strict=True) if share)


def round_shares(shares: np.ndarray) -> np.ndarray:
    """What is next to nothing is nothing."""
    kept = np.where(shares < LEAST, 0.0, shares)
    return np.round(kept / kept.sum(), 4)


def hold_against_even(
    run: Run, config: DataMixtureConfig, best: np.ndarray, counts: np.ndarray, show: Show
) -> dict[str, float]:
    """The same seeds on the best mixture and on an even one, as `compare_sides` tells it."""
    even = np.full(len(best), 1 / len(best))
    sides: dict[str, list[np.ndarray]] = {"best": [], "even": []}
    sizes = np.zeros(0)
    for seed in range(config.seed, config.seed + config.seeds):
        for name, mixed in (("best", best), ("even", even)):
            measured = train_on(run, config, f"{name}-{seed}", mixed, seed, show)
            # Each source counts as `counts` says, however much of it is held out.
            scale = [
                count / np.sum(size) for count, (_, size) in zip(counts, measured, strict=True)
            ]
            pairs = list(zip(scale, measured, strict=True))
            sides[name].append(np.concatenate([by * np.array(bits) for by, (bits, _) in pairs]))
            sizes = np.concatenate([by * np.array(size) for by, (_, size) in pairs])
    return compare_sides(np.array(sides["even"]), np.array(sides["best"]), sizes, config.seed)


def draw_table(names: list[str], best: BestMixture, chosen: np.ndarray) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("source", "share", "95 %"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for row in list_shares(names, best, chosen):
        table.add_row(*row)
    return table


def list_shares(
    names: list[str], best: BestMixture, chosen: np.ndarray
) -> list[tuple[str, str, str]]:
    return [
        (name, f"{share:.1%}", f"{low:.1%} to {high:.1%}")
        for name, share, low, high in zip(names, chosen, best.low, best.high, strict=True)
    ]


def draw_page(
    names: list[str], best: BestMixture, chosen: np.ndarray, losses: np.ndarray,
    shares: np.ndarray, verdict: str, told: dict[str, float],
) -> Page:  # fmt: skip
    rows = list_shares(names, best, chosen)
    whiskers = draw_whiskers(
        [
            Whisker(name, float(share), float(low), float(high))
            for name, share, low, high in zip(names, chosen, best.low, best.high, strict=True)
        ],
        description="the best share of each source with its interval",
    )
    picture = Picture("the best mixture", "", whiskers)
    runs = [
        (*(f"{share:.1%}" for share in mixed), *(f"{loss:.4f}" for loss in own))
        for mixed, own in zip(shares, losses, strict=True)
    ]
    tiles = [("models", str(len(runs))), ("better than even by", f"{-told['difference']:.4f}"),
             ("error of the law", f"{best.error:.0%}")]  # fmt: skip
    chapters = [
        ShowChapter("How much of each source", "Shares of all rows that are trained on.",
                    [picture], heads=["source", "share", "95 %"], rows=rows),
        ShowChapter("The models that the law is of",
                    "The share of each source, and bits per byte on held-out text of each.",
                    heads=[*names, *(f"on {name}" for name in names)], rows=runs),
    ]  # fmt: skip
    return Page("The best mixture", f"{verdict[0].upper()}{verdict[1:]}.", tiles, chapters)
