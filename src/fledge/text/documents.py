"""Text to learn from: reads the user's files or the embedded default, document by document and a
long one in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

from fledge.data_names import list_named, split_names
from fledge.errors import UserError
from fledge.text.arrow_files import read_parquet
from fledge.text.files import is_suffixed, json_lines, read_chunks
from fledge.text.folders import SUFFIXES, Links, Passed, suffix_list, text_files
from fledge.text.python_prose import python_prose

CHUNK = 1 << 20
"""Characters of a text that are handled at a time."""


@dataclass(frozen=True)
class Document:
    """One text, and where it is from: a path, a path with a line, or the name of a Python
    module.
    """

    text: str
    source: str

    def chunks(self) -> Iterator[str]:
        """The text in pieces of bounded length, from its beginning at every call."""
        for start in range(0, len(self.text), CHUNK):
            yield self.text[start : start + CHUNK]


@dataclass(frozen=True)
class LongDocument:
    """A document that is a whole file, read from it each time it is asked for and never held: as
    `Document` else.
    """

    source: str

    @property
    def text(self) -> str:
        """All of it at once: for those who know that it is short enough."""
        return "".join(self.chunks())

    def chunks(self) -> Iterator[str]:
        return read_chunks(Path(self.source))


@dataclass(frozen=True)
class DocumentPart:
    """The characters of a document from `start` until before `stop`."""

    whole: Document | LongDocument
    start: int
    stop: int

    @property
    def source(self) -> str:
        return self.whole.source

    @property
    def text(self) -> str:
        return "".join(self.chunks())

    def chunks(self) -> Iterator[str]:
        place = 0
        for chunk in self.whole.chunks():
            part = chunk[max(self.start - place, 0) : max(self.stop - place, 0)]
            if part:
                yield part
            place += len(chunk)
            if place >= self.stop:
                return


AnyDocument = Document | LongDocument | DocumentPart


@dataclass(frozen=True)
class Place:
    """Where a document stands in the data: in which of the names, in which file of that name, at
    which byte of the file, decompressed, and after how many lines.

    Of "python" each document counts as a file.
    """

    name: int = 0
    file: int = 0
    byte: int = 0
    lines: int = 0


def read_documents(
    data: str, *, hidden: bool = False, links: Links = "follow", passed: Passed | None = None
) -> Iterator[Document | LongDocument]:
    """The documents of a file, of all files that a pattern fits, of a folder (with the folders in
    it, in the order of names), or of the word "python".

    Several of these may stand with commas between. "python" is the prose of the Python
    installation; a folder of that name is "./python". A .txt or .md file is one document, a line of
    a .jsonl file or a row of a .parquet file (its `text`) is one; blank ones are passed over. In a
    folder, names that begin with a dot are not read unless `hidden`, linked folders are unless
    `links` says skip; `passed` counts what was not read. Raises UserError for what is missing,
    empty, of another kind, or broken, naming file and line.
    """
    passed = passed if passed is not None else Passed()
    for _, document in read_from(Place(), data, hidden=hidden, links=links, passed=passed):
        yield document


def read_from(
    start: Place, data: str, *, hidden: bool, links: Links, passed: Passed
) -> Iterator[tuple[Place, Document | LongDocument]]:
    """`read_documents` from a place on, each document with its own."""
    for number, name in enumerate(_names(data)[start.name :], start.name):
        first = start if number == start.name else Place(number)
        if name == "python":
            documents = _embedded()
            for each in range(first.file, len(documents)):
                yield Place(number, each), documents[each]
            continue
        path, empty = Path(name).expanduser(), first == Place(number)
        files = _files(path, hidden, links, passed)
        for order in range(first.file, len(files)):
            begin = first if order == first.file else Place(number, order)
            for place, document in _read_file(files[order], begin):
                if any(chunk and not chunk.isspace() for chunk in document.chunks()):
                    empty = False
                    yield place, document
                else:
                    passed.blank += 1
        if empty:
            raise UserError(f"{path} is empty: it holds no text to learn from")


def data_files(data: str, *, hidden: bool = False, links: Links = "follow") -> Iterator[Path]:
    """The files that `read_documents` reads, in its order; none for the word "python"."""
    for name in _names(data):
        if name != "python":
            yield from _files(Path(name).expanduser(), hidden, links, Passed())


def _names(data: str) -> list[str]:
    names = split_names(data)
    if not names:
        raise UserError(
            'no data was given: name a file, a folder, or "python" for the prose of this Python '
            "installation"
        )
    return names


@lru_cache(maxsize=1)
def _embedded() -> tuple[Document, ...]:
    # Two megabytes, kept because gathering them takes seconds and a corpus is read several times.
    # Copies are none of the user's, who is told of those in his files.
    by_words: dict[str, Document] = {}
    for text, source in python_prose():
        by_words.setdefault(" ".join(text.split()), Document(text, source))
    return tuple(by_words.values())


def _files(path: Path, hidden: bool, links: Links, passed: Passed) -> list[Path]:
    if path.is_dir():
        files = text_files(path, passed, hidden=hidden, links=links)
        if not files:
            said = f"; {passed}" if str(passed) else ""
            raise UserError(
                f"the folder {path} holds no text: no file in it ends in {suffix_list()}{said}"
            )
        return files
    files = list_named(path)
    for file in files:
        if file.exists() and not is_suffixed(file, SUFFIXES):
            raise UserError(
                f"{file} is of a kind that is not read: the name must end in {suffix_list()}"
            )
    return files


def _read_file(path: Path, start: Place) -> Iterator[tuple[Place, Document | LongDocument]]:
    """start: of the file's first document that is wanted; of a parquet file `lines` counts rows."""
    if is_suffixed(path, (".parquet",)):
        for number, text in read_parquet(path, start.lines):
            yield replace(start, lines=number), Document(text, f"{path}:{number + 1}")
        return
    if not is_suffixed(path, (".jsonl",)):
        begin = list(islice(read_chunks(path), 2))
        whole = LongDocument(str(path)) if len(begin) == 2 else Document("".join(begin), str(path))
        yield start, whole
        return
    for line in json_lines(path, start.byte, start.lines):
        where = f"line {line.number} of {path}"
        if "text" not in line.row:
            has = ", ".join(f"`{field}`" for field in line.row) or "nothing"
            raise UserError(
                f"{where} has no `text` (it has {has}): each row must hold its text in that field"
            )
        if not isinstance(line.row["text"], str):
            raise UserError(
                f"the `text` of {where} is not a string: write the text in quotation marks"
            )
        place = replace(start, byte=line.start, lines=line.number - 1)
        yield place, Document(line.row["text"], f"{path}:{line.number}")
