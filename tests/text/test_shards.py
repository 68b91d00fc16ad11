"""What is read from shards is what was encoded, and no half of them is believed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.splits import SPLITS, Split
from fledge.text import shard_writer
from fledge.text.documents import Document
from fledge.text.shard_writer import write_shards
from fledge.text.shards import TokenStream, find_damage
from fledge.text.tokenizer import Tokenizer, train_tokenizer

BYTES = train_tokenizer("bytes", [])


def documents(split: str, count: int) -> list[Document]:
    rng = random.Random(split)
    return [
        Document("".join(rng.choices("ab é😀\n", k=rng.randrange(40))), f"{split} {i}")
        for i in range(count)
    ]


CORPUS: dict[Split, list[Document]] = {
    "train": documents("train", 200),
    "validation": documents("validation", 7),
    "test": [],
}


def in_turn(corpus: dict[Split, list[Document]]) -> list[tuple[Split, Document]]:
    """The documents with their splits, those of different splits mixed."""
    pairs: list[tuple[Split, Document]] = [
        (split, document) for split, documents in corpus.items() for document in documents
    ]
    return sorted(pairs, key=lambda pair: int(pair[1].source.split()[-1]))


def row(tokenizer: Tokenizer, split: Split) -> list[int]:
    return [number for d in CORPUS[split] for number in (1, *tokenizer.encode(d.text), 2)]


@pytest.mark.parametrize("shard_tokens", [1, 64, 1000, 2**24])
def test_the_stream_is_the_documents_one_after_another(shard_tokens: int, tmp_path: Path) -> None:
    corpus: dict[Split, list[Document]] = (
        {"train": CORPUS["train"][:20]} if shard_tokens == 1 else CORPUS
    )
    write_shards(tmp_path, in_turn(corpus), BYTES, shard_tokens)
    expected = np.array(row(BYTES, "train"))
    stream = TokenStream(tmp_path, "train")
    expected = expected[: len(stream)] if shard_tokens == 1 else expected
    assert len(stream) == len(expected)
    assert stream[:].dtype == np.int64
    np.testing.assert_array_equal(stream[:], expected)
    rng = random.Random(0)
    for _ in range(200):
        a, b = rng.randrange(-10, len(stream) + 10), rng.randrange(-10, len(stream) + 200)
        np.testing.assert_array_equal(stream[a:b], expected[a:b])


@pytest.mark.parametrize("batch", [1, 90, 2**18])
def test_documents_and_bytes_are_counted(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fledge.text.encoding.BATCH", batch)
    write_shards(tmp_path, in_turn(CORPUS), BYTES, 300)
    for split in SPLITS:
        stream = TokenStream(tmp_path, split)
        assert stream.bytes == sum(len(d.text.encode()) for d in CORPUS[split])
        assert len(stream.documents) == len(CORPUS[split])
        borders = [*stream.documents.tolist(), len(stream)]
        read = [stream[a:b] for a, b in pairwise(borders)]
        assert [BYTES.decode(ids) for ids in read] == [d.text for d in CORPUS[split]]
        assert all((ids[0], ids[-1]) == (BYTES.begin, BYTES.end) for ids in read)
        assert (stream.tokenizer_sha256, stream.vocab_size) == (BYTES.fingerprint(), 262)


def test_an_empty_split_is_an_empty_stream(tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES)
    stream = TokenStream(tmp_path, "test")
    assert (len(stream), stream.bytes, stream[0:5].tolist(), stream.documents.tolist()) == (
        0,
        0,
        [],
        [],
    )


def test_ids_above_65535_take_four_bytes(tmp_path: Path) -> None:
    text = "".join(chr(0x10000 + i) for i in range(70_000))
    tokenizer = train_tokenizer("characters", [text])
    write_shards(tmp_path, [("train", Document(text, ""))], tokenizer)
    np.testing.assert_array_equal(TokenStream(tmp_path, "train")[:], [1, *range(6, 70_006), 2])
    assert (tmp_path / "train-00000.bin").stat().st_size == 4 * 70_002


def test_equal_corpora_give_equal_files_and_the_index_tells_their_sha256(tmp_path: Path) -> None:
    for name in "ab":
        write_shards(tmp_path / name, in_turn(CORPUS), BYTES, 500)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        for name in files
    )
    entries = json.loads((tmp_path / "a" / "index.json").read_text())["splits"]["train"]["shards"]
    assert len(entries) > 1
    for entry in entries:
        content = (tmp_path / "a" / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]


def test_writing_again_leaves_nothing_of_the_old_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES, 100)
    write_shards(tmp_path, in_turn({"validation": CORPUS["validation"]}), BYTES)
    assert sorted(path.name for path in tmp_path.glob("*0.bin")) == ["validation-00000.bin"]
    assert len(TokenStream(tmp_path, "train")) == 0


@pytest.mark.parametrize("name", ["train-00001.bin", "train-documents.bin"])
def test_a_file_that_is_cut_off_or_missing_is_a_user_error(name: str, tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES, 300)
    whole = (tmp_path / name).read_bytes()
    for content in (whole[:-1], whole[:-8], b"", whole + b"\0"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            UserError, match=rf"{name} has {len(content)} bytes where {len(whole)} are wanted"
        ):
            TokenStream(tmp_path, "train")
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match="is missing"):
        TokenStream(tmp_path, "train")


def test_a_broken_index_is_a_user_error(tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES)
    path = tmp_path / "index.json"
    whole = path.read_bytes()
    for content in (
        whole[:100],
        b"\xff",
        b"[]",
        b'{"format": 99}',
        b'{"format": 1}',
        b'{"format": 1, "splits": 3}',
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"index\.json"):
            TokenStream(tmp_path, "train")
    path.unlink()
    with pytest.raises(UserError, match="no finished token shards"):
        TokenStream(tmp_path, "train")


@pytest.mark.parametrize("after_files", range(6))
def test_a_full_disk_leaves_nothing_that_is_believed(
    after_files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES, 2000)
    written = 0

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > after_files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shard_writer.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_shards(tmp_path, in_turn(CORPUS), BYTES, 2000)
    for split in SPLITS:
        with pytest.raises(UserError, match="no finished token shards"):
            TokenStream(tmp_path, split)


SCRIPT = """
import sys
from fledge.text.documents import Document
from fledge.text.shard_writer import write_shards
from fledge.text.tokenizer import train_tokenizer
tokenizer = train_tokenizer("bytes", [])
print("ready", flush=True)
for number in range(10**6):
    document = Document(chr(97 + number % 26) * (1000 + number), "")
    write_shards(sys.argv[1], [("train", document)] * 3, tokenizer, 256)
