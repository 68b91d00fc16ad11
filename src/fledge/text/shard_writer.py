"""Writes token shards, the files that `shards` describes: as the ids come, and so that no half of
it is ever believed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fledge.disk import sync
from fledge.splits import SPLITS, Split
from fledge.text.documents import AnyDocument
from fledge.text.encoding import encode_documents
from fledge.text.shards import FORMAT, FileEntry, SplitEntry
from fledge.text.tokenizer import Tokenizer

SHARD_TOKENS = 2**24
"""How many tokens a file holds at most."""

Written = dict[Split, SplitEntry]


def write_shards(
    folder: str | Path,
    documents: Iterable[tuple[Split, AnyDocument]],
    tokenizer: Tokenizer,
    shard_tokens: int = SHARD_TOKENS,
) -> None:
    """Encode documents, each with its split, as `Corpus.split` gives them, into `folder`.

    Documents may cross over the end of a file: readers see one stream. Raises OSError (disk full,
    say) and leaves a folder that `TokenStream` refuses; writing again starts afresh.
    """
    folder = Path(folder)
    clear(folder)
    join_parts(folder, tokenizer, [(0, write_part(folder, 0, documents, tokenizer, shard_tokens))])


def clear(folder: Path) -> None:
    """Make the folder, and take old shards out of it, the index first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").unlink(missing_ok=True)
    for split in SPLITS:
        for old in folder.glob(f"{split}-*.bin"):
            old.unlink()


def write_part(
    folder: Path,
    number: int,
    documents: Iterable[tuple[Split, AnyDocument]],
    tokenizer: Tokenizer,
    shard_tokens: int = SHARD_TOKENS,
) -> Written:
    """The files of some of the documents, under names of their own, until `join_parts` gives them
    their places. number: of the part, which no other has.
    """
    if shard_tokens < 1:
        raise ValueError(f"shard_tokens={shard_tokens}: a shard holds 1 token or more")
    dtype = np.dtype(_dtype(tokenizer))
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                closing(_SplitWriter(folder, f"{split}-part-{number}", dtype, shard_tokens))
            )
            for split in SPLITS
        }
        for split, ids, text_bytes in encode_documents(documents, tokenizer):
            writers[split].write(ids, text_bytes, tokenizer.opening[0])
        return {split: writers[split].finish() for split in SPLITS}


def join_parts(folder: Path, tokenizer: Tokenizer, parts: Sequence[tuple[int, Written]]) -> None:
    """One index over all parts, each with the number of its source, in the order of the stream."""
    index = {
        "format": FORMAT,
        "dtype": _dtype(tokenizer),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_sha256": tokenizer.fingerprint(),
        "splits": {split: _join(folder, split, parts) for split in SPLITS},
    }
    sync(folder)
    partial = folder / "index.json.partial"
    with partial.open("wb") as file:
        file.write((json.dumps(index, indent=2) + "\n").encode("utf-8"))
        _to_disk(file)
    partial.replace(folder / "index.json")
    sync(folder)
    sync(folder.parent)


def _join(folder: Path, split: Split, parts: Sequence[tuple[int, Written]]) -> SplitEntry:
    starts = _Numbers(folder / f"{split}-documents.bin", np.dtype("<u8"))
    shards: list[FileEntry] = []
    sources = [0] * (1 + max(source for source, _ in parts))
    for source, written in parts:
        entry = written[split]
        own = folder / entry["starts"]["file"]
        starts.write(np.fromfile(own, dtype="<u8") + np.uint64(sum(sources)))
        own.unlink()
        for shard in entry["shards"]:
            name = f"{split}-{len(shards):05}.bin"
            (folder / shard["file"]).replace(folder / name)
            shards.append({**shard, "file": name})
        sources[source] += entry["tokens"]
    return {
        "tokens": sum(sources),
        "bytes": sum(written[split]["bytes"] for _, written in parts),
        "documents": starts.count,
        "shards": shards,
        "starts": starts.finish(),
        "sources": sources,
    }


def _dtype(tokenizer: Tokenizer) -> str:
    return "<u2" if tokenizer.vocab_size <= 2**16 else "<u4"


class _SplitWriter:
    """The files of one split, written as the ids come."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype, shard_tokens: int) -> None:
        self._folder, self._name, self._shard_tokens = folder, name, shard_tokens
        self._dtype = dtype
        self._tokens = self._bytes = 0
        self._shards: list[FileEntry] = []
        self._shard: _Numbers | None = None
        self._starts = _Numbers(folder / f"{name}-documents.bin", np.dtype("<u8"))

    def write(self, ids: np.ndarray, text_bytes: int, opening: int) -> None:
        self._starts.write(self._tokens + np.flatnonzero(ids == opening))
        self._tokens += len(ids)
        self._bytes += text_bytes
        while len(ids):
            if self._shard is None:
                name = f"{self._name}-{len(self._shards):05}.bin"
                self._shard = _Numbers(self._folder / name, self._dtype)
            room = self._shard_tokens - self._shard.count
            self._shard.write(ids[:room])
            ids = ids[room:]
            if self._shard.count == self._shard_tokens:
                self._end_shard()

    def _end_shard(self) -> None:
        if self._shard is not None:
            self._shards.append(self._shard.finish())
        self._shard = None

    def finish(self) -> SplitEntry:
        """What the index says of the split, all of it being on the disk."""
        self._end_shard()
        starts = self._starts.finish()
        return {
            "tokens": self._tokens,
            "bytes": self._bytes,
            "documents": starts["count"],
            "shards": self._shards,
            "starts": starts,
            "sources": [self._tokens],
        }

    def close(self) -> None:
        """Let go of the files, finished or not."""
        self._starts.file.close()
        if self._shard is not None:
            self._shard.file.close()


class _Numbers:
    """A file of numbers that grows, and the hash of what it holds."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self._name, self._dtype = path.name, dtype
        self._sha256 = hashlib.sha256()
        self.file = path.open("wb")
        self.count = 0

    def write(self, values: np.ndarray) -> None:
        content = values.astype(self._dtype).tobytes()
        self._sha256.update(content)
        self.file.write(content)
        self.count += len(values)

    def finish(self) -> FileEntry:
        """What the index says of the file, which is on the disk then."""
        _to_disk(self.file)
        self.file.close()
        return {"file": self._name, "count": self.count, "sha256": self._sha256.hexdigest()}


def _to_disk(file: BinaryIO) -> None:
    # Without this, a power cut could leave an index that is complete beside shards that are not.
    file.flush()
    os.fsync(file.fileno())
