"""The file that memories lie in: SQLite's, with FTS5 over the words, opened by any number of
processes at once.
"""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

from fledge.errors import UserError

APPLICATION = 0x666C6D31  # in the file's header, so that another program's database is told apart
WAIT_S = 30.0  # for another process that writes
LOOK_S = 0.004  # at most, between two looks whether it has ended
CACHE_KIB = 24_000  # of pages held in memory; with the vectors' signs it decides the process's size
READER_KIB = 1_000  # of a second connection
SAMPLED = 256  # every so manieth memory is also in the sample that words are counted in

# AUTOINCREMENT: a number that was forgotten is never given again, so that another process sees by
# the largest number what has come since.
_TABLES = f"""
CREATE TABLE memories (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  text TEXT NOT NULL, source TEXT NOT NULL, written REAL NOT NULL, used REAL NOT NULL,
  uses INTEGER NOT NULL, strength REAL NOT NULL, same INTEGER NOT NULL
);
CREATE UNIQUE INDEX memories_same ON memories (same);
CREATE INDEX memories_strength ON memories (strength);
CREATE VIRTUAL TABLE words USING fts5 (
  text, content = 'memories', content_rowid = 'id', tokenize = 'porter unicode61'
);
CREATE VIRTUAL TABLE sample USING fts5 (text, content = '', tokenize = 'porter unicode61');
CREATE TABLE signs (id INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE vectors (id INTEGER PRIMARY KEY, rounded BLOB NOT NULL);
CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA application_id = {APPLICATION};
"""


def open_file(path: Path) -> sqlite3.Connection:
    """The connection; the file is made where there is none.

    Raises UserError for a folder, for what is no file of memories, and for one that cannot be
    written.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(
            f"memory={path} can be no file: give one in a folder that there is, such as notes.db."
        )
    try:
        # Transactions are ours to begin. Threads: a server asks from several, behind a lock.
        database = sqlite3.connect(
            path.absolute(), timeout=WAIT_S, isolation_level=None, check_same_thread=False
        )
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        _make_tables(database)
        ours = database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION
        if ours:  # of another program's nothing is changed
            _keep_log(database)
    except sqlite3.DatabaseError as error:
        raise UserError(explain(path, error)) from None
    if not ours:
        database.close()
        raise UserError(
            f"memory={path} is a database of another program: give another name, and the file is "
            "made."
        )
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """A second connection to a file that is open, to be asked beside the first, with few pages of
    its own in memory. Raises sqlite3.DatabaseError.
    """
    database = sqlite3.connect(path.absolute(), timeout=WAIT_S, check_same_thread=False)
    database.execute("PRAGMA query_only = ON")
    database.execute(f"PRAGMA cache_size = -{READER_KIB}")
    return database


def begin_writing(database: sqlite3.Connection) -> None:
    """A transaction that writes, once no other process does. Raises sqlite3.OperationalError after
    WAIT_S.

    SQLite's own wait looks ten times a second: behind a process that writes memory after memory,
    and is between two of them for less than a millisecond, it ended without a turn.
    """
    until = time.monotonic() + WAIT_S
    database.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                database.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0, LOOK_S))
    finally:
        database.execute(f"PRAGMA busy_timeout = {int(1000 * WAIT_S)}")


def _make_tables(database: sqlite3.Connection) -> None:
    """In one transaction: two processes may open a new file at once."""
    if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    begin_writing(database)
    try:
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    database.execute(statement)
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


def _keep_log(database: sqlite3.Connection) -> None:
    """WAL: readers go on while one writes, and after a kill what was committed is there. FULL:
    after a power cut, too.
    """
    until = time.monotonic() + WAIT_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            # The first change of the mode does not wait for another process that opens the file.
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
    database.execute("PRAGMA synchronous = FULL")


def explain(path: Path, error: sqlite3.Error) -> str:
    """One sentence about a file that SQLite cannot use."""
    said = str(error)
    if "locked" in said:
        return (
            f"memory={path} has been written by another process for {WAIT_S:g} s: wait for it, or "
            "end it."
        )
    if "fts5" in said:
        return (
            "this Python's SQLite was built without FTS5, which memory= needs: use another build."
        )
    return f"memory={path} cannot be used ({said}): give a file of memories, or another name."
