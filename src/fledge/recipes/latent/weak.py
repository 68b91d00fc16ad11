"""What labelling functions come to: soft labels in a file, and a classifier trained on them, beside
majority vote and, where the true labels are known, beside one trained on these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.latent.weak_supervision import WeakSupervision
from fledge.models.latent.hashed_words import hash_words
from fledge.models.latent.label_model import LabelModel, majority_vote
from fledge.models.latent.word_classifier import WordClassifier
from fledge.rows.votes import Functions, Votes, load_functions, read_rows, read_votes, split_votes
from fledge.runs.atomic import write_text
from fledge.splits import Split

CLASSIFIER = "classifier"  # a folder of the run
CLASSIFIED = "classified.jsonl"


def read_vote_parts(
    data: str, settings: WeakSupervision.Settings
) -> tuple[dict[Split, Votes], bool]:
    """Train, validation and test, and whether they are apart."""
    functions = load_functions(settings.functions)
    votes = read_votes(data, functions)
    if settings.classify is not None:
        read_rows(settings.classify)  # what cannot be read is said before anything is fitted
    parts = split_votes(votes)
    if parts is None:
        return {"train": votes, "validation": votes, "test": votes}, False
    return parts, True


def describe_functions(model: LabelModel, train: Votes) -> list[str]:
    """A line a function: how often it votes, and how often it is right."""
    lines = []
    for m, name in enumerate(train.columns):
        cast = ~train.x[:, m].isnan()
        known = ""
        if train.is_labelled and bool(cast.any()):
            assert train.label is not None
            right = (train.x[:, m] == train.label)[cast].double().mean()
            known = f", in truth {float(right):.3f}"
        lines.append(
            f"  {name}: votes on {float(cast.double().mean()):.1%} of the rows, right "
            f"{float(model.accuracy[m]):.3f}{known}"
        )
    return lines


def write_chances(
    path: Path, texts: Sequence[str], labels: Sequence[str], chances: list[list[float]]
) -> None:
    """A row a line, with the chance of each label."""
    lines = []
    for text, row in zip(texts, chances, strict=True):
        chance = {label: round(p, 6) for label, p in zip(labels, row, strict=True)}
        best = max(chance, key=lambda label: chance[label])
        lines.append(
            json.dumps({"text": text, "label": best, "chance": chance}, ensure_ascii=False)
        )
    write_text(path, "\n".join(lines) + "\n")


def conclude_weak(
    folder: Path, model: LabelModel, parts: Mapping[Split, Any], settings: WeakSupervision.Settings
) -> tuple[dict[str, Any], list[str]]:
    """Writes labels.jsonl and the classifier; figures, and lines that say them."""
    train, judged = parts["train"], parts["test"]
    if settings.judged_on is not None:
        functions: Functions = load_functions(settings.functions)
        judged = read_votes(settings.judged_on, functions)
    soft = model.posterior(train.x)
    write_chances(folder / "labels.jsonl", train.texts, model.labels, soft.tolist())
    lines = describe_functions(model, train)
    voted = (~train.x.isnan()).any(1)  # a row without a vote teaches nothing
    classifier = WordClassifier.fit(
        hash_words([t for t, v in zip(train.texts, voted.tolist(), strict=True) if v]),
        soft[voted], model.labels,
    )  # fmt: skip
    classifier.save(folder / CLASSIFIER)
    lines.append(
        f"A classifier of words: fledge.open_run({str(folder)!r}).classifier.predict([text, …])"
    )
    if settings.classify is not None:
        texts = [row["text"] for row in read_rows(settings.classify)]
        chances = classifier.predict_proba(texts).tolist()
        write_chances(folder / CLASSIFIED, texts, classifier.labels, chances)
        lines.append(f"Labels of {len(texts):,} rows: {folder / CLASSIFIED}")
    if not judged.is_labelled:
        lines.append(f"Soft labels of {len(train):,} rows: {folder / 'labels.jsonl'}")
        return {"accuracy": {}}, lines
    accuracy = compare_ways(model, classifier, train, judged)
    lines.append(f"Right on {len(judged):,} labelled rows:")
    lines += [f"  {name}: {value:.4f}" for name, value in accuracy.items()]
    return {"accuracy": accuracy}, lines


def compare_ways(
    model: LabelModel, classifier: WordClassifier, train: Votes, judged: Votes
) -> dict[str, float]:
    """The share of right labels, by votes alone and by classifiers trained on what votes say.
    classifier: of the label model.
    """
    C, label = len(model.labels), judged.label
    assert label is not None
    voted = (~train.x.isnan()).any(1)
    words, others = hash_words(train.texts), hash_words(judged.texts)
    own = hash_words([t for t, v in zip(train.texts, voted.tolist(), strict=True) if v])
    ways: dict[str, tuple[Tensor, Tensor]] = {
        "words, of majority vote": (own, majority_vote(train.x[voted], C)),
    }
    if train.is_labelled:
        assert train.label is not None
        true = torch.nn.functional.one_hot(train.label, C).double()
        ways["words, of true labels"] = (words, true)
    accuracy = {
        "majority vote": share_right(majority_vote(judged.x, C), label),
        "label model": share_right(model.posterior(judged.x), label),
        "words, of the label model": share_right(classifier.score(others), label),
    }
    for name, (x, target) in ways.items():
        accuracy[name] = share_right(
            WordClassifier.fit(x, target, model.labels).score(others), label
        )
    return accuracy


def share_right(score: Tensor, label: Tensor) -> float:
    """Ties count by the share of those that are best.  [N, C], [N]"""
    best = (score == score.amax(1, keepdim=True)).double()
    return float((best / best.sum(1, keepdim=True)).gather(1, label[:, None]).mean())
