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

# Memories that may be ranked in one search, at some 8 µs each; a word that half of a million
# memories have tells nearly nothing of any.
MOST_RANKED = 1_000
# That the words beside them may have together, which BM25 counts at each search; what is commoner
# is left out.
MOST_COUNTED = 40_000
WORDS = 24  # of a question, the rarest
PAIRED = 5  # of the words too common to stand alone, the rarest, that may stand in pairs
_WORD = re.compile(r"[^\W_]+")


def rank_by_words(database: sqlite3.Connection, question: str, count: int) -> list[int]:
    """Numbers of the memories, best first, at most `count`: of up to a thousand by BM25 of all
    words. Of more, a word that too many have is looked for together with another alone, and beside
    rarer ones, which then count double; of a question with such words only come the newest memories
    that have them all.
    """
    match, ranked = write_match(database, question)
    if not match:
        return []
    order = "rank, rowid DESC" if ranked else "rowid DESC"
    rows = database.execute(
        f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY {order} LIMIT ?", (match, count)
    )
    return [row[0] for row in rows]


def write_match(database: sqlite3.Connection, question: str) -> tuple[str, bool]:
    """The question in FTS5's language, "" where it has no word; and whether what matches is so
    little that it can be ranked.
    """
    seen = dict.fromkeys(word.casefold() for word in _WORD.findall(question))
    words = [f'"{word}"' for word in seen]
    largest = database.execute("SELECT max(id) FROM memories").fetchone()[0] or 0
    if largest <= MOST_RANKED:
        return " OR ".join(words), True
    counted = sorted((estimate(database, word), place, word) for place, word in enumerate(words))
    parts, room = list[str](), MOST_RANKED
    left, counting = list[str](), MOST_COUNTED
    for many, _, word in counted[:WORDS]:
        if many <= room:
            parts.append(word)
            room -= many
        elif many <= counting:
            left.append(word)
            counting -= many
    for pair in combinations(left[:PAIRED], 2):
        both = f"({pair[0]} AND {pair[1]})"
        many = estimate(database, both)
        if many <= room:
            parts.append(both)
            room -= many
    if not parts:
        return " AND ".join(word for _, _, word in counted[:PAIRED]), False
    base = " OR ".join(parts)
    if left:
        # What matches stays the same; which of it has the commoner words too is counted.
        return f"({base}) AND ({base} OR {' OR '.join(left)})", True
    return base, True


def estimate(database: sqlite3.Connection, match: str) -> int:
    """How many memories match, from the sample; of none there, few."""
    many = database.execute(
        "SELECT count(*) FROM sample WHERE sample MATCH ?", (match,)
    ).fetchone()[0]
    return SAMPLED * many or SAMPLED // 8
