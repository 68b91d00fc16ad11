"""What a store of memories holds, finds, merges and forgets; what a kill leaves of it."""

from __future__ import annotations

import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.retrieval import lexical, schema, vectors
from fledge.retrieval.fusion import fuse_ranks
from fledge.retrieval.memory import HALF_LIFE_S
from fledge.retrieval.store import MemoryStore
from fledge.retrieval.vectors import SignIndex, count_bits, normalise, write_signs

WORDS = (
    "red",
    "blue",
    "amber",
    "tin",
    "oak",
    "fern",
    "kelp",
    "moss",
    "clay",
    "salt",
    "iron",
    "jade",
)


class Clock:
    """Seconds that a test moves on itself."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


class Directions:
    """An encoder whose vectors are known: one direction a word, summed."""

    name, dims = "directions", 96

    def __init__(self) -> None:
        draws = np.random.default_rng(0)
        self.of = {word: draws.standard_normal(self.dims) for word in WORDS}

    def __call__(self, texts):
        rows = [[self.of[w] for w in text.split() if w in self.of] for text in texts]
        return np.array([sum(row) if row else np.ones(self.dims) for row in rows])


def write_texts(count: int, seed: int = 0) -> list[str]:
    draws = np.random.default_rng(seed)
    sizes = draws.integers(3, 9, count)
    return [f"{' '.join(draws.choice(WORDS, size))} n{i}" for i, size in enumerate(sizes)]


def rank_bm25(texts: list[str], question: str) -> dict[int, float]:
    """Robertson & Zaragoza 2009, equation 3.15, with k1 = 1.2 and b = 0.75: the score of each text
    that has a word of the question, by its place.
    """
    docs = [Counter(re.findall(r"\w+", text)) for text in texts]
    mean = sum(sum(doc.values()) for doc in docs) / len(docs)
    scores: dict[int, float] = {}
    for place, doc in enumerate(docs):
        length, score = sum(doc.values()), 0.0
        for word in dict.fromkeys(question.split()):
            having = sum(word in other for other in docs)
            idf = max(1e-6, math.log((len(docs) - having + 0.5) / (having + 0.5)))
            f = doc[word]
            score += idf * f * 2.2 / (f + 1.2 * (1 - 0.75 + 0.75 * length / mean))
        if any(doc[word] for word in question.split()):
            scores[place] = score
    return scores


def test_the_order_is_bm25s_own(tmp_path: Path) -> None:
    texts = write_texts(60)
    store = MemoryStore(tmp_path / "m.db")
    numbers = store.add_all(texts, "test")
    for question in ("red kelp", "moss", "n7 jade oak", "n3 n4 n5"):
        scores = rank_bm25(texts, question)
        said = [numbers.index(memory.id) for memory in store.search(question, 10)]
        wanted = sorted(scores.values(), reverse=True)[: len(said)]
        assert said
        assert [scores[place] for place in said] == pytest.approx(wanted)


def test_common_words_are_looked_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for few, a rare word decides; two common ones are looked for as a pair."""
    monkeypatch.setattr(lexical, "MOST_RANKED", 300)
    monkeypatch.setattr(lexical, "MOST_COUNTED", 1_000)
    store = MemoryStore(tmp_path / "m.db")
    plain = [f"the cat number c{i} sat" for i in range(640)]
    plain += [f"the dog number d{i} ran" for i in range(640)]
    store.add_all([*plain, "the cat and the dog met", "the zebra sat"], "test")
    assert store.search("where is the zebra", 1)[0].text == "the zebra sat"
    assert store.search("the cat met the dog", 1)[0].text == "the cat and the dog met"
    match = lexical.write_match(store._database, "the zebra")
    assert match == ('"zebra"', True)  # all have the other, which would be ranked for nothing
    newest = [memory.text for memory in store.search("the cat", 2)]  # nothing rare
    assert newest == ["the cat and the dog met", "the cat number c639 sat"]
    assert store.search("?!", 3) == []


def test_vectors_find_what_shares_no_word_and_ranks_are_fused(tmp_path: Path) -> None:
    encoder = Directions()
    encoder.of["crimson"] = encoder.of["red"] + 0.1 * encoder.of["oak"]
    store = MemoryStore(tmp_path / "m.db", encoder)
    store.add_all(["red", "blue", "amber tin", "oak fern"], "test")
    assert store.search("crimson", 1)[0].text == "red"
    assert MemoryStore(tmp_path / "m.db").search("crimson") == []


