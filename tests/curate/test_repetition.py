"""Runs of words that repeat, held against a count of tuples of words, by C and by NumPy."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from fledge.curate import repetition, run_kernel
from fledge.curate.repetition import MOST, TOP_RUNS, judge_runs
from fledge.curate.rules import judge_repetition


def count_runs(words: list[str]) -> tuple[int, set[int], int]:
    """The first length of which there is too much, its sizes, of equally common runs each, and all
    characters.
    """
    whole = sum(map(len, words))
    for n, most in MOST.items():
        runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        times = Counter(runs)
        if n in TOP_RUNS:
            top = max(times.values())
            if top < 2:
                break
            sizes = {top * sum(map(len, run)) for run, count in times.items() if count == top}
        else:
            inside = {i + k for i, run in enumerate(runs) if times[run] > 1 for k in range(n)}
            sizes = {sum(len(words[i]) for i in inside)}
        if max(sizes) / whole > most:
            return n, sizes, whole
    return 0, {0}, 0


def draw_texts(number: int) -> list[list[str]]:
    """One for each length of which alone there is too much, a passage of it that stands twice; then
    of few words and many, with passages that stand again.
    """
    lot, texts = random.Random(0), []
    for n in range(5, 11):
        words = [f"w{i:03}" for i in range(int(2 * n / (MOST[n] + 0.005)) - n)]
        texts.append([*words, *words[3 : 3 + n]])
    for _ in range(number):
        vocabulary = [
            f"{'abcdefg'[i % 7] * (i % 5 + 1)}{i}" for i in range(lot.choice((5, 9, 60, 900)))
        ]
        words = lot.choices(vocabulary, k=lot.randint(12, 160))
        for _ in range(lot.randint(0, 3)):
            at, size = lot.randrange(len(words)), lot.randint(2, 14)
            words[lot.randrange(len(words)) :] += words[at : at + size]
            words += lot.choices(vocabulary, k=lot.randint(0, 40))
        texts.append(words)
    return texts


@pytest.mark.parametrize("by", ["C", "NumPy"])
def test_as_a_count_of_tuples_says(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "NumPy":
        monkeypatch.setattr(repetition, "load_kernel", lambda: None)
    elif run_kernel.load_kernel() is None:
        pytest.skip("no compiler here")
    judged: Counter[int] = Counter()
    for words in draw_texts(150):
        length, sizes, whole = count_runs(words)
        said = judge_runs(" ".join(words))
        judged[length] += 1
        if not length:
            assert said is None, said
            continue
        # of equally common runs any may be taken: only those are asked where all are too much
        if min(sizes) / whole <= MOST[length]:
            continue
        shares = {f" {size / whole:.0%}" for size in sizes}
        assert said is not None
        assert f" {length} words " in said
        assert any(share in said for share in shares), (said, shares)
    assert set(judged) >= {0, 2, 5, 6, 7, 8, 9, 10}, judged


def test_c_and_numpy_take_the_same_of_equally_common_runs() -> None:
    library = run_kernel.load_kernel()
    if library is None:
        pytest.skip("no compiler here")
    for words in draw_texts(100):
        text = " ".join(words)
        joined = b"\n" + text.encode() + b"\n"
        ours = run_kernel.judge_native(library, joined, run_kernel.pack_bounds(MOST))
        plain = repetition.find_too_common(text)
        assert ours[0] == plain[0]
        assert not plain[0] or ours == plain


def test_few_words_and_none() -> None:
    for text in ("", "again again again", "\n\n", "…"):
        assert judge_runs(text) is None
        assert judge_repetition(text, []) is None
