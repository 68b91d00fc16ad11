"""What is said of a model of sequences: what it was fitted to, which symbols its states show."""

from __future__ import annotations

import torch

from fledge.algorithms.latent.baum_welch import list_classes
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.models.latent.latent_model import LatentModel
from fledge.rows.sequences import Sequences


def describe_sequences(name: str, train: Sequences) -> str:
    many = f"{len(train):,} sequences" if len(train) > 1 else "1 sequence"
    of = f"{len(train.symbols)} symbols" if train.symbols else f"{train.width} columns"
    return f"{name} on {many} of {train.steps:,} steps in all, {of}"


def list_text_classes(model: LatentModel, train: Sequences) -> list[list[str]]:
    """Of every state its symbols, the most frequent first; none where it shows numbers."""
    if not isinstance(model, HiddenMarkov) or not train.symbols:
        return []
    return list_classes(model, torch.bincount(train.x, minlength=len(train.symbols)))


def describe_classes(classes: list[list[str]]) -> list[str]:
    """A line for every class."""
    return [
        f"class {number}: {' '.join(symbols) or '(none is likeliest here)'}"
        for number, symbols in enumerate(classes, 1)
    ]
