"""The built-in tasks: right answers, repeatable examples, a split that leaks nothing, scores hard
to game.
"""

from __future__ import annotations

import itertools
import os
import re
import string
import subprocess
import sys
from collections import Counter

import pytest

from fledge.splits import SPLITS
from fledge.tasks.examples import Verdict
from fledge.tasks.named import BUILT_IN, load_task
from fledge.tasks.words import numbers_split, word_split


def oracle(prompt: str) -> str:
    """The answer, worked out from the prompt's text alone and by other means than the tasks use."""
    name, question = prompt.split(": ")
    if name == "add":
        left, right = question.split(" + ")
        carry, digits = 0, []
        for i in range(1, max(len(left), len(right)) + 1):  # long addition, column by column
            column = carry + sum(int(x[-i]) for x in (left, right) if i <= len(x))
            carry, digit = divmod(column, 10)
            digits.insert(0, str(digit))
        return ("1" if carry else "") + "".join(digits)
    if name == "numbers":
        a, b, c = (int(x) for x in question.split(" "))
        middle = a + b + c - min(a, b, c) - max(a, b, c)
        return f"{min(a, b, c)} {middle} {max(a, b, c)}"
    if name == "sort":
        return "".join(letter * question.count(letter) for letter in string.ascii_lowercase)
    if name == "reverse":
        return "".join(question[-i] for i in range(1, len(question) + 1))
    if name == "upper":
        return "".join(chr(ord(letter) - 32) for letter in question)
    return question[len(question) - 1 :]


def contents(name: str, split, count: int, **knobs) -> list[str]:
    task = load_task(name, **knobs)
    return [task.example(i, split).prompt.split(": ")[1] for i in range(count)]


def multiset(content: str) -> tuple[str, ...]:
    return tuple(
        sorted(content.replace(" + ", " ").split(" ") if content[0].isdigit() else content)
    )


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_right_and_exact(name, split):
    task = load_task(name, seed=3)
    examples = [task.example(i, split) for i in range(500)]
    answers = [oracle(example.prompt) for example in examples]
    assert [example.answer for example in examples] == answers
    assert {example.task for example in examples} == {name}
    assert task.judge(examples, answers) == [Verdict(1.0, True)] * 500


@pytest.mark.parametrize("name", BUILT_IN)
def test_prompts_look_as_documented(name):
    word, number = r"[a-z]{4,8}", r"(\d|[1-9]\d{1,2})"
    question = {"numbers": rf"{number} {number} {number}", "add": rf"{number} \+ {number}"}.get(
        name, word
    )
    task = load_task(name)
    for i in range(500):
        assert re.fullmatch(f"{name}: {question}", task.example(i, "train").prompt)


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_example_depends_on_seed_split_and_index_only(name):
    first, again, other = load_task(name, seed=5), load_task(name, seed=5), load_task(name, seed=6)
    forwards = [first.example(i, "train") for i in range(50)]
    backwards = [again.example(i, "train") for i in reversed(range(50))]
    assert forwards == backwards[::-1]
    assert forwards != [other.example(i, "train") for i in range(50)]
    assert first.example(10**12, "test") == again.example(10**12, "test")


def test_examples_are_equal_in_another_process():
    program = (
        "from fledge.tasks.named import load_task\ntask = load_task('words', "
        "seed=2)\nprint([task.example(i, s).prompt for i in range(60) for s in ('train', "
        "'validation', 'test')])"
    )
    task = load_task("words", seed=2)
    here = str([task.example(i, s).prompt for i in range(60) for s in SPLITS])
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here


def test_no_tested_content_is_ever_trained_on_by_any_word_task_or_seed():
    words = ("reverse", "sort", "upper", "last")
    knobs = {"shortest": 2, "longest": 3}  # few enough contents that they would meet
    trained = {
        multiset(c)
        for name in words
        for seed in (0, 1)
        for c in contents(name, "train", 2000, seed=seed, **knobs)
    }
    held_out = [
        {
            multiset(c)
            for n in words
            for seed in (0, 1)
            for c in contents(n, split, 500, seed=seed, **knobs)
        }
        for split in ("validation", "test")
    ]
    assert len(trained) > 1000
    assert min(map(len, held_out)) > 100
    assert not trained & held_out[0]
    assert not trained & held_out[1]
    assert not held_out[0] & held_out[1]


@pytest.mark.parametrize("name", ["numbers", "add"])
def test_no_tested_numbers_are_trained_on_in_any_order(name):
    trained = {multiset(c) for c in contents(name, "train", 3000, longest=1)}
    tested = {multiset(c) for c in contents(name, "test", 1000, longest=1)}
    assert not trained & tested