"""


def test_a_kill_at_any_moment_leaves_whole_shards_or_none(tmp_path: Path) -> None:
    rng = random.Random(0)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(6):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.random() * 0.2)
            process.kill()
        if not (tmp_path / "index.json").exists():
            with pytest.raises(UserError, match="no finished"):
                TokenStream(tmp_path, "train")
            continue
        stream = TokenStream(tmp_path, "train")
        text = BYTES.decode(stream[:])
        assert len(set(text)) == 1
        assert len(text) == stream.bytes == len(stream) - 6


def test_a_step_is_a_value_error(tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES)
    with pytest.raises(ValueError, match="steps of 1"):
        TokenStream(tmp_path, "train")[::2]


@pytest.mark.parametrize("name", ["train-00001.bin", "validation-00000.bin", "train-documents.bin"])
def test_a_flipped_bit_or_zeros_are_found_and_named(name: str, tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES, 300)
    assert find_damage(tmp_path) is None
    whole = (tmp_path / name).read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(
            whole[:place] + bytes((whole[place] ^ 4,)) + whole[place + 1 :]
        )
        assert find_damage(tmp_path) == f"{tmp_path / name} is not as it was written"
    (tmp_path / name).write_bytes(bytes(len(whole)))
    assert find_damage(tmp_path) == f"{tmp_path / name} is not as it was written"
    (tmp_path / name).unlink()
    assert find_damage(tmp_path) == f"{tmp_path / name} cannot be read (no such file or directory)"
    (tmp_path / name).write_bytes(whole)
    assert find_damage(tmp_path) is None


def test_another_tokenizer_beside_the_shards_is_found(tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES)
    BYTES.save(tmp_path)
    assert find_damage(tmp_path) is None
    train_tokenizer("characters", ["ab"]).save(tmp_path)
    assert "is not the tokenizer that wrote the shards" in str(find_damage(tmp_path))
    (tmp_path / "tokenizer.json").write_bytes(b"\0" * 100)
    assert "tokenizer.json is not JSON" in str(find_damage(tmp_path))


def test_a_file_that_is_cut_off_while_it_is_read_is_a_user_error(tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES)
    stream = TokenStream(tmp_path, "train")
    os.truncate(tmp_path / "train-00000.bin", 100)
    assert len(stream[0:50]) == 50
    with pytest.raises(UserError, match="was cut off while it was read"):
        stream[0:51]


def test_nothing_of_a_stream_is_held(tmp_path: Path) -> None:
    write_shards(tmp_path, in_turn(CORPUS), BYTES, 300)
    stream = TokenStream(tmp_path, "train")
    held = [value for value in vars(stream).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in held) == 8 * (1 + len(list(tmp_path.glob("train-0*.bin"))))
