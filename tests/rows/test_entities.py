"""Tags as entities by conlleval's rules: cases worked by hand, and the same as seqeval counts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fledge.evaluate.labels import EntityCount
from fledge.rows.entities import list_entities, name_entities, to_iob2


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("O O", []),
        ("B-X I-X O B-X", [("X", 0, 2), ("X", 3, 4)]),  # IOB2
        ("I-X I-X O I-Y I-X", [("X", 0, 2), ("Y", 3, 4), ("X", 4, 5)]),  # IOB1
        ("I-X B-X I-X", [("X", 0, 1), ("X", 1, 3)]),  # IOB1: a B only where two touch
        ("B-X I-Y", [("X", 0, 1), ("Y", 1, 2)]),  # another type begins another entity
        ("O I-X O", [("X", 1, 2)]),
        ("B-X B-X", [("X", 0, 1), ("X", 1, 2)]),
        ("B-X I-X E-X S-X", [("X", 0, 3), ("X", 3, 4)]),  # IOBES
        ("U-X B-X L-X I-X", [("X", 0, 1), ("X", 1, 3), ("X", 3, 4)]),  # BILOU
        ("B-a-b I-a-b", [("a-b", 0, 2)]),  # a type may have a hyphen
    ],
)
def test_entities_of_tags(tags: str, entities: list[Any]) -> None:
    assert list_entities(tags.split()) == entities
    assert list_entities(to_iob2(tags.split())) == entities


def test_every_scheme_comes_out_as_iob2() -> None:
    wanted = ["B-X", "I-X", "B-X", "O", "B-Y"]
    for tags in (
        "I-X I-X B-X O I-Y",
        "B-X E-X S-X O S-Y",
        "B-X L-X U-X O U-Y",
        "B-X I-X B-X O B-Y",
    ):
        assert to_iob2(tags.split()) == wanted


def test_which_tags_name_entities() -> None:
    assert name_entities(["O", "B-PER"])
    assert name_entities(["I-PER", "B-LOC"])
    assert not name_entities(["NOUN", "VERB", "O"])
    assert not name_entities(["O"])


def test_an_entity_is_right_where_its_type_and_both_its_ends_are() -> None:
    """Of three true ones and three said ones one is both: precision, recall and F1 are a third."""
    count = EntityCount()
    count.add(["B-X", "I-X", "O", "B-Y", "O", "B-X"], ["B-X", "O", "O", "B-Y", "O", "B-Y"])
    assert (count.whole.true, count.whole.said, count.whole.right) == (3, 3, 1)
    assert count.whole.precision == count.whole.recall == pytest.approx(1 / 3)
    assert count.whole.f1 == pytest.approx(1 / 3)
    by_type = count.by_type()
    assert (by_type["X"].f1, by_type["Y"].precision, by_type["Y"].recall) == (0.0, 0.5, 1.0)
    assert by_type["Y"].f1 == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="give as many"):
        count.add(["O"], ["O", "O"])


def test_figures_equal_those_of_seqeval() -> None:
    metrics = pytest.importorskip("seqeval.metrics")
    draw = random.Random(3)
    kinds = ["O", "O", "B-X", "I-X", "B-Y", "I-Y"]
    sides = [[draw.choices(kinds, k=draw.randint(1, 9)) for _ in range(60)]]
    sides.append([[draw.choice([tag, draw.choice(kinds)]) for tag in row] for row in sides[0]])
    count = EntityCount()
    for true, said in zip(*sides, strict=True):
        count.add(true, said)
    assert count.whole.f1 == pytest.approx(metrics.f1_score(*sides), abs=1e-12)
    assert count.whole.precision == pytest.approx(metrics.precision_score(*sides), abs=1e-12)
    assert count.whole.recall == pytest.approx(metrics.recall_score(*sides), abs=1e-12)
    report = metrics.classification_report(*sides, output_dict=True)
    for kind, agreement in count.by_type().items():
        assert agreement.f1 == pytest.approx(report[kind]["f1-score"], abs=1e-12)
        assert agreement.true == report[kind]["support"]
