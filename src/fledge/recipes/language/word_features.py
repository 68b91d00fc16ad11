"""Word vectors and the layers of a language model as features of a text, beside each other:
logistic regression on their means, with the words themselves as the baseline.

Layers are weighted as in ELMo, γ Σ_l s_l h_l with s a softmax (Peters et al. 2018, eq. 1); the mean
over a text's tokens of the sum is the sum of means, so that each layer is averaged once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from fledge.data_names import list_named
from fledge.errors import UserError
from fledge.hub.folder import Loaded, is_encoder, load_encoder, load_model
from fledge.hub.sentence_texts import frame_ids
from fledge.models.language.layer_states import read_layers
from fledge.models.language.word_vectors import WordVectors
from fledge.models.latent.hashed_words import fit_logistic, hash_words
from fledge.recipes.language.order_fields import reads_backward
from fledge.runs.show import Show
from fledge.splits import SPLITS, Split, divide
from fledge.text.files import json_rows
from fledge.text.frames import read_frame
from fledge.text.words import split_words
from fledge.trajectories import from_rows

DECAYS = (1e-4, 1e-3, 1e-2, 1e-1)  # of which validation chooses one
ROWS = 64  # that a language model reads at a time


@dataclass(frozen=True)
class LabelledTexts:
    """label: the number of each text's label.  rows: of each part, their numbers."""

    texts: list[str]
    label: Tensor
    labels: list[str]
    rows: Mapping[Split, Tensor]

    def target(self, split: Split) -> Tensor:
        """[N, C]"""
        own = self.label[self.rows[split]]
        return torch.nn.functional.one_hot(own, len(self.labels)).double()

    def share_right(self, score: Tensor, split: Split) -> float:
        return float((score.argmax(1) == self.label[self.rows[split]]).double().mean())


def classify(
    held: WordVectors, path: Path, contextual: str, show: Show
) -> dict[str, dict[str, float]]:
    """The share of right labels by each kind of feature. Raises UserError for rows that cannot be
    used.
    """
    data = read_labelled(path)
    words = hash_words(data.texts)
    static = held.mean([split_words(text) for text in data.texts])
    result = {
        "words": fit_features(data, words, standard=False),
        "vectors": fit_features(data, static),
    }
    if contextual:
        layers = join_layers(contextual, data.texts)  # [N, L, D]
        result["last layer"] = fit_features(data, layers[:, -1])
        mixed, weights = mix_layers(data, layers)
        result["layers, weighted"] = mixed | {f"layer {n}": w for n, w in enumerate(weights)}
        own = standardise(layers, data.rows["train"])  # as the weights were learned
        summed = torch.einsum("l,nld->nd", torch.tensor(weights).double(), own)
        result["vectors and layers"] = fit_features(data, torch.cat([static, summed], 1))
    most = data.label[data.rows["test"]].bincount().max() / len(data.rows["test"])
    show.print(draw_table(result))
    show.line(
        f"classify: right on {len(data.rows['test']):,} texts of the test part, read once; always "
        f"the most frequent label is right on {float(most):.1%}"
    )
    return result


def read_labelled(path: Path) -> LabelledTexts:
    """Raises UserError for rows without a text or a label, for one label alone, and for too few
    texts.
    """
    texts, names = [], []
    every = ((file, *each) for file in list_named(path) for each in json_rows(file))
    for file, line, row in every:
        text, label = row.get("text"), row.get("label")
        if not isinstance(text, str) or not text.strip() or not isinstance(label, str | int):
            raise UserError(
                f'line {line} of {file} is no labelled text: give {{"text": "…", "label": "…"}}.'
            )
        texts.append(text)
        names.append(str(label))
    labels, sides = sorted(set(names)), divide(texts)
    if sides is None or len(labels) < 2:
        raise UserError(
            f"{path} has {len(set(texts))} different texts and {len(labels)} labels: 20 texts and "
            "2 labels are needed."
        )
    rows: dict[Split, Tensor] = {
        split: torch.tensor([n for n, text in enumerate(texts) if sides[text] == split])
        for split in SPLITS
    }
    number = torch.tensor([labels.index(name) for name in names])
    return LabelledTexts(texts, number, labels, rows)


def fit_features(data: LabelledTexts, x: Tensor, *, standard: bool = True) -> dict[str, float]:
    """The decay that is best on validation, and its share of right labels on test.  x: [N, F]

    standard: columns of mean 0 and deviation 1 over the training part.
    """
    x = standardise(x, data.rows["train"]) if standard else x
    parts = {split: take(x, data.rows[split]) for split in SPLITS}

    def fit(decay: float) -> Callable[[Split], Tensor]:
        weight, bias = fit_logistic(parts["train"], data.target("train"), decay)
        return lambda split: parts[split] @ weight + bias

    return choose_decay(data, fit)


def choose_decay(
    data: LabelledTexts, fit: Callable[[float], Callable[[Split], Tensor]]
) -> dict[str, float]:
    """fit: of a decay what scores each part."""
    tried = [(data.share_right(score("validation"), "validation"), decay, score)
             for decay in DECAYS for score in [fit(decay)]]  # fmt: skip
    validation, decay, score = max(tried, key=lambda one: one[0])
    test = data.share_right(score("test"), "test")
    return {"validation": validation, "test": test, "decay": decay}


