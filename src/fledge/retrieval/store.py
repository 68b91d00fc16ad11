"""A store of memories in one file: added, searched by words and by meaning, merged and forgotten.

Merging: a text that is there already, letter case and white space aside, is not stored twice; the
older memory takes the new source and date. Forgetting: where there are too many, those with the
least retention go (`memory.py`).
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np

from fledge.errors import UserError
from fledge.retrieval.fusion import fuse_ranks
from fledge.retrieval.lexical import rank_by_words
from fledge.retrieval.memory import (
    FIELDS,
    HALF_LIFE_S,
    Memory,
    clean_text,
    find_strength,
    hash_text,
)
from fledge.retrieval.schema import SAMPLED, begin_writing, explain, open_file, open_reader
from fledge.retrieval.vectors import (
    SignIndex,
    TextEncoder,
    normalise,
    rank_by_vector,
    round_vectors,
    write_signs,
)

DEPTH = 50  # of each ranking that is fused
LARGEST = 2**63 - 1  # number that SQLite has
IN_ONE_COMMIT = 1_000  # memories of a long list: so many a kill can take at most


class MemoryStore:
    """One connection to the file. Several threads may share it, several processes open the file.

    encoder: with one, memories are found by meaning too. most: memories that are kept; None for
    all. Raises UserError for a file that cannot be used, and one whose vectors are another
    encoder's.
    """

    def __init__(
        self,
        path: str | Path,
        encoder: TextEncoder | None = None,
        *,
        most: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path, self.encoder, self.most, self.now = Path(path), encoder, most, now
        self._lock = threading.RLock()
        self._database = open_file(self.path)
        # SQLite has a log2 of its own only where it was built with it.
        self._database.create_function("log2_of", 1, math.log2, deterministic=True)
        self._index = None if encoder is None else SignIndex(encoder.dims)
        # Vectors are looked at while words are looked for, which holds a connection.
        self._reader = self._database if encoder is None else open_reader(self.path)
        if encoder is not None:
            self._keep_encoder(encoder)
            self._encode_missing(encoder)

    def __len__(self) -> int:
        return self._ask("SELECT count(*) FROM memories")[0][0]

    def close(self) -> None:
        with self._lock:
            self._reader.close()
            self._database.close()

    def add(self, text: str, source: str) -> int:
        """The memory's number, on disk when it is returned. Raises UserError for a text that can be
        none.
        """
        return self.add_all([text], source)[0]

    def add_all(
        self, texts: Iterable[str], source: str, told: Callable[[int], object] | None = None
    ) -> list[int]:
        """Their numbers. A long list is committed a thousand at a time; `told` hears after each
        commit how many are safe.
        """
        numbers, cleaned = list[int](), map(clean_text, texts)
        while waiting := list(islice(cleaned, IN_ONE_COMMIT)):
            numbers += self._commit(waiting, source)
            if told is not None:
                told(len(numbers))
        return numbers

    def replace(self, number: int, text: str, source: str) -> int:
        """What was known is known better: the old memory goes, the new one keeps its uses."""
        text = clean_text(text)
        vectors = self._encode([text])
        with self._writing() as database:
            old = self._read(number)
            self._delete(database, [old])
            new = self._put(database, text, source, None if vectors is None else vectors[0])
            # A text that was there already has uses of its own, too.
            database.execute(
                "UPDATE memories SET uses = uses + ?, strength = ? + ? * log2_of(uses + ? + 1) "
                "WHERE id = ?",
                (old.uses, self.now(), HALF_LIFE_S, old.uses, new),
            )
            return new

    def search(self, question: str, count: int = 5) -> list[Memory]:
        """The memories nearest to a question, best first: by BM25, and with an encoder by cosine
        too, fused by reciprocal rank. Nothing is written: see `mark_used`.
        """
        with self._lock, self._telling(), ThreadPoolExecutor(1) as beside:
            by_vector, encoder, index = None, self.encoder, self._index
            if encoder is not None and index is not None and question.strip():
                vector = normalise(encoder([question]))[0]
                index.update(self._database)
                by_vector = beside.submit(rank_by_vector, self._reader, index, vector, DEPTH)
            rankings = [rank_by_words(self._database, question, DEPTH)]  # meanwhile
            if by_vector is not None:
                rankings.append(by_vector.result())
            best = [number for number, _ in fuse_ranks(rankings)[:count]]
            rows = {memory.id: memory for memory in self._list(best)}
        return [rows[number] for number in best if number in rows]

    def mark_used(self, memories: Sequence[Memory]) -> None:
        """They were shown for an answer, which keeps them from being forgotten."""
        now = self.now()
        with self._writing() as database:
            for memory in memories:
                database.execute(
                    "UPDATE memories SET uses = uses + 1, used = ?, "
                    "strength = ? + ? * log2_of(uses + 2) WHERE id = ?",
                    (now, now, HALF_LIFE_S, memory.id),
                )

    def forget(self, number: int) -> Memory:
        """Raises UserError for a number that there is not."""
        with self._writing() as database:
            memory = self._read(number)
            self._delete(database, [memory])
            return memory

    def list_newest(self, count: int) -> list[Memory]:
        rows = self._ask(f"SELECT {FIELDS} FROM memories ORDER BY id DESC LIMIT ?", count)
        return [Memory(*row) for row in rows]

    def check(self) -> None:
        """Raises UserError where the file's index and its texts contradict each other."""
        with self._lock, self._telling():
            self._database.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
            said = self._database.execute("PRAGMA integrity_check").fetchone()[0]
        if said != "ok":
            raise UserError(f"memory={self.path} is damaged ({said}): put it back from a copy.")

    def _commit(self, texts: list[str], source: str) -> list[int]:
        vectors = self._encode(texts)  # before the file is locked for others
        with self._writing() as database:
            numbers = [
                self._put(database, text, source, None if vectors is None else vectors[place])
                for place, text in enumerate(texts)
            ]
            if self.most is not None:
                beyond = database.execute("SELECT count(*) FROM memories").fetchone()[0] - self.most
                if beyond > 0:
                    # What is said now stays, though all others may have been used lately.
                    new = numbers[-self.most :]
                    marks = ",".join("?" * len(new))
                    weakest = database.execute(
                        f"SELECT {FIELDS} FROM memories WHERE id NOT IN ({marks}) "
                        "ORDER BY strength, id LIMIT ?",
                        (*new, beyond),
                    )
                    self._delete(database, [Memory(*row) for row in weakest.fetchall()])
            return numbers

    def _put(
        self, database: sqlite3.Connection, text: str, source: str, vector: np.ndarray | None
    ) -> int:
        now, same = self.now(), hash_text(text)
        done = database.execute(
            "INSERT INTO memories (text, source, written, used, uses, strength, same) "
            "VALUES (?, ?, ?, ?, 0, ?, ?) ON CONFLICT (same) DO NOTHING",
            (text, source, now, now, find_strength(now, 0), same),
        )
        if not done.rowcount:
            # Merged: the text stays as it was written first.
            return database.execute(
                "UPDATE memories SET source = ?, written = ?, used = ?, "
                "strength = ? + ? * log2_of(uses + 1) WHERE same = ? RETURNING id",
                (source, now, now, now, HALF_LIFE_S, same),
            ).fetchone()[0]
        number = done.lastrowid
        assert number is not None
        database.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, text))
        if number % SAMPLED == 0:
            database.execute("INSERT INTO sample (rowid, text) VALUES (?, ?)", (number, text))
        if vector is not None:
            self._put_vectors(database, [number], vector[None])
        return number

    def _put_vectors(
        self, database: sqlite3.Connection, numbers: Sequence[int], vectors: np.ndarray
    ) -> None:
        signs, rounded = write_signs(vectors), round_vectors(vectors)
        for place, number in enumerate(numbers):
            row = (number, signs[place].tobytes())
            database.execute("INSERT OR REPLACE INTO signs VALUES (?, ?)", row)
            row = (number, rounded[place].tobytes())
            database.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?)", row)

    def _delete(self, database: sqlite3.Connection, memories: Sequence[Memory]) -> None:
        for memory in memories:
            gone = (memory.id, memory.text)
            database.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", gone)
            if memory.id % SAMPLED == 0:
                database.execute(
                    "INSERT INTO sample (sample, rowid, text) VALUES ('delete', ?, ?)", gone
                )
            for table in ("memories", "signs", "vectors"):
                database.execute(f"DELETE FROM {table} WHERE id = ?", (memory.id,))

    def _read(self, number: int) -> Memory:
        memories = self._list([number]) if 0 < number <= LARGEST else []
        if not memories:
            raise UserError(
                f"there is no memory {number} in {self.path}: its numbers are shown by a search."
            )
        return memories[0]

    def _list(self, numbers: Sequence[int]) -> list[Memory]:
        marks = ",".join("?" * len(numbers))
        rows = self._database.execute(
            f"SELECT {FIELDS} FROM memories WHERE id IN ({marks})", list(numbers)
        )
        return [Memory(*row) for row in rows.fetchall()]

    def _encode(self, texts: Sequence[str]) -> np.ndarray | None:
        return None if self.encoder is None else normalise(self.encoder(texts))

    def _keep_encoder(self, encoder: TextEncoder) -> None:
        own = f"{encoder.name}, {encoder.dims} dimensions"
        with self._writing() as database:
            database.execute("INSERT OR IGNORE INTO kept VALUES ('encoder', ?)", (own,))
            kept = database.execute("SELECT value FROM kept WHERE name = 'encoder'").fetchone()[0]
        if kept != own:
            raise UserError(
                f"the vectors in {self.path} are those of {kept}, and memory_encoder is {own}: "
                "give the one that it was made with, or another file."
            )

    def _encode_missing(self, encoder: TextEncoder) -> None:
        """What was added without the encoder gets its vector."""
        while True:
            rows = self._ask(
                "SELECT id, text FROM memories WHERE id NOT IN (SELECT id FROM signs) LIMIT 256"
            )
            if not rows:
                return
            vectors = normalise(encoder([text for _, text in rows]))
            with self._writing() as database:
                self._put_vectors(database, [number for number, _ in rows], vectors)
                # One that another process forgot meanwhile.
                for table in ("signs", "vectors"):
                    lost = "id >= ? AND id NOT IN (SELECT id FROM memories)"
                    database.execute(f"DELETE FROM {table} WHERE {lost}", (rows[0][0],))

    def _ask(self, statement: str, *values: object) -> list[tuple]:
        with self._lock, self._telling():
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on disk at the end, or none."""
        with self._lock, self._telling():
            begin_writing(self._database)
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise UserError(explain(self.path, error)) from None
