"""Shards of a corpus in parts: the same files by one process and by several, the same stream as
without parts, each source by itself; and what goes wrong in a process is said by whoever asked it.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.splits import SPLITS, split_of
from fledge.text import corpus as corpora
from fledge.text import shard_processes
from fledge.text.corpus import Corpus
from fledge.text.shard_processes import write_corpus
from fledge.text.shard_writer import write_shards
from fledge.text.shards import StreamPart, TokenStream, find_damage
from fledge.text.tokenizer import Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Rows in two folders of several files, and a book alone; some of them copies."""
    rng = random.Random(0)
    return {
        name: ["".join(rng.choices("ab cé\n", k=rng.randrange(1, 90))) + name for _ in range(150)]
        for name in ("x", "y", "z")
    }


@pytest.fixture(scope="module")
def data(texts: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = {name: [json.dumps({"text": text}) for text in each] for name, each in texts.items()}
    (folder / "one").mkdir()
    (folder / "one" / "x.jsonl").write_text("\n\n".join(rows["x"] + rows["x"][:9]))
    with gzip.open(folder / "one" / "y.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows["y"]))
    (folder / "one" / "note.txt").write_text("a note")
    (folder / "book.txt").write_text("".join(texts["z"]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tokenizer(texts: dict[str, list[str]]) -> Tokenizer:
    return train_tokenizer("bpe", (text for each in texts.values() for text in each), 300)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "PART_CHARACTERS", 1500)


def read_folder(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_any_number_of_processes_writes_the_stream_of_one(
    data: Path, texts: dict[str, list[str]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    corpus = Corpus(f"{data / 'one'}:3,{data / 'book.txt'}:1")
    for number in (1, 2):
        tokenizer.save(tmp_path / str(number))
        write_corpus(tmp_path / str(number), corpus, tokenizer, processes=number)
    assert read_folder(tmp_path / "1") == read_folder(tmp_path / "2")
    assert len(list((tmp_path / "1").glob("train-0*.bin"))) > 4
    assert find_damage(tmp_path / "2") is None
    write_shards(tmp_path / "whole", corpus.split(), tokenizer)
    for split in SPLITS:
        parts, whole = TokenStream(tmp_path / "2", split), TokenStream(tmp_path / "whole", split)
        np.testing.assert_array_equal(parts[:], whole[:])
        np.testing.assert_array_equal(parts.documents, whole.documents)
        assert parts.bytes == whole.bytes
    # Each source has the splits it would have alone: documents by their hash, the book by a cut.
    rows, book = TokenStream(tmp_path / "2", "validation").of_sources()
    first = {" ".join(text.split()): text for text in [*texts["x"], *texts["y"]][::-1]}
    held_out = [text for text in ["a note", *first.values()] if split_of(text) == "validation"]
    assert sorted(split_documents(rows, tokenizer)) == sorted(held_out)
    letters = "".join(texts["z"])
    assert tokenizer.decode(book[:]) == letters[len(letters) * 90 // 100 : len(letters) * 95 // 100]


def split_documents(stream: StreamPart, tokenizer: Tokenizer) -> list[str]:
    ids = stream[:]
    starts = np.flatnonzero(ids == tokenizer.begin)
    return [tokenizer.decode(part) for part in np.split(ids, starts)[1:]]


def test_what_goes_wrong_in_a_process_is_said_here(
    data: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus(str(data / "one"))
    strange = train_tokenizer("characters", ["ab \n"])
    strange.save(tmp_path)
    with pytest.raises(UserError, match="does not know the character"):
        write_corpus(tmp_path, corpus, strange, processes=2)
    tokenizer.save(tmp_path)
    started: list[Any] = []
    begin = subprocess.Popen

    def start(*given: Any, **named: Any) -> Any:
        started.append(begin(*given, **named))
        os.kill(started[-1].pid, signal.SIGKILL)
        return started[-1]

    monkeypatch.setattr(shard_processes.subprocess, "Popen", start)
    with pytest.raises(UserError, match="a process that encodes text ended with code -9"):
        write_corpus(tmp_path, corpus, tokenizer, processes=2)
    assert [child.poll() for child in started] == [-9, -9]
    with pytest.raises(UserError, match="no finished token shards"):
        TokenStream(tmp_path, "train")
