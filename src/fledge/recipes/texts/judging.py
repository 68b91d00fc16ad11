"""A model of sentences is judged by the nats of held-out ones, by whether its vectors say anything,
and by how many it says again as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from fledge.evaluate.collapse import Codes, measure_codes
from fledge.evaluate.judge import Figures, Judge
from fledge.models.language.sentence_model import SentenceModel
from fledge.recipes.texts.data import Part
from fledge.seeds import generator_for
from fledge.splits import HeldOut, Split
from fledge.text.sentences import SentenceRows

READ = 256  # sentences at a time
CODES = 1000  # sentences whose codes are laid beside each other
AGAIN = 256  # sentences that are said again

Models = Callable[[], Mapping[str, SentenceModel]]


def judge_sentences(models: Models, parts: Mapping[Split, Part], seed: int) -> Judge:
    """Of each model, behind its prefix. nats: of a sentence, its end included. nats_per_token,
    bits_per_byte: the same by its tokens, and by the bytes of its text. reconstructed: share that
    is said again exactly, out of the vector, by the likeliest tokens. rate, active_units,
    information: of a model with posteriors, as `Codes` has them.
    """

    def read(part: HeldOut, step: int) -> Figures:
        figures: Figures = {}
        for prefix, model in models().items():
            measured = measure_sentences(model, parts[part], seed)
            figures |= {f"{prefix}{name}": value for name, value in measured.items()}
        return figures

    return Judge(
        read, headline="nats", lower_is_better=True, what="sentence", prefix="validation_",
        items={part: len(parts[part]) for part in ("validation", "test")},
    )  # fmt: skip


@torch.no_grad()
def measure_sentences(model: SentenceModel, part: Part, seed: int) -> Figures:
    """Of the same random numbers every time."""
    model.eval()
    generator = generator_for(seed, "evaluation", "sentences")
    total = 0.0
    for start in range(0, len(part), READ):
        rows = part.rows[start : start + READ].trim().to(model.device)
        total += float(model.nats(rows, generator).double().sum())
    figures: Figures = {
        "nats": total / len(part),
        "nats_per_token": total / part.rows.count_actions(),
        "bits_per_byte": total / part.bytes / math.log(2),
        "reconstructed": measure_reconstruction(model, part),
    }
    codes = look_at_codes(model, part.rows, seed)
    if codes is not None:
        figures |= {
            "rate": sum(codes.kl), "active_units": codes.active,
            "information": codes.information_low,
        }  # fmt: skip
    return figures


@torch.no_grad()
def measure_reconstruction(model: SentenceModel, part: Part) -> float:
    rows = part.rows.spread(AGAIN).trim().to(model.device)
    wanted = [model.tokenizer.decode(ids) for ids in rows.tokens.tolist()]
    said = model.say(model.encode(rows))
    return sum(one == other for one, other in zip(said, wanted, strict=True)) / len(wanted)


@torch.no_grad()
def look_at_codes(model: SentenceModel, rows: SentenceRows, seed: int) -> Codes | None:
    """None of a model whose vectors have no posterior of their own."""
    posterior: Any = getattr(model, "posterior", None)
    if posterior is None or len(rows) < 2:
        return None
    mean, log_deviation = posterior(rows.spread(CODES).trim().to(model.device))
    return measure_codes(mean, log_deviation, generator_for(seed, "evaluation", "codes"))