def test_a_name_that_is_a_word_of_sqlites_is_a_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a database in memory, two connections would be two of them."""
    monkeypatch.chdir(tmp_path)
    store = MemoryStore(":memory:", Directions())
    store.add_all(["red", "blue"], "test")
    assert store.search("red", 1)[0].text == "red"
    assert (tmp_path / ":memory:").is_file()


def test_signs_then_vectors_find_the_nearest(tmp_path: Path) -> None:
    """Against all cosines at full precision, on memories enough that the signs must choose."""
    encoder, texts = Directions(), write_texts(2500, seed=1)
    store = MemoryStore(tmp_path / "m.db", encoder)
    store.add_all(texts, "test")
    exact = normalise(encoder(texts))
    questions = ("amber kelp jade", "salt", "iron moss clay fern")
    for question in questions:
        cosines = exact @ normalise(encoder([question]))[0]
        tenth = np.sort(cosines)[-10]
        near = store.search(f"{question} ", 50)
        place = {text: i for i, text in enumerate(texts)}
        hit = sum(cosines[place[memory.text]] >= tenth - 0.01 for memory in near)
        assert hit >= 9


def test_reciprocal_ranks_by_hand() -> None:
    fused = fuse_ranks([[7, 8], [8, 9]])
    assert fused == [(8, 1 / 62 + 1 / 61), (7, 1 / 61), (9, 1 / 62)]


def test_bits_are_counted_alike_with_and_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).integers(0, 2**63, 100).astype(np.uint64)
    wanted = [bin(int(word)).count("1") for word in words]
    assert count_bits(words).tolist() == wanted
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert count_bits(words).tolist() == wanted
    assert write_signs(np.array([[1.0, -1.0, 2.0] * 30])).shape == (1, 2)


def test_a_text_said_again_is_one_memory(tmp_path: Path) -> None:
    clock = Clock()
    store = MemoryStore(tmp_path / "m.db", now=clock)
    first = store.add("The key is under the oak.", "monday")
    clock.time += 10
    assert store.add("  the KEY is\nunder the oak. ", "tuesday") == first
    [memory] = store.search("where is the key")
    assert (memory.source, memory.written, len(store)) == ("tuesday", clock.time, 1)
    assert memory.text == "The key is under the oak."


def test_what_is_replaced_goes_and_its_uses_stay(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "m.db", Directions())
    old = store.add("the oak is red", "a")
    store.mark_used(store.search("oak"))
    new = store.replace(old, "the oak is blue", "b")
    [memory] = store.search("oak")
    assert (memory.id, memory.text, memory.uses) == (new, "the oak is blue", 1)
    store.check()


def test_what_is_replaced_by_what_was_known_has_the_uses_of_both(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "m.db", now=Clock())
    old, known = store.add_all(["the oak is red", "the oak is blue"], "a")
    for _ in range(3):
        store.mark_used(store.search("red blue", 2))
    assert store.replace(old, "the oak is blue", "b") == known
    [(uses, strength)] = store._ask("SELECT uses, strength FROM memories")
    assert uses == 6
    assert strength == pytest.approx(Clock().time + HALF_LIFE_S * math.log2(7))


def test_what_is_said_now_stays_where_all_others_are_in_use(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "m.db", most=3)
    store.add_all(["red", "blue", "amber"], "a")
    store.mark_used(store.list_newest(3))
    store.mark_used(store.search("red blue", 2))
    number = store.add("tin", "b")
    assert {each.text for each in store.list_newest(9)} == {"red", "blue", "tin"}
    assert store.forget(number).text == "tin"
    store.add_all(["oak", "fern", "kelp", "moss", "clay"], "c")
    assert {each.text for each in store.list_newest(9)} == {"kelp", "moss", "clay"}
    store.check()


def test_the_weakest_are_forgotten_by_the_stated_rule(tmp_path: Path) -> None:
    """R = (1 + uses) 2^(−Δt/half-life), computed here for each, beside who is still there."""
    clock = Clock()
    store = MemoryStore(tmp_path / "m.db", now=clock)
    draws = np.random.default_rng(3)
    used, uses = {}, {}
    for i in range(60):
        clock.time += float(draws.exponential(HALF_LIFE_S / 8))
        text = f"fact number f{i}"
        store.add(text, "test")
        used[text], uses[text] = clock.time, 0
        for place in draws.integers(0, i + 1, 2):
            clock.time += 60
            again = f"fact number f{place}"
            store.mark_used(store.search(f"f{place}", 1))
            used[again], uses[again] = clock.time, uses[again] + 1
    clock.time += 5 * HALF_LIFE_S

    def retention(text: str) -> float:
        return (1 + uses[text]) * 2 ** (-(clock.time - used[text]) / HALF_LIFE_S)

    kept = sorted(used, key=retention)[-20:]
    store.close()
    # the new one is used now, so it is among those that stay
    store = MemoryStore(tmp_path / "m.db", most=21, now=clock)
    store.add("one more", "test")
    there = {memory.text for memory in store.list_newest(100)}
    assert there == {*kept, "one more"}
    store.check()


def test_forgotten_is_not_found(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "m.db", Directions())
    numbers = store.add_all(["red oak", "blue fern"], "test")
    assert store.forget(numbers[0]).text == "red oak"
    assert [memory.text for memory in store.search("red oak")] == ["blue fern"]
    assert store.add("red oak", "test") > numbers[1]  # no number is given twice
    for number in (numbers[0], -1, 10**30):
        with pytest.raises(UserError, match=f"there is no memory {number}"):
            store.forget(number)
    store.check()


WRITER = """
import sys
from fledge.retrieval.store import MemoryStore
store = MemoryStore(sys.argv[1])
texts = (f"process {sys.argv[2]} fact f{i} of many words" for i in range(int(sys.argv[3])))
store.add_all(texts, "writer", told=lambda n: print(n, flush=True))
"""


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_a_kill_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    for attempt in range(3):
        writer = start_writer(path, f"p{attempt}", 10**7)
        assert writer.stdout is not None
        told = 0
        for _ in range(1 + attempt):
            told = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        safe = int(rest[-1]) if rest else told
        store = MemoryStore(path)
        assert len(store) % 1000 == 0  # whole commits only
        for i in (0, safe // 2, safe - 1):
            assert store.search(f"p{attempt} f{i}", 1)[0].text.startswith(
                f"process p{attempt} fact f{i} "
            )
        store.check()
        store.close()


def test_two_processes_write_and_a_third_reads(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    writers = [start_writer(path, name, 2500) for name in ("one", "two")]
    reader = MemoryStore(path, Directions())  # a file that nobody has made yet is opened by three
    while any(writer.poll() is None for writer in writers):
        reader.search("process fact")
        reader.add("said while others wrote", "reader")
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(reader) == 5001
    for name in ("one", "two"):
        assert reader.search(f"{name} f2499", 1)[0].text.startswith(f"process {name} fact f2499")
    reader.check()
    late = MemoryStore(path, Directions())  # what came without vectors has them now
    assert late._ask("SELECT count(*) FROM signs")[0][0] == 5001


def test_whoever_writes_without_pause_lets_others_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 writes, each within ten seconds, beside one that hardly leaves the file. They wait some
    15 ms each; by SQLite's own hundred looks in ten seconds half of them would have no turn.
    """
    monkeypatch.setattr(schema, "WAIT_S", 10.0)
    path, ended = tmp_path / "m.db", threading.Event()
    store = MemoryStore(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def write_on() -> None:
        while not ended.is_set():
            schema.begin_writing(other)
            time.sleep(0.02)
            other.execute("COMMIT")
            time.sleep(5e-5)

    busy = threading.Thread(target=write_on)
    busy.start()
    try:
        for number in range(80):
            store.add(f"fact {number}", "test")
    finally:
        ended.set()
        busy.join()
    assert len(store) == 80


def test_an_index_sees_what_another_connection_added(tmp_path: Path) -> None:
    one, other = (MemoryStore(tmp_path / "m.db", Directions()) for _ in range(2))
    one.add("red oak", "a")
    assert other.search("red")[0].text == "red oak"
    one.add("crimson", "b")
    index = SignIndex(96)
    index.update(other._database)
    assert index.count == 2


@pytest.mark.parametrize("count", [1, 7, 40, 200])
def test_the_nearest_signs_are_those_of_a_plain_comparison(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several blocks, whose last is cut short, ties and all: of 150 memories, bit by bit."""
    monkeypatch.setattr(vectors, "BLOCK", 32)
    random = np.random.default_rng(count)
    signs = random.integers(0, 2**16, (150, 2), dtype=np.uint64)  # few bits: many are equally far
    index, asked = SignIndex(96), random.integers(0, 2**16, 2, dtype=np.uint64)
    index.count, index._ids, index._signs = 150, np.arange(150) * 3, signs.T.copy()
    far = [
        sum((int(a) ^ int(b)).bit_count() for a, b in zip(row, asked, strict=True)) for row in signs
    ]
    last = sorted(far)[min(count, 150) - 1]
    wanted = [3 * i for i, each in enumerate(far) if each <= last]
    assert index.nearest(asked, count).tolist() == wanted


@pytest.mark.parametrize("text", ["", "  \n", "a\x00b", "x" * 20_001, "half \ud800"])
def test_what_is_no_memory_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="remember"):
        MemoryStore(tmp_path / "m.db").add(text, "test")


def test_files_that_are_none_are_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 200)
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t (x)")
    MemoryStore(tmp_path / "m.db", Directions())
    other = Directions()
    other.name = "another"
    for path, encoder, said in (
        (tmp_path, None, "can be no file"),
        (tmp_path / "no" / "m.db", None, "can be no file"),
        (tmp_path / "text", None, "not a database"),
        (tmp_path / "other", None, "another program"),
        (tmp_path / "m.db", other, "the vectors in"),
    ):
        with pytest.raises(UserError, match=said) as raised:
            MemoryStore(path, encoder)
        assert "\n" not in str(raised.value)
    [mode] = sqlite3.connect(tmp_path / "other").execute("PRAGMA journal_mode").fetchone()
    assert mode == "delete"  # as its own program left it
