"""Which memories have the words of a question, best first by BM25, in a time that does not grow
with how common the words are.

BM25 is SQLite's own (FTS5's `bm25`): Σ_t IDF(t) · f (k1 + 1) / (f + k1 (1 − b + b · |d| / mean)),
k1 = 1.2, b = 0.75; Robertson & Zaragoza 2009, equation 3.15.
"""

from __future__ import annotations

import re
import sqlite3
from itertools import combinations

from fledge.retrieval.schema import SAMPLED

# Memories that may be ranked in one search: each costs microseconds, and a word that half of a
# million memories have tells nearly nothing of any.
MOST_RANKED = 3_000
WORDS = 24  # of a question, the rarest
PAIRED = 5  # of the words too common to stand alone, the rarest, that may stand in pairs
_WORD = re.compile(r"[^\W_]+")


def rank_by_words(database: sqlite3.Connection, question: str, count: int) -> list[int]:
    """Numbers of the memories, best first, at most `count`. A word that too many memories have is
    looked for together with another alone.
    """
    match = write_match(database, question)
    if match is None:
        return []
    rows = database.execute(
        "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank, rowid DESC LIMIT ?",
        (match, count),
    )
    return [row[0] for row in rows]


def write_match(database: sqlite3.Connection, question: str) -> str | None:
    """The question in FTS5's language; None where it has no word that could be looked for."""
    seen = dict.fromkeys(word.casefold() for word in _WORD.findall(question))
    words = [f'"{word}"' for word in seen]
    if not words:
        return None
    largest = database.execute("SELECT max(id) FROM memories").fetchone()[0] or 0
    if largest <= MOST_RANKED:
        return " OR ".join(words)
    counted = sorted((estimate(database, word), place, word) for place, word in enumerate(words))
    parts, room = list[str](), MOST_RANKED
    left = list[str]()
    for many, _, word in counted[:WORDS]:
        if many <= room:
            parts.append(word)
            room -= many
        else:
            left.append(word)
    for pair in combinations(left[:PAIRED], 2):
        both = f"({pair[0]} AND {pair[1]})"
        many = estimate(database, both)
        if many <= room:
            parts.append(both)
            room -= many
    if parts:
        return " OR ".join(parts)
    return " AND ".join(left[:PAIRED])  # all common: what has them all


def estimate(database: sqlite3.Connection, match: str) -> int:
    """How many memories match, from the sample: no fewer than its grain."""
    many = database.execute(
        "SELECT count(*) FROM sample WHERE sample MATCH ?", (match,)
    ).fetchone()[0]
    return SAMPLED * (many or 1)
