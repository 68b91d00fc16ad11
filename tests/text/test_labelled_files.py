"""Labelled rows out of every kind of file, and what is said of one that is wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.rows.census import Reading
from fledge.rows.labels import Choices, LabelledText, LabelRow, LabelTask, Likeness, TaggedWords
from fledge.text.labelled_files import read_labelled

READING = Reading(truncate="no")


def read(path: Path, content: str, task: LabelTask, *, labelled: bool = True) -> list[LabelRow]:
    packed = path.suffix == ".gz"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    return read_labelled(path, task, READING, labelled=labelled)[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "so, \\"good\\"", "label": 1}\n{"label": "0", "sentence": "bad"}\n'),
        ("a.jsonl.gz", '{"text": "so, \\"good\\"", "label": 1}\n\n{"text": "bad", "label": 0}\n'),
        ("a.csv", 'text,label,id\n"so, ""good""",1,x\nbad,0,y\n'),
        ("a.csv", '\ufefflabel;text\r\n1;"so, ""good"""\r\n0;bad\r\n'),
        ("a.tsv", 'sentence\tlabel\nso, "good"\t1\nbad\t0\n'),
    ],
)
def test_texts_with_labels(name: str, content: str, tmp_path: Path) -> None:
    wanted = [LabelledText(('so, "good"',), "1"), LabelledText(("bad",), "0")]
    assert read(tmp_path / name, content, "classify") == wanted


def test_pairs_choices_and_likeness(tmp_path: Path) -> None:
    nli = '{"premise": "a b", "hypothesis": "a", "label": "entailment"}\n'
    assert read(tmp_path / "a.jsonl", nli, "pair") == [LabelledText(("a b", "a"), "entailment")]
    glue = "sentence1\tsentence2\tlabel\na\tb\ttrue\n"
    assert read(tmp_path / "a.tsv", glue, "pair") == [LabelledText(("a", "b"), "true")]
    rows = ['"blue"', "1", '"B"', '"1"']
    content = "".join(
        f'{{"question": "q", "choices": ["red", "blue"], "answer": {x}}}\n' for x in rows
    )
    assert read(tmp_path / "b.jsonl", content, "choose") == [Choices("q", ("red", "blue"), 1)] * 4
    likeness = "sentence1,sentence2,score\na,b,2.5\n"
    assert read(tmp_path / "a.csv", likeness, "embed") == [Likeness(("a", "b"), 2.5)]
    asked = '{"question": "q", "choices": ["red", "blue"]}\n'
    assert read(tmp_path / "c.jsonl", asked, "choose", labelled=False) == [
        Choices("q", ("red", "blue"), -1)
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conll", "-DOCSTART- -X- O O\n\nAnn NNP I-NP I-PER\nleft VB O O\n\n\n# NN O O\n"),
        ("a.tsv.bio", "# text = Ann left\nAnn\tB-PER\nleft\tO\n\n#\tO\n"),
        ("a.jsonl", '{"tokens": ["Ann", "left"], "tags": ["S-PER", "O"]}\n'
         '{"tokens": ["#"], "tags": ["O"]}\n'),
    ],
)  # fmt: skip
def test_words_with_tags_come_as_iob2(name: str, content: str, tmp_path: Path) -> None:
    wanted = [TaggedWords(("Ann", "left"), ("B-PER", "O")), TaggedWords(("#",), ("O",))]
    assert read(tmp_path / name, content, "tag") == wanted


@pytest.mark.parametrize(
    ("name", "content", "task", "sentence"),
    [
        ("a.csv", "text,label\na,1\nb\n", "classify", "line 3 of .* has 1 value, and 2 columns"),
        ("a.csv", "text,mark\na,1\n", "classify", "line 2 of .* has no `label`"),
        ("a.csv", "text,text\na,1\n", "classify", "two columns of .* have one name"),
        ("a.jsonl", '{"text": "a", "label": 0.5}\n', "classify", "line 1 .* is 0.5: write a word"),
        ("a.jsonl", '{"text": "a", "labell": 1}\n', "classify", "has no `label`"),
        ("a.jsonl", '{"text": " ", "label": 1}\n', "classify", "can be used .an empty text: 1"),
        ("a.jsonl", '{"text_a": "a", "label": 1}\n', "pair", "has no `text_b`"),
        ("a.jsonl", '{"tokens": ["a"], "tags": []}\n', "tag", "1 `tokens` and 0 `tags`"),
        ("a.jsonl", '{"question": "q", "choices": ["a", "b"], "answer": 2}\n', "choose",
         "one of the 2 choices, its number from 0 to 1, or its letter"),
        ("a.jsonl", '{"question": "q", "choices": ["a", "a"], "answer": 0}\n', "choose", "differ"),
        ("a.conll", "a X O\nb O\n", "tag", "line 2 of .* has 2 columns where 3 are wanted"),
        ("a.conll", "a\n", "tag", "line 1 of .* has 1 column where a word and its tag"),
        ("a.parquet", "", "tag", "tagged words come from"),
        ("a.csv", "question,choices\n", "choose", "choices come from a .jsonl"),
        ("a.conll", "\n\n", "tag", "is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(
    name: str, content: str, task: LabelTask, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        read(tmp_path / name, content, task)


def test_each_row_knows_its_line(tmp_path: Path) -> None:
    cases: list[tuple[str, str, LabelTask, list[int]]] = [
        ("a.csv", 'text,label\n"two\nlines",1\n\nb,0\n', "classify", [3, 5]),
        ("a.conll", "-DOCSTART- O\n\na O\nb O\n\n\nc O\n", "tag", [3, 7]),
        ("a.jsonl", '\n{"text": "a", "label": 1}\n', "classify", [2]),
    ]
    for name, content, task, lines in cases:
        assert [row.line for row in read(tmp_path / name, content, task)] == lines


def test_bytes_that_are_no_utf8_are_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_bytes(b"a O\n\xff O\n")
    with pytest.raises(UserError, match=r"line 2 of .* is not UTF-8"):
        read_labelled(file, "tag", READING)


def test_a_pattern_is_all_files_that_fit_and_each_row_is_counted_in_its_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "rows-2.csv").write_text("text,label\nbad,0\n ,1\n")
    (tmp_path / "rows-1.jsonl").write_text('{"text": "good", "label": 1}\n')
    skip = Reading("skip", truncate="no")
    rows, counts = read_labelled(tmp_path / "rows-*", "classify", skip)
    assert rows == [LabelledText(("good",), "1"), LabelledText(("bad",), "0")]
    assert [(Path(each.source).name, each.read, each.left_out) for each in counts] == [
        ("rows-1.jsonl", 1, 0), ("rows-2.csv", 2, 1),
    ]  # fmt: skip
    assert [row.census for row in rows] == counts
    with pytest.raises(UserError, match=r"1 of the 2 rows of \S*rows-2.csv cannot be used"):
        read_labelled(tmp_path / "rows-*", "classify", READING)
