"""How well an encoder labels held-out rows: its answers to them, and the figures of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.evaluate.judge import Figures
from fledge.evaluate.labels import (
    Agreement,
    EntityCount,
    count_confusions,
    list_agreements,
    mean_f1,
)
from fledge.micro_batches import group_by_length
from fledge.models.language.encoder import Encoder
from fledge.models.language.sentence_vectors import PLAIN_MEAN, Pooling
from fledge.models.language.word_vectors import correlate_ranks
from fledge.rows.entities import list_entities, name_entities
from fledge.rows.labels import Choices, LabelledText, LabelTask, TaggedWords
from fledge.sample.label_examples import STACK, Example, name_words
from fledge.sample.sentences import UNLABELLED, AlikePairs
from fledge.score.labels import embed, score_labels

AT_A_TIME = 1024  # tokens that are read together


@dataclass(frozen=True)
class Answers:
    """How good they are, and what was said of each row beside what is true of it; nothing of
    embeddings. by_label: of each label, or type of entity. confusions: [L, L], a row a true label,
    where there are labels.
    """

    figures: Figures
    said: list[str] = field(default_factory=list)
    true: list[str] = field(default_factory=list)
    by_label: dict[str, Agreement] = field(default_factory=dict)
    confusions: Tensor | None = None


@torch.no_grad()
def score_rows(
    encoder: Encoder,
    examples: Sequence[Example[Any]],
    task: LabelTask,
    pooling: Pooling = PLAIN_MEAN,
) -> list[Tensor]:
    """Logits in fp32 on the CPU of each row: [L], of words [T, L], of choices [K]; of embeddings
    the two normalised vectors, [2, D]. Rows of like length are read together.
    """
    device = encoder.unembedding.device
    stack = STACK[task]
    lengths = torch.tensor([[len(example.ids[0])] for example in examples])
    said: list[Tensor] = [torch.empty(0)] * len(examples)
    for group in group_by_length(lengths, AT_A_TIME):
        batch = stack([examples[place].ids for place in group.tolist()]).to(device)
        if isinstance(batch, AlikePairs):
            sides = (batch.anchor, batch.positive)
            both = [embed(encoder, side, pooling) for side in sides]
            scores = F.normalize(torch.stack(both, 1), dim=-1)
        else:
            scores = score_labels(encoder, batch).float()
        for place, row in zip(group.tolist(), scores.cpu(), strict=True):
            said[place] = row
    return said


def answer_rows(
    encoder: Encoder,
    examples: Sequence[Example[Any]],
    task: LabelTask,
    labels: Sequence[str],
    pooling: Pooling = PLAIN_MEAN,
) -> Answers:
    """What the encoder says of them, and how good that is."""
    scores = score_rows(encoder, examples, task, pooling)
    if task == "tag":
        return _answer_words(examples, scores, labels)
    if task == "embed":
        return Answers(judge_vectors(examples, torch.stack(scores)))
    return _answer_sentences(examples, scores, labels)


def _answer_sentences(
    examples: Sequence[Example[Any]], scores: Sequence[Tensor], labels: Sequence[str]
) -> Answers:
    """accuracy: the share whose likeliest label is their own; loss: nats of a label that is known;
    macro_f1: the mean over labels, not of choices.
    """
    true, said, nats, right = [], [], [], 0
    table = torch.zeros(len(labels), len(labels), dtype=torch.long)
    for example, row in zip(examples, scores, strict=True):
        number, best = int(example.ids[-1]), int(row.argmax())
        right += number == best
        if number != UNLABELLED:
            nats.append(-float(row.log_softmax(-1)[number]))
        if isinstance(example.row, Choices):
            said.append(example.row.choices[best])
            true.append(example.row.choices[number])
            continue
        assert isinstance(example.row, LabelledText)
        said.append(labels[best])
        true.append(example.row.label)
        if number != UNLABELLED:
            table += count_confusions(torch.tensor([number]), torch.tensor([best]), len(labels))
    figures = {"accuracy": right / len(examples), "loss": sum(nats) / max(1, len(nats))}
    if not int(table.sum()):
        return Answers(figures, said, true)
    by_label = dict(zip(labels, list_agreements(table), strict=True))
    return Answers({**figures, "macro_f1": mean_f1(table)}, said, true, by_label, table)


def _answer_words(
    examples: Sequence[Example[TaggedWords]], scores: Sequence[Tensor], labels: Sequence[str]
) -> Answers:
    """entity_f1, precision and recall of entities, where the tags mark such; accuracy of all words;
    loss: nats of a word's tag.
    """
    counted, nats, right, words = EntityCount(), [], 0, 0
    said_of, true_of = [], []
    of_entities = name_entities(labels)
    number = {label: place for place, label in enumerate(labels)}
    table = torch.zeros(len(labels), len(labels), dtype=torch.long)
    for example, rows in zip(examples, scores, strict=True):
        tags, said = example.row.tags, name_words(example, rows.argmax(-1).tolist(), labels)
        counted.add(tags, said)
        right += sum(one == other for one, other in zip(tags, said, strict=True))
        words += len(tags)
        logp = rows.log_softmax(-1)
        for place, tag in zip(example.places, tags, strict=True):
            if place is not None and tag in number:
                nats.append(-float(logp[place, number[tag]]))
        known = [(number[t], number[s]) for t, s in zip(tags, said, strict=True) if t in number]
        one, other = torch.tensor(known).view(-1, 2).long().unbind(1)
        table += count_confusions(one, other, len(labels))
        said_of.append(mark_words(example.row.words, said, entities=of_entities))
        true_of.append(mark_words(example.row.words, tags, entities=of_entities))
    figures = {"accuracy": right / words, "loss": sum(nats) / max(1, len(nats))}
    if of_entities:
        whole = counted.whole
        marks = {"entity_f1": whole.f1, "precision": whole.precision, "recall": whole.recall}
        figures = {**marks, **figures}
    by_label = dict(zip(labels, list_agreements(table), strict=True))
    if of_entities:
        by_label = counted.by_type()
    return Answers(figures, said_of, true_of, by_label, table)


def mark_words(words: Sequence[str], tags: Sequence[str], *, entities: bool) -> str:
    """A sentence as a person reads it: [Ann Lee PER] lives in [Rome LOC]; where tags mark no
    entities word/TAG.
    """
    if not entities:
        return " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True))
    parts: list[str] = []
    done = 0
    for kind, first, after in list_entities(tags):
        parts += [*words[done:first], f"[{' '.join(words[first:after])} {kind}]"]
        done = after
    return " ".join([*parts, *words[done:]])


def judge_vectors(examples: Sequence[Example[Any]], vectors: Tensor) -> Figures:
    """spearman: of cosines and scores, where rows have scores (Cer et al. 2017); else retrieval:
    the share of texts whose own partner is the nearest of all.  vectors [N, 2, D], normalised
    """
    anchor, positive = vectors.unbind(1)
    scores = [example.row.score for example in examples]
    if all(score is not None for score in scores):
        cosine = (anchor * positive).sum(-1)
        return {"spearman": correlate_ranks(cosine.tolist(), scores)}
    texts = [example.row.texts[1] for example in examples]
    nearest = (anchor @ positive.T).argmax(-1).tolist()
    # The same text may be the partner of several.
    right = [texts[best] == own for best, own in zip(nearest, texts, strict=True)]
    return {"retrieval": sum(right) / len(right)}
