"""The texts that a run and its parents were trained on, in whatever form; what is gone is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from fledge.evaluate.suites.lineage_texts import list_trained, read_texts, read_trained


def write(run: Path, **said: Any) -> None:
    run.mkdir(parents=True)
    (run / "lineage.json").write_text(json.dumps({"started_in": str(run.parent), **said}))


def test_a_run_has_the_texts_of_its_parents_too(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("a book")
    (tmp_path / "rows.jsonl.gz").write_bytes(
        gzip.compress(b'{"messages": [{"content": "a turn"}], "n": 1}\n')
    )
    (tmp_path / "shard.bin").write_bytes(b"\0\1")
    write(tmp_path / "pretrain", data=[{"path": "book.txt"}, {"path": "gone.txt"}], parents=[])
    write(
        tmp_path / "tune",
        data=[{"path": str(tmp_path / "rows.jsonl.gz")}, {"path": "shard.bin"}],
        parents=[{"path": "../pretrain"}, {"path": "../tune"}],
    )
    trained = list_trained(tmp_path / "tune")
    assert trained.known
    assert trained.lost == ["gone.txt"]
    assert not trained.prose
    texts = list(read_trained(trained))
    assert sorted(texts) == ["a book", "a turn"]


def test_a_line_that_was_left_out_hides_none_of_those_behind_it(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "one"}\n{"text": \n{"text": "two"}\n')
    assert [text.strip() for text in read_texts(file)] == ["one", '{"text":', "two"]


def test_a_model_without_a_lineage_says_nothing(tmp_path: Path) -> None:
    trained = list_trained(tmp_path)
    assert (trained.known, trained.files, trained.lost) == (False, [], [])


def test_our_own_prose_is_read_where_it_was(tmp_path: Path) -> None:
    write(tmp_path / "run", data=[{"path": "python", "python": "3.11"}], parents=[])
    trained = list_trained(tmp_path / "run")
    assert trained.prose
    assert any("iterator" in text for text in read_trained(trained))
