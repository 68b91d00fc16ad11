"""Token shards: a corpus as ids on disk, written so that no half of it is ever believed, and read
piece by piece.

index.json                  written last: a folder without it is not finished
train-00000.bin ...         ids, uint16 or uint32, little endian; each document is <|begin|> its
tokens <|end|>
train-documents.bin         where each document starts in the split, uint64, little endian
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import (
    Annotated,
    Literal,
    NotRequired,  # pydantic takes no other before Python 3.12
)

import numpy as np
from pydantic import Field, NonNegativeInt
from typing_extensions import TypedDict

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.splits import Split
from fledge.text.tokenizer import load_tokenizer

FORMAT = 1
MEND = "`fledge resume` of the run that it belongs to writes it again from the text"


class FileEntry(TypedDict):
    """A file of numbers: how many, and the hash of the file."""

    file: Annotated[str, Field(pattern=r"^[a-z]+-(\d+|documents)\.bin$")]
    count: NonNegativeInt
    sha256: str


class SplitEntry(TypedDict):
    """The files of a split, and what is in them."""

    tokens: NonNegativeInt
    bytes: NonNegativeInt
    documents: NonNegativeInt
    shards: list[FileEntry]
    starts: FileEntry
    # Tokens of each source of a mixture, one after the other in the stream; an index of an earlier
    # version says nothing of them.
    sources: NotRequired[list[NonNegativeInt]]


class ShardIndex(TypedDict):
    """What index.json says."""

    format: Literal[1]
    dtype: Literal["<u2", "<u4"]
    vocab_size: NonNegativeInt
    tokenizer_sha256: str
    splits: dict[Split, SplitEntry]


def read_index(folder: Path) -> ShardIndex:
    """The index of a finished folder of shards. Raises UserError for a folder without one, or a
    broken one.
    """
    try:
        return read_json(folder / "index.json", ShardIndex, mend=MEND)
    except FileNotFoundError:
        raise UserError(
            f"{folder} holds no finished token shards (it has no index.json): writing them was "
            "broken off, or the folder is another one; `fledge resume` of the run that they "
            "belong to writes them"
        ) from None


def find_damage(folder: str | Path) -> str | None:
    """What is wrong with the shards in a folder, having read them whole and compared them with
    their hashes; or None.

    A tokenizer beside them is to be the one that wrote them.
    """
    folder = Path(folder)
    try:
        index = read_index(folder)
        for name, digest in _digests(index).items():
            if _sha256(folder / name) != digest:
                return f"{folder / name} is not as it was written"
        if not (folder / "tokenizer.json").exists():
            return None
        if load_tokenizer(folder).fingerprint() != index["tokenizer_sha256"]:
            return (
                f"{folder / 'tokenizer.json'} is not the tokenizer that wrote the shards beside it"
            )
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename} cannot be read ({(error.strerror or str(error)).lower()})"
    return None


def gives_the_same(again: Path, damaged: Path) -> bool:
    """Whether shards that were written again are what damaged ones were.

    Each file has the hash that the old index names, or the one that the old file has: then it was
    the index that was damaged. Raises UserError where the old index cannot be read.
    """
    named = _digests(read_index(damaged))
    return all(
        digest == named.get(name)
        or ((damaged / name).exists() and digest == _sha256(damaged / name))
        for name, digest in _digests(read_index(again)).items()
    )


def _digests(index: ShardIndex) -> dict[str, str]:
    """File -> sha256."""
    files = [
        file for entry in index["splits"].values() for file in (*entry["shards"], entry["starts"])
    ]
    return {file["file"]: file["sha256"] for file in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TokenStream:
    """All tokens of one split as one long row, of which nothing is held: a slice is read from disk
    when it is asked for.

    len(stream) is the number of tokens; stream[a:b] -> int64 [b - a], across shards, clipped at the
    ends like a list.
    """

    def __init__(self, folder: str | Path, split: Split) -> None:
        """Raises UserError for a folder that is not finished, or a file whose size is not what the
        index says.

        What the files hold is believed: `find_damage` compares it.
        """
        self.folder, self.split = Path(folder), split
        index = read_index(self.folder)
        if split not in index["splits"]:
            raise UserError(
                f"{self.folder / 'index.json'} says nothing of the split {split}: {MEND}"
            )
        entry = index["splits"][split]
        self.vocab_size: int = index["vocab_size"]
        """Of the tokenizer that wrote the shards."""
        self.tokenizer_sha256: str = index["tokenizer_sha256"]
        """`Tokenizer.fingerprint()` of the tokenizer that wrote the shards."""
        self.bytes: int = entry["bytes"]
        """The UTF-8 bytes of text in the split."""
        self._dtype = np.dtype(index["dtype"])
        self._shards = [self._check(shard, self._dtype) for shard in entry["shards"]]
        self._documents = self._check(entry["starts"], np.dtype("<u8"))
        counts = [shard["count"] for shard in entry["shards"]]
        self._starts = np.cumsum([0, *counts])  # [shards + 1]
        self.sources: list[int] = entry.get("sources", [len(self)])
        """Tokens of each source, which follow each other."""

    def _check(self, entry: FileEntry, dtype: np.dtype) -> Path:
        path = self.folder / entry["file"]
        wanted = entry["count"] * dtype.itemsize
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise UserError(f"{path} is missing, though the index names it: {MEND}") from None
        if size != wanted:
            raise UserError(f"{path} has {size} bytes where {wanted} are wanted: {MEND}")
        return path

    @property
    def documents(self) -> np.ndarray:
        """[D] Where each document starts (its <|begin|>); it ends where the next one starts."""
        return np.fromfile(self._documents, dtype="<u8").astype(np.int64)

    def of_sources(self) -> list[StreamPart]:
        """The tokens of each source, one after the other."""
        ends = np.cumsum([0, *self.sources]).tolist()
        return [StreamPart(self, start, stop) for start, stop in pairwise(ends)]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, step = span.indices(len(self))
        if step != 1:
            raise ValueError(f"a token stream is read in steps of 1, not {step}")
        stop = max(start, stop)
        result = np.empty(stop - start, dtype=np.int64)
        first = max(int(np.searchsorted(self._starts, start, side="right")) - 1, 0)
        for path, (left, right) in zip(
            self._shards[first:], pairwise(self._starts[first:]), strict=True
        ):
            if left >= stop:
                break
            low, high = max(start, left), min(stop, right)
            result[low - start : high - start] = self._read(path, low - left, high - low)
        return result

    def _read(self, path: Path, start: int, count: int) -> np.ndarray:
        # Not a memory map: the pages that training has touched would count as the process's own
        # memory, up to all of the text, and a file that is cut off meanwhile would kill the
        # process.
        offset = int(start) * self._dtype.itemsize
        ids = np.fromfile(path, dtype=self._dtype, count=int(count), offset=offset)
        if len(ids) < count:
            raise UserError(f"{path} was cut off while it was read: {MEND}")
        return ids


class StreamPart:
    """The tokens of a stream from `start` until before `stop`, as a stream."""

    def __init__(self, stream: TokenStream, start: int, stop: int) -> None:
        self.stream, self.start, self.stop = stream, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, step = span.indices(len(self))
        return self.stream[self.start + start : self.start + max(start, stop) : step]
