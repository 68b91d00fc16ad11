"""What a model of the grammar's sentences draws, and what becomes of a sentence that is moved to
another tense, judged by the grammar itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from fledge.models.language.sentence_model import SentenceModel
from fledge.seeds import generator_for
from fledge.text.grammar import NUMBERS, Grammar

DRAWN = 500  # sentences
MOVED = 200  # sentences that are moved, and of either tense for the way between them
FROM, TO = "present", "past"


@torch.no_grad()
def count_grammatical(model: SentenceModel, grammar: Grammar, seed: int) -> dict[str, float]:
    """Of samples at temperature 1: grammatical, the share that the grammar can say; sample_nats,
    what those take on average by the grammar, whose own take its entropy; distinct, the share of
    different ones. greedy_…: the same of the likeliest tokens for each vector drawn.
    """
    figures: dict[str, float] = {}
    for name, temperature in (("", 1.0), ("greedy_", 0.0)):
        generator = generator_for(seed, "samples", "counted")
        said = model.sample(DRAWN, generator, temperature)
        right = [nats for nats in (-grammar.log_prob(text) for text in said) if nats < math.inf]
        figures |= {
            f"{name}grammatical": len(right) / DRAWN,
            f"{name}distinct": len(set(said)) / DRAWN,
        }
        if right:
            figures[f"{name}sample_nats"] = sum(right) / len(right)
    return figures


@torch.no_grad()
def count_edits(
    model: SentenceModel, grammar: Grammar, train: Sequence[str], held_out: Sequence[str]
) -> dict[str, float]:
    """Held-out sentences in the present, moved by the difference between the mean vectors of the
    past and of the present. edited: share that comes out as a grammatical sentence in the past;
    edited_number: share that keeps its subject's number as well.
    """
    texts = {tense: find_tense(grammar, train, tense) for tense in (FROM, TO)}
    given = find_tense(grammar, held_out, FROM)
    if not all((given, *texts.values())):
        return {}
    way = model.embed(list(texts[TO])).mean(0) - model.embed(list(texts[FROM])).mean(0)
    said = model.say(model.settle(model.embed(list(given)) + way))
    pairs = list(zip(given.values(), find_numbers(grammar, said, TO), strict=True))
    return {
        "edited": sum(new is not None for _, new in pairs) / len(pairs),
        "edited_number": sum(new == number for number, new in pairs) / len(pairs),
    }


def find_tense(grammar: Grammar, texts: Sequence[str], tense: str) -> dict[str, str]:
    """The first different ones of a tense, and the number of their subject."""
    kept: dict[str, str] = {}
    for text, number in zip(texts, find_numbers(grammar, texts, tense), strict=True):
        if number is not None and len(kept) < MOVED:
            kept[text] = number
    return kept


def find_numbers(grammar: Grammar, texts: Sequence[str], tense: str) -> list[str | None]:
    """Of each the number of its subject; None of one that is no sentence of that tense."""
    return [
        next((n for n in NUMBERS if grammar.log_prob(text, f"S.{n}.{tense}") > -math.inf), None)
        for text in texts
    ]
