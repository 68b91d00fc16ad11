"""Text to learn from: reads the user's files or the embedded default, removes copies, and splits by document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fledge.errors import UserError
from fledge.splits import FEWEST_TO_SPLIT, SPLITS, Split, split_of
from fledge.text.files import is_suffixed, json_rows, read_text
from fledge.text.python_prose import python_prose

SUFFIXES = (".txt", ".md", ".jsonl")
"""What is read, each also with .gz."""


@dataclass(frozen=True)
class Document:
    """One text, and where it is from: a path, a path with a line, or the name of a Python module."""

    text: str
    source: str


def read_documents(data: str) -> Iterator[Document]:
    """The documents of a file, of a folder (with the folders in it, in the order of names), or of the word "python".

    Several of these may stand with commas between. "python" is the prose of the Python installation; a folder of that
    name is "./python". A .txt or .md file is one document, a line of a .jsonl file (its `text`) is one; blank ones are
    passed over. Raises UserError for what is missing, empty, of another kind, or broken, naming file and line.
    """
    names = [data] if Path(data).exists() else [name.strip() for name in data.split(",") if name.strip()]
    if not names:
        raise UserError(
            'no data was given: name a file, a folder, or "python" for the prose of this Python installation'
        )
    for name in names:
        if name == "python":
            yield from (Document(text, source) for text, source in python_prose())
        else:
            yield from _read(Path(name).expanduser())


def _read(path: Path) -> Iterator[Document]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if is_suffixed(file, SUFFIXES) and file.is_file())
        if not files:
            raise UserError(f"the folder {path} holds no text: no file in it ends in {_suffix_list()}")
    elif path.exists() and not is_suffixed(path, SUFFIXES):
        raise UserError(f"{path} is of a kind that is not read: the name must end in {_suffix_list()}")
    else:
        files = [path]
    found = False
    for file in files:
        for document in _read_file(file):
            if document.text.strip():
                found = True
                yield document
    if not found:
        raise UserError(f"{path} is empty: it holds no text to learn from")


def _read_file(path: Path) -> Iterator[Document]:
    if not is_suffixed(path, (".jsonl",)):
        yield Document(read_text(path), str(path))
        return
    for line, row in json_rows(path):
        where = f"line {line} of {path}"
        if "text" not in row:
            has = ", ".join(f"`{field}`" for field in row) or "nothing"
            raise UserError(f"{where} has no `text` (it has {has}): each row must hold its text in that field")
        if not isinstance(row["text"], str):
            raise UserError(f"the `text` of {where} is not a string: write the text in quotation marks")
        yield Document(row["text"], f"{path}:{line}")


def _suffix_list() -> str:
    return ", ".join(SUFFIXES) + " (or one of these and .gz)"


def deduplicate(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents without those whose text stood before, however its white space is laid out."""
    seen: set[bytes] = set()
    for document in documents:
        key = hashlib.sha256(" ".join(document.text.split()).encode("utf-8")).digest()
        if key not in seen:
            seen.add(key)
            yield document


def split_rule(documents: Sequence[Document]) -> Literal["hash", "cut"]:
    """How `split_documents` splits: by each document's hash, or by cutting the text.

    It cuts where there are fewer documents than `FEWEST_TO_SPLIT`, or where hashes would leave a split without any: a
    single book has a validation set too.
    """
    if len(documents) < FEWEST_TO_SPLIT or {split_of(document.text) for document in documents} != set(SPLITS):
        return "cut"
    return "hash"


def split_documents(documents: Sequence[Document]) -> dict[Split, list[Document]]:
    """The documents of each split, by `split_rule`.

    A cut takes the first 90% of all characters to train, the next 5% to validation, the rest to test.
    """
    if split_rule(documents) == "hash":
        return {split: [document for document in documents if split_of(document.text) == split] for split in SPLITS}
    total = sum(len(document.text) for document in documents)
    borders = (0, total * 90 // 100, total * 95 // 100, total)
    result: dict[Split, list[Document]] = {split: [] for split in SPLITS}
    start = 0
    for document in documents:
        for split, first, last in zip(SPLITS, borders, borders[1:], strict=False):
            part = document.text[max(first - start, 0) : max(last - start, 0)]
            if part:
                result[split].append(Document(part, document.source))
        start += len(document.text)
    return result