def standardise(x: Tensor, rows: Tensor) -> Tensor:
    """Columns of mean 0 and deviation 1 over the training rows, in double.  [N, …] -> the same"""
    part = take(x, rows)
    return (x.double() - part.mean(0)) / part.std(0).clamp(min=1e-8)


def take(x: Tensor, rows: Tensor) -> Tensor:
    return x.index_select(0, rows).double()


def join_layers(contextual: str, texts: Sequence[str]) -> Tensor:
    """Of models with a comma between them, side by side layer for layer, as both directions of an
    ELMo are.  -> [N, L, ΣD]. Raises UserError for models of unequal depth.
    """
    paths = [Path(name.strip()) for name in contextual.split(",") if name.strip()]
    every = [average_layers(path, texts) for path in paths]
    depths = [layers.shape[1] for layers in every]
    if len(set(depths)) > 1:
        raise UserError(
            f"contextual={contextual} has models of {' and '.join(map(str, depths))} layers, which "
            "are laid side by side one by one: give models of one depth."
        )
    return torch.cat(every, 2)


def average_layers(path: Path, texts: Sequence[str]) -> Tensor:
    """The mean over a text's tokens of what each layer of a model says, of a long text over those
    that fit the context.  -> [N, L, D]
    """
    encodes = is_encoder(path)
    loaded = load_encoder(path) if encodes else load_model(path, backward=True)
    ids, context = [loaded.tokenizer.encode(text) for text in texts], loaded.network.config.context
    loaded.network.eval()
    if encodes:
        room = context - read_frame(loaded.tokenizer).count()
        rows = [frame_ids(loaded, each[:room]) for each in ids]
    else:
        opening, backward = loaded.tokenizer.opening, reads_backward(loaded.network)
        cut = [each[: context - len(opening)] for each in ids]  # the same, read from either end
        rows = [[*opening, *(each[::-1] if backward else each)] for each in cut]
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))  # little padding
    groups = [list(alike) for _, alike in groupby(order, lambda n: encodes and len(rows[n]))]
    average = average_encoded if encodes else average_read
    means: dict[int, Tensor] = {}
    for group in groups:
        for begin in range(0, len(group), ROWS):
            some = group[begin : begin + ROWS]
            means |= dict(zip(some, average(loaded, [rows[n] for n in some]), strict=True))
    return torch.stack([means[n] for n in range(len(rows))])


def average_read(loaded: Loaded, rows: list[list[int]]) -> Tensor:
    """Of a model that reads from the left, without the tokens that open a document."""
    policy, tokenizer = loaded.policy(), loaded.tokenizer
    opening = len(tokenizer.opening)
    own = [[False] * opening + [True] * (len(row) - opening) for row in rows]
    # Not by what opens a document, where a state would be emptied.
    batch = from_rows(rows, own, pad=int(tokenizer.border == 0))
    said = read_layers(policy.network, lambda: policy.hidden(batch.obs), len(rows))
    chosen = batch.chosen[:, :, None, None].to(said)
    return (said[:, 1:] * chosen).sum(1) / chosen.sum(1).clamp(min=1)


def average_encoded(loaded: Loaded, rows: list[list[int]]) -> Tensor:
    """Of an encoder, of rows of one length."""
    network, tokens = loaded.network, torch.tensor(rows)
    return read_layers(network, lambda: network(tokens), len(rows)).mean(1)


def mix_layers(data: LabelledTexts, layers: Tensor) -> tuple[dict[str, float], list[float]]:
    """s, γ and the regression learned together.  [N, L, D] -> figures, γ s_l of each layer"""
    layers = standardise(layers, data.rows["train"])
    x = {split: take(layers, data.rows[split]) for split in SPLITS}
    C, weights = len(data.labels), {}

    def fit(decay: float) -> Callable[[Split], Tensor]:
        share = torch.zeros(layers.shape[1], dtype=torch.float64, requires_grad=True)
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        matrix = torch.zeros(layers.shape[2], C, dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(C, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [share, scale, matrix, bias], max_iter=100, line_search_fn="strong_wolfe"
        )

        def score(split: Split) -> Tensor:
            mixed = torch.einsum("l,nld->nd", scale * share.softmax(0), x[split])
            return mixed @ matrix + bias

        def measure() -> Tensor:
            optimizer.zero_grad()
            log_p = score("train").log_softmax(1)
            loss = -(data.target("train") * log_p).sum(1).mean()
            loss = loss + 0.5 * decay * (matrix.square().sum() + (scale - 1).square())
            loss.backward()
            return loss

        optimizer.step(measure)  # pyright: ignore[reportArgumentType]
        weights[decay] = (scale * share.softmax(0)).detach().float().tolist()
        return score

    figures = choose_decay(data, fit)
    return figures, weights[figures["decay"]]


def draw_table(result: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("features", "validation", "test"):
        table.add_column(column, justify="left" if column == "features" else "right")
    for name, one in result.items():
        table.add_row(name, f"{one['validation']:.1%}", f"{one['test']:.1%}")
    return table
