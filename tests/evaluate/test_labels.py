"""Figures of labels against scikit-learn, and by hand."""

from __future__ import annotations

import pytest
import torch

from fledge.evaluate.labelling import mark_words
from fledge.evaluate.labels import (
    count_confusions,
    list_agreements,
    mean_f1,
    order_labels,
)
from tests.subjects import seeded


def test_figures_equal_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    true, said = (torch.randint(0, 4, (200,), generator=seeded(n)) for n in (1, 2))
    table = count_confusions(true, said, 5)  # of the fifth label nothing is
    assert (table.numpy() == metrics.confusion_matrix(true, said, labels=range(5))).all()
    theirs = metrics.precision_recall_fscore_support(true, said, labels=range(5), zero_division=0)
    for place, ours in enumerate(list_agreements(table)):
        own = (ours.precision, ours.recall, ours.f1, ours.true)
        assert own == pytest.approx([each[place] for each in theirs], abs=1e-12)
    assert mean_f1(table) == pytest.approx(metrics.f1_score(true, said, average="macro"))


def test_labels_have_one_order() -> None:
    assert order_labels(["10", "b", "2", "a", "2"]) == ("2", "10", "a", "b")


def test_a_tagged_sentence_as_a_person_reads_it() -> None:
    words, tags = ["Ann", "Lee", "left", "Rome"], ["B-PER", "I-PER", "O", "B-LOC"]
    assert mark_words(words, tags, entities=True) == "[Ann Lee PER] left [Rome LOC]"
    assert mark_words(["a"], ["DET"], entities=False) == "a/DET"
