"""Writes token shards, the files that `shards` describes: as the ids come, and so that no half of
it is ever believed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fledge.disk import sync
from fledge.splits import SPLITS, Split
from fledge.text.documents import AnyDocument
from fledge.text.encoding import encode_documents
from fledge.text.shards import FORMAT
from fledge.text.tokenizer import Tokenizer


def write_shards(
    folder: str | Path,
    documents: Iterable[tuple[Split, AnyDocument]],
    tokenizer: Tokenizer,
    shard_tokens: int = 2**24,
) -> None:
    """Encode documents, each with its split, as `Corpus.split` gives them, into `folder`.

    shard_tokens: how many tokens a file holds at most. Documents may cross over its end: readers
    see one stream. Raises OSError (disk full, say) and leaves a folder that `TokenStream` refuses;
    writing again starts afresh.
    """
    if shard_tokens < 1:
        raise ValueError(f"shard_tokens={shard_tokens}: a shard holds 1 token or more")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").unlink(missing_ok=True)
    for split in SPLITS:
        for old in folder.glob(f"{split}-*.bin"):
            old.unlink()
    dtype = "<u2" if tokenizer.vocab_size <= 2**16 else "<u4"
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                closing(_SplitWriter(folder, split, np.dtype(dtype), shard_tokens))
            )
            for split in SPLITS
        }
        for split, ids, text_bytes in encode_documents(documents, tokenizer):
            writers[split].write(ids, text_bytes, tokenizer.opening[0])
        splits = {split: writers[split].finish() for split in SPLITS}
    index = {
        "format": FORMAT,
        "dtype": dtype,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_sha256": tokenizer.fingerprint(),
        "splits": splits,
    }
    sync(folder)
    partial = folder / "index.json.partial"
    with partial.open("wb") as file:
        file.write((json.dumps(index, indent=2) + "\n").encode("utf-8"))
        _to_disk(file)
    partial.replace(folder / "index.json")
    sync(folder)
    sync(folder.parent)


class _SplitWriter:
    """The files of one split, written as the ids come."""

    def __init__(self, folder: Path, split: Split, dtype: np.dtype, shard_tokens: int) -> None:
        self._folder, self._split, self._shard_tokens = folder, split, shard_tokens
        self._dtype = dtype
        self._tokens = self._bytes = 0
        self._shards: list[dict[str, Any]] = []
        self._shard: _Numbers | None = None
        self._starts = _Numbers(folder / f"{split}-documents.bin", np.dtype("<u8"))

    def write(self, ids: np.ndarray, text_bytes: int, opening: int) -> None:
        self._starts.write(self._tokens + np.flatnonzero(ids == opening))
        self._tokens += len(ids)
        self._bytes += text_bytes
        while len(ids):
            if self._shard is None:
                name = f"{self._split}-{len(self._shards):05}.bin"
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

    def finish(self) -> dict[str, Any]:
        """What the index says of the split, all of it being on the disk."""
        self._end_shard()
        starts = self._starts.finish()
        return {
            "tokens": self._tokens,
            "bytes": self._bytes,
            "documents": starts["count"],
            "shards": self._shards,
            "starts": starts,
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

    def finish(self) -> dict[str, Any]:
        """What the index says of the file, which is on the disk then."""
        _to_disk(self.file)
        self.file.close()
        return {"file": self._name, "count": self.count, "sha256": self._sha256.hexdigest()}


def _to_disk(file: BinaryIO) -> None:
    # Without this, a power cut could leave an index that is complete beside shards that are not.
    file.flush()
    os.fsync(file.fileno())
