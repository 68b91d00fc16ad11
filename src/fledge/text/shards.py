"""Token shards: a corpus as ids on disk, written so that no half of it is ever believed, and read by memory map.

index.json                  written last: a folder without it is not finished
train-00000.bin ...         ids, uint16 or uint32, little endian; each document is <|begin|> its tokens <|end|>
train-documents.bin         where each document starts in the split, uint64, little endian
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fledge.errors import UserError
from fledge.splits import SPLITS, Split
from fledge.text.corpus import Document
from fledge.text.tokenizer import Tokenizer

_FORMAT = 1

# Characters that are encoded at a time: enough to keep all cores busy, little enough to hold in memory.
_BATCH = 1 << 22


def write_shards(
    folder: str | Path,
    documents: Mapping[Split, Iterable[Document]],
    tokenizer: Tokenizer,
    shard_tokens: int = 2**24,
) -> None:
    """Encode the documents of each split, as `split_documents` gives them, into `folder`.

    shard_tokens: how many tokens a file holds at most. Documents may cross over its end: readers see one stream.
    Raises OSError (disk full, say) and leaves a folder that `TokenStream` refuses; writing again starts afresh.
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
    index = {
        "format": _FORMAT,
        "dtype": dtype,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_sha256": tokenizer.fingerprint(),
        "splits": {
            split: _write_split(folder, split, documents.get(split, ()), tokenizer, np.dtype(dtype), shard_tokens)
            for split in SPLITS
        },
    }
    partial = folder / "index.json.partial"
    with partial.open("wb") as file:
        file.write((json.dumps(index, indent=2) + "\n").encode("utf-8"))
        _to_disk(file)
    partial.replace(folder / "index.json")


def _write_split(
    folder: Path, split: Split, documents: Iterable[Document], tokenizer: Tokenizer, dtype: np.dtype, shard_tokens: int
) -> dict[str, Any]:
    shards: list[dict[str, Any]] = []
    starts: list[int] = []
    tokens = text_bytes = 0
    waiting: list[np.ndarray] = []
    for batch in _batches(documents):
        for document, ids in zip(batch, tokenizer.encode_many([document.text for document in batch]), strict=True):
            starts.append(tokens)
            tokens += len(ids) + 2
            text_bytes += len(document.text.encode("utf-8"))
            waiting += [np.array([tokenizer.begin]), ids, np.array([tokenizer.end])]
        stream = np.concatenate(waiting).astype(dtype)
        while len(stream) >= shard_tokens:
            shards.append(_write(folder, f"{split}-{len(shards):05}.bin", stream[:shard_tokens]))
            stream = stream[shard_tokens:]
        waiting = [stream]
    rest = np.concatenate([np.zeros(0, dtype=dtype), *waiting]).astype(dtype)
    if len(rest):
        shards.append(_write(folder, f"{split}-{len(shards):05}.bin", rest))
    return {
        "tokens": tokens,
        "bytes": text_bytes,
        "documents": len(starts),
        "shards": shards,
        "starts": _write(folder, f"{split}-documents.bin", np.array(starts, dtype="<u8")),
    }


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(folder: Path, name: str, values: np.ndarray) -> dict[str, Any]:
    content = values.tobytes()
    with (folder / name).open("wb") as file:
        file.write(content)
        _to_disk(file)
    return {"file": name, "count": len(values), "sha256": hashlib.sha256(content).hexdigest()}


def _to_disk(file: BinaryIO) -> None:
    # Without this, a power cut could leave an index that is complete beside shards that are not.
    file.flush()
    os.fsync(file.fileno())


class TokenStream:
    """All tokens of one split as one long row, read from disk as they are asked for.

    len(stream) is the number of tokens; stream[a:b] -> int64 [b - a], across shards, clipped at the ends like a list.
    """

    def __init__(self, folder: str | Path, split: Split) -> None:
        """Raises UserError for a folder that is not finished, or a file whose size is not what the index says."""
        self._folder = Path(folder)
        index = self._read_index()
        try:
            entry = index["splits"][split]
            dtype = np.dtype(index["dtype"])
            self.vocab_size: int = index["vocab_size"]
            """Of the tokenizer that wrote the shards."""
            self.tokenizer_sha256: str = index["tokenizer_sha256"]
            """`Tokenizer.fingerprint()` of the tokenizer that wrote the shards."""
            self.bytes: int = entry["bytes"]
            """The UTF-8 bytes of text in the split."""
            self._shards = [self._open(shard, dtype) for shard in entry["shards"]]
            self.documents: np.ndarray = self._open(entry["starts"], np.dtype("<u8")).astype(np.int64)
            """[D] Where each document starts (its <|begin|>); it ends where the next one starts."""
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{self._folder / 'index.json'} is broken ({error!r}): remove the folder and write it again"
            ) from None
        self._starts = np.cumsum([0] + [len(shard) for shard in self._shards])  # [shards + 1]

    def _read_index(self) -> dict[str, Any]:
        path = self._folder / "index.json"
        try:
            index = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise UserError(
                f"{self._folder} holds no finished token shards (it has no index.json): writing them was broken off, "
                "or the folder is another one. Write them again."
            ) from None
        except ValueError as error:
            raise UserError(f"{path} is broken ({error}): write the shards again") from None
        if not isinstance(index, dict) or index.get("format") != _FORMAT:
            raise UserError(f"{path} is not an index of token shards in format {_FORMAT}: write the shards again")
        return index

    def _open(self, entry: dict[str, Any], dtype: np.dtype) -> np.ndarray:
        path = self._folder / entry["file"]
        wanted = entry["count"] * dtype.itemsize
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise UserError(f"{path} is missing, though the index names it: write the shards again") from None
        if size != wanted:
            raise UserError(
                f"{path} has {size} bytes where {wanted} are wanted: it was cut off. Write the shards again."
            )
        if size == 0:  # which a memory map cannot be made of
            return np.zeros(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, step = span.indices(len(self))
        if step != 1:
            raise ValueError(f"a token stream is read in steps of 1, not {step}")
        result = np.empty(max(stop - start, 0), dtype=np.int64)
        first = max(int(np.searchsorted(self._starts, start, side="right")) - 1, 0)
        for shard, (left, right) in zip(self._shards[first:], pairwise(self._starts[first:]), strict=True):
            if left >= stop:
                break
            low, high = max(start, left), min(stop, right)
            result[low - start : high - start] = shard[low - left : high - left]
        return result
