"""What there is to see of a model of sentences, as tables for the report: what it draws, says again
and finds between two sentences, and whether its vectors say anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fledge.evaluate.collapse import Codes
from fledge.models.language.sentence_model import SentenceModel
from fledge.recipes.texts.data import Part
from fledge.recipes.texts.judging import look_at_codes
from fledge.seeds import generator_for
from fledge.trajectories import spread_evenly

STEPS = 7  # from one sentence to another
PAIRS = 2

Table = dict[str, Any]  # title, note, columns, rows


def make_table(title: str, note: str, columns: Sequence[str], rows: Sequence[Any]) -> Table:
    return {"title": title, "note": note, "columns": list(columns), "rows": [*map(list, rows)]}


@torch.no_grad()
def draw_tables(
    models: Mapping[str, SentenceModel],
    part: Part,
    judged: Mapping[str, float],
    samples: int,
    seed: int,
) -> list[Table]:
    """part: held out. models: by the prefix of their figures, the run's own first. judged: the last
    figures of that part.
    """
    model = next(iter(models.values())).eval()
    tables = [compare_codes(models, part, judged, seed)] if len(models) > 1 else []
    generator = generator_for(seed, "samples", "tables")
    if samples:
        said = model.sample(samples, generator)
        tables.append(
            make_table("Samples", "drawn one by one, none chosen", ["drawn"], [[x] for x in said])
        )
    every = list(dict.fromkeys(part.given.texts))
    texts = [every[place] for place in spread_evenly(len(every), max(2 * PAIRS, samples)).tolist()]
    z = model.embed(texts)
    tables.append(
        make_table(
            "Said again", "held-out sentences, each out of its vector", ["sentence", "said"],
            zip(texts, model.say(z), strict=True),  # type: ignore[arg-type]
        )
    )  # fmt: skip
    for pair in range(min(PAIRS, len(texts) // 2)):
        first, second = z[2 * pair], z[2 * pair + 1]
        said = model.say(model.between(first, second, STEPS))
        share = torch.linspace(1, 0, STEPS).tolist()
        rows = [[f"{one:.2f}", text] for one, text in zip(share, said, strict=True)]
        note = f"from “{texts[2 * pair]}” to “{texts[2 * pair + 1]}”, z = λ z₁ + (1 − λ) z₂"
        tables.append(make_table("Between two sentences", note, ["λ", "said"], rows))
    return tables


def compare_codes(
    models: Mapping[str, SentenceModel], part: Part, judged: Mapping[str, float], seed: int
) -> Table:
    """With and without the remedies against collapse, side by side."""
    codes = [look_at_codes(model, part.rows, seed) for model in models.values()]
    known: list[Codes] = [one for one in codes if one is not None]
    figures = [(judged[f"validation_{each}nats"], judged[f"validation_{each}reconstructed"])
               for each in models]  # fmt: skip
    rows = [
        ["bound on −log p(x), nats", *(f"{nats:.2f}" for nats, _ in figures)],
        ["said again exactly", *(f"{100 * again:.1f} %" for _, again in figures)],
        ["KL, nats", *(f"{sum(one.kl):.2f}" for one in known)],
        ["active units", *(f"{one.active} of {len(one.kl)}" for one in known)],
        [
            "nats that z knows of x, between",
            *(f"{one.information_low:.2f} and {one.information_high:.2f}" for one in known),
        ],
        ["KL of each unit", *(" ".join(f"{kl:.2f}" for kl in one.kl) for one in known)],
    ]
    note = "of held-out sentences; a model whose KL is 0 says nothing by its vectors"
    return make_table("Collapse", note, ["", "with the remedies", "without"], rows)