def test_the_shortest_contents_have_every_split():
    """Drawing again until the split is right ends only if every length has contents of each; the
    longer have more.
    """
    digits = range(10)
    letters = Counter(word_split(letter) for letter in string.ascii_lowercase)
    pairs = Counter(
        numbers_split(list(n)) for n in itertools.combinations_with_replacement(digits, 2)
    )
    triples = Counter(
        numbers_split(list(n)) for n in itertools.combinations_with_replacement(digits, 3)
    )
    for counts, fewest in ((letters, 1), (pairs, 2), (triples, 5)):
        for split in ("validation", "test"):
            assert fewest <= counts[split] <= counts.total() // 8
    for name in BUILT_IN:
        for split in SPLITS:
            assert len(contents(name, split, 100, shortest=1, longest=1)) == 100


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, validation, test"):
        contents("reverse", "held out", 1)


@pytest.mark.parametrize("split", SPLITS)
def test_every_length_in_the_range_is_equally_likely(split):
    # 5,000 words over 5 lengths: chi-square with 4 degrees of freedom exceeds 28 with probability
    # 1.3e-5
    lengths = [len(word) for word in contents("reverse", split, 5000, shortest=3, longest=7)]
    counts = [lengths.count(length) for length in range(3, 8)]
    assert sum(counts) == 5000
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 28


def test_every_letter_is_equally_likely_in_training():
    # 26,000 letters, less even than independent ones since a tenth of the contents is missing: a
    # bound far above the 66 that 25 degrees of freedom exceed with probability 1.5e-5, far below
    # what a missing letter gives (1,000)
    text = "".join(contents("reverse", "train", 3250, shortest=8, longest=8))
    assert len(text) == 26_000
    assert sum((text.count(letter) - 1000) ** 2 / 1000 for letter in string.ascii_lowercase) < 100


@pytest.mark.parametrize(
    ("knobs", "expected"), [({}, {1, 2, 3}), ({"shortest": 4, "longest": 6}, {4, 5, 6})]
)
def test_digits_per_number_follow_the_knobs(knobs, expected):
    sums = contents("add", "train", 300, **knobs)
    assert {len(number) for question in sums for number in question.split(" + ")} == expected


def test_one_digit_numbers_are_nought_to_nine_and_longer_ones_never_begin_with_nought():
    # a digit is missing from 1,200 draws with probability 10 · 0.9^1200 < 1e-50
    ones = " ".join(contents("numbers", "train", 400, longest=1)).split(" ")
    assert set(ones) == set(string.digits)
    twos = " ".join(contents("numbers", "train", 400, shortest=2, longest=2)).split(" ")
    assert {number[0] for number in twos} == set("123456789")


def test_very_long_words_and_numbers_are_drawn_in_full():
    assert len(set(contents("reverse", "train", 1, shortest=1000)[0])) == 26
    assert len(contents("add", "train", 1, shortest=1000, longest=1000)[0]) == 2003


@pytest.mark.parametrize("name", BUILT_IN)
def test_rubbish_and_the_prompt_said_again_score_nothing(name):
    task = load_task(name)
    examples = [task.example(i, "train") for i in range(3000)]
    for rubbish in ("", " ", "???", "~", "<|end|>", "the answer", name):
        mean = sum(v.score for v in task.judge(examples, [rubbish] * 3000)) / 3000
        assert mean == 0.0 or (rubbish in ("the answer", name) and mean < 1e-3)
    nothing = [Verdict(0.0, False)] * 3000
    assert task.judge(examples, [e.prompt for e in examples]) == nothing
    assert task.judge(examples, [f"{e.answer} " * 4 for e in examples]) == nothing


@pytest.mark.parametrize(
    ("name", "ceiling"), zip(BUILT_IN, (0.02, 0.05, 0.05, 0.05, 0.02, 0.06), strict=True)
)
def test_no_constant_guess_pays(name, ceiling):
    """The best beginning of 200 true answers, on 1,000 other examples. For `last`, one letter is
    right 1 time in 26.
    """
    task = load_task(name)
    guesses = {
        e.answer[:n]
        for e in (task.example(i, "train") for i in range(200))
        if e.answer
        for n in range(1, 12)
    }
    examples = [task.example(i, "train") for i in range(200, 1200)]
    best = max(
        sum(v.score for v in task.judge(examples, [guess] * 1000)) / 1000
        for guess in sorted(guesses)
    )
    assert best < ceiling
