"""The page of `fledge show sampling`: bars before and after each rule, then all rules one after the
other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from fledge.engine.stages import Stage
from fledge.report.bars import Bar, draw_bars
from fledge.report.charts import Series, draw_line_chart
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter

_MEANING = {
    "temperature": "logits divided by it: below 1 the likely become likelier, above 1 less so",
    "top-k": "only so many of the likeliest tokens stay",
    "nucleus": "the fewest likeliest tokens stay that together reach this mass",
    "min-p": "tokens less than this times as likely as the likeliest go",
    "repetition": "tokens that were there before, prompt included, lose logit",
    "presence": "tokens that were said in this answer lose as much logit",
    "greedy": "the likeliest token, always",
}


def draw_sampling(
    source: str,
    prompt: str,
    names: Sequence[str],
    together: Sequence[Stage],
    alone: Mapping[str, Stage],
    shown: Sequence[int],
    sweep: tuple[Sequence[float], Sequence[float]],
) -> Page:
    """names: of the tokens `shown`, the likeliest first. sweep: temperatures, and the entropy at
    each.
    """
    first, last = together[0], together[-1]
    each = [
        _draw_pair(name, first, stage, names, shown, _MEANING.get(name.split()[0], ""))
        for name, stage in alone.items()
    ]
    steps = [
        _draw_pair(after.name, before, after, names, shown, _describe_removed(after))
        for before, after in pairwise(together)
    ]
    rows = [
        (
            stage.name,
            f"{stage.kept:,}",
            f"{stage.removed:.1%}" if stage.removed else "",
            f"{stage.entropy:.3f}",
            f"{math.exp(stage.entropy):.1f}",
        )
        for stage in together
    ]
    return Page(
        "sampling",
        f"How one next token is chosen, {_describe(source, prompt)}. Every bar is computed by the "
        "code that samples.",
        (
            ("from", source),
            ("tokens", f"{first.kept:,}"),
            ("left in the end", f"{last.kept:,}"),
            ("entropy", f"{first.entropy:.2f} → {last.entropy:.2f}"),
        ),
        (
            ShowChapter(
                "Each rule alone",
                "Pale: the model’s own distribution. Full: after the rule. What is struck through "
                "can no longer be said; its mass goes to the others in proportion.",
                each,
                formula="p(token) = exp(z / T) / Σ exp(z′ / T), over the tokens that stay",
            ),
            ShowChapter(
                "All together, in order",
                "Penalties change the logits first; then the temperature; then top-k, nucleus and "
                "min-p, each on what the one before left. Pale: before this rule. Full: after it.",
                steps,
                ("after", "tokens left", "mass taken out", "entropy (nats)", "as many as"),
                rows,
            ),
            ShowChapter(
                "Temperature from end to end",
                "Entropy of this distribution by temperature: near 0 one token is certain, far "
                "above 1 all are alike.",
                [_draw_sweep(first, sweep)],
            ),
        ),
    )


def _describe_removed(stage: Stage) -> str:
    return f"{stage.removed:.1%} of the mass taken out" if stage.removed else "nothing taken out"


def _describe(source: str, prompt: str) -> str:
    return f"{source} after “{prompt}”" if prompt else f"{source} at the start of an answer"


def _draw_pair(
    name: str,
    before: Stage,
    after: Stage,
    names: Sequence[str],
    shown: Sequence[int],
    caption: str,
) -> Picture:
    bars = [
        Bar(word, float(before.probability[token]), float(after.probability[token]))
        for word, token in zip(names, shown, strict=True)
        if before.probability[token] > 0
    ]
    unseen = before.kept - len(bars)
    others = f" {unseen:,} more tokens are not drawn." if unseen else ""
    entropy = f"entropy {before.entropy:.2f} → {after.entropy:.2f}"
    said = f"{caption[:1].upper()}{caption[1:]}.{others}"
    svg = draw_bars(bars, description=f"{name}: {caption}")
    return Picture(name, entropy, svg, (), said)


def _draw_sweep(first: Stage, sweep: tuple[Sequence[float], Sequence[float]]) -> Picture:
    temperatures, entropies = sweep
    most = math.log(first.kept)
    svg = draw_line_chart(
        [
            Series("entropy", temperatures, entropies),
            Series("all alike", [temperatures[0], temperatures[-1]], [most, most]),
        ],
        x_label="temperature",
        description="entropy by temperature",
        low=0.0,
        exact=True,
    )
    caption = f"At most ln {first.kept:,} = {most:.2f} nats, where all tokens are alike."
    return Picture("Entropy", "nats", svg, ("entropy", "all alike"), caption)
