"""Passages that stood before: the same as by brute force over tuples of words."""

from __future__ import annotations

import random
from pathlib import Path

from fledge.curate.spans import RepeatedSpans, cut_spans
from tests.curate.texts import write_text


def find(texts: list[str], span: int, at_a_time: int = 3) -> list[tuple[int, int]]:
    with RepeatedSpans(span) as spans:
        for a in range(0, len(texts), at_a_time):
            spans.add(texts[a : a + at_a_time])
        again, _ = spans.find()
        first = spans.first
    places = [max(i for i in range(len(texts)) if first[i] <= word) for word in again.tolist()]
    return [(i, word - first[i]) for i, word in zip(places, again.tolist(), strict=True)]


def find_by_force(texts: list[str], span: int) -> list[tuple[int, int]]:
    seen, again = set[tuple[str, ...]](), []
    for number, text in enumerate(texts):
        words = text.split()
        for start in range(len(words) - span + 1):
            run = tuple(words[start : start + span])
            if run in seen:
                again.append((number, start))
            seen.add(run)
    return again


def test_the_same_runs_as_by_brute_force() -> None:
    lot = random.Random(0)
    texts = [" ".join(lot.choices("ab", k=lot.randint(0, 30))) for _ in range(40)]
    for span in (3, 5, 8):
        assert find(texts, span) == find_by_force(texts, span)
        assert find(texts, span, at_a_time=40) == find_by_force(texts, span)


def test_a_shared_paragraph_is_cut_out_of_the_second_and_nothing_else_is() -> None:
    paragraph = write_text(100, 60)
    first = f"{write_text(1)}\n\n{paragraph}\n\n{write_text(2)}"
    second = f"{write_text(3)}. Ünd: «{paragraph.upper()}»\n\n{write_text(4)}"
    short = f"{write_text(5)} {' '.join(paragraph.split()[:49])} {write_text(6)}"
    texts = [first, second, short]
    again = find(texts, 50)
    assert {number for number, _ in again} == {1}
    left, cut = cut_spans(second, [word for _, word in again])
    assert left == f"{write_text(3)}. Ünd: «{write_text(4)}"
    assert cut == len(second) - len(left)
    assert cut_spans(short, []) == (short, 0)


def test_a_document_that_stood_before_is_cut_whole() -> None:
    text = write_text(7, 80)
    again = find([text, text], 50)
    assert cut_spans(text, [word for _, word in again])[0] == ""


def test_its_files_are_gone_afterwards(tmp_path: Path) -> None:
    with RepeatedSpans(5, tmp_path) as spans:
        spans.add([write_text(0)])
        assert any(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
