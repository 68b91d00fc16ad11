"""The user's own tasks from .py and .jsonl files: what they may hold, how rows are dealt, how
mistakes are told.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.splits import SPLITS, split_of
from fledge.tasks.checking import check_task
from fledge.tasks.examples import Verdict
from fledge.tasks.named import finite_rows, list_censuses, load_task
from fledge.tasks.own_process import Limits

GOOD = """
def prompts():
    return ["red", {"prompt": "green", "answer": "GREEN"}, "blue"]

def score(prompt, completion):
    return 1.0 if completion == prompt.upper() else 0.0
"""


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


def rows(count, start=0):
    return "".join(
        json.dumps({"prompt": f"question {i}", "answer": f"reply {i}"}) + "\n"
        for i in range(start, count)
    )


def drawn(task, split, count):
    return [task.example(i, split) for i in range(count)]


# What works


def test_a_jsonl_scores_by_its_answers(write):
    task = load_task(write("mine.jsonl", rows(5)))
    check_task(task)
    example = task.example(0, "train")
    answer = example.prompt.replace("question", "reply")
    assert example.answer == answer
    # "reply 3" has 7 characters: the first 5 right ones earn (5 − 1) / (7 − 1)
    verdicts = task.judge([example] * 4, [answer, f" {answer}\n", "reply", "no"])
    assert verdicts == [
        Verdict(1.0, True),
        Verdict(1.0, True),
        Verdict(4 / 6, False),
        Verdict(0.0, False),
    ]


def test_a_jsonl_may_have_blank_lines_a_mark_of_its_encoding_and_line_separators_inside_strings(
    write,
):
    text = (
        '\ufeff\n{"prompt": "a\u2028b", "answer": "c", "level": 3}\r\n\n{"prompt": "d", "answer": '
        '"e"}'
    )
    task = load_task(write("mine.jsonl", text))
    assert {(e.prompt, e.answer) for e in drawn(task, "train", 2)} == {
        ("a\u2028b", "c"),
        ("d", "e"),
    }


def test_a_python_file_brings_its_own_judge(write):
    task = load_task(write("mine.py", GOOD))
    check_task(task)
    examples = drawn(task, "train", 3)
    assert {(e.prompt, e.answer) for e in examples} == {
        ("red", None),
        ("green", "GREEN"),
        ("blue", None),
    }
    replies = [examples[0].prompt.upper(), "RUBBISH", examples[2].prompt.upper()]
    assert task.judge(examples, replies) == [
        Verdict(1.0, True),
        Verdict(0.0, False),
        Verdict(1.0, True),
    ]
    assert task.judge([], []) == []


def test_scores_are_asked_for_in_one_call_where_the_file_offers_it(write):
    source = """
import numpy as np
def prompts():
    return ["a", "b"]
def scores(prompts, completions):
    with open(__file__ + ".calls", "a") as file:
        print(list(zip(prompts, completions)), file=file)
    return np.array([len(c) / 10 for c in completions], dtype=np.float32)
"""
    path = write("batched.py", source)
    task = load_task(path)
    examples = drawn(task, "train", 2)
    assert [v.score for v in task.judge(examples, ["x", "xx"])] == pytest.approx([0.1, 0.2])
    assert (
        Path(path + ".calls").read_text()
        == f"{[(examples[0].prompt, 'x'), (examples[1].prompt, 'xx')]}\n"
    )


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        ("True", 1.0),
        ("1", 1.0),
        ("0.25", 0.25),
        ("__import__('numpy').float32(0.5)", 0.5),
        ("-0.0", 0.0),
        ("-250", -250.0),
        ("10 ** 30", 1e30),
    ],
)
def test_any_finite_number_is_a_score_and_is_right_from_one_on(write, returned, value):
    task = load_task(
        write("mine.py", f"def prompts(): return ['a']\ndef score(p, c): return {returned}\n"),
        limits=None,
    )
    [verdict] = task.judge([task.example(0, "train")], ["x"])
    assert verdict == Verdict(value, value >= 1)
    assert isinstance(verdict.score, float)


@pytest.mark.parametrize("returned", ["(-3.5, True)", "(-3.5, __import__('numpy').bool_(True))"])
def test_a_file_may_say_itself_what_is_right(write, returned):
    one = f"def prompts(): return ['a']\ndef score(p, c): return {returned}\n"
    several = f"def prompts(): return ['a']\ndef scores(p, c): return [(2, False), {returned}]\n"
    task = load_task(write("one.py", one), limits=None)
    assert task.judge([task.example(0, "train")], ["x"]) == [Verdict(-3.5, True)]
    task = load_task(write("several.py", several), limits=None)
    assert task.judge([task.example(0, "train")] * 2, ["x", "y"]) == [
        Verdict(2.0, False),
        Verdict(-3.5, True),
    ]


def test_a_python_file_may_import_its_neighbour_and_define_a_dataclass(write, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    write("neighbour_of_task.py", "WORDS = ['a', 'b']\n")
    source = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Row:
    text: str
def prompts():
    from neighbour_of_task import WORDS
    return [Row(word).text for word in WORDS]
def score(prompt, completion):
    return 0
"""
    assert {e.prompt for e in drawn(load_task(write("mine.py", source)), "test", 2)} == {"a", "b"}


def test_files_stand_in_mixtures(write):
    python, answers = write("mine.py", GOOD), write("mine.jsonl", rows(5))
    task = load_task(f"upper,{python},{answers}")
    check_task(task)
    assert Counter(e.task for e in drawn(task, "train", 30)) == {
        "upper": 10,
        python: 10,
        answers: 10,
    }
    # 10 turns are two passes over the five rows
    assert set(
        Counter(e.prompt for e in drawn(task, "train", 30) if e.task == answers).values()
    ) == {2}
    assert task.note is not None
    assert python in task.note
    assert answers in task.note


def test_files_that_a_pattern_fits_are_one_task(write, tmp_path):
    whole = load_task(write("whole.jsonl", rows(60)), seed=3)
    for name, begin, end in (("part-1", 0, 7), ("part-2", 7, 8), ("part-3", 8, 60)):
        write(f"{name}.jsonl", rows(end, begin))
    parted = load_task(str(tmp_path / "part-*.jsonl"), seed=3)
    for split in ("train", "validation", "test"):
        said = [(each.prompt, each.answer) for each in drawn(parted, split, 130)]
        assert said == [(each.prompt, each.answer) for each in drawn(whole, split, 130)]
    [example] = {each.task for each in drawn(parted, "train", 60)}
    assert example == str(tmp_path / "part-*.jsonl")
    assert parted.judge(drawn(parted, "test", 1), ["no"]) == [Verdict(0.0, False)]
    assert finite_rows(parted) == finite_rows(whole)
    counts = list_censuses(parted)
    assert [(Path(each.source).name, each.read) for each in counts] == [
        ("part-1.jsonl", 7), ("part-2.jsonl", 1), ("part-3.jsonl", 52),
    ]  # fmt: skip
    write("part-2.jsonl", "{}")
    with pytest.raises(UserError, match=r"line 1 of \S*part-2.jsonl"):
        load_task(str(tmp_path / "part-*.jsonl"))
    with pytest.raises(UserError, match=r"there is no task file \S*none-\*.jsonl"):
        load_task(str(tmp_path / "none-*.jsonl"))


def test_a_path_with_a_comma_is_one_file(write):
    assert load_task(write("a,b.jsonl", rows(3))).example(0, "train").answer is not None


# How a file is read


def test_a_file_that_is_replaced_or_grows_while_it_is_used_is_read_as_it_was(write, tmp_path):
    path = Path(write("mine.jsonl", rows(50)))
    task = load_task(str(path), seed=1)
    before = drawn(task, "train", 100)
    with path.open("a") as file:
        file.write(rows(60, start=50))
    assert drawn(task, "train", 100) == before
    (tmp_path / "other").write_text(rows(50).replace("reply", "other"))
    (tmp_path / "other").replace(path)
    assert drawn(task, "train", 100) == before
    path.unlink()
    assert drawn(task, "train", 100) == before


def test_a_line_that_is_written_over_while_it_is_used_is_noticed(write):
    path = Path(write("mine.jsonl", rows(50)))
    task = load_task(str(path), seed=1)
    with path.open("r+") as file:
        file.write(rows(50).replace("reply", "other"))
    with pytest.raises(UserError, match=r"mine\.jsonl has changed at byte \d+ .*put it back"):
        task.example(0, "train")


@pytest.mark.parametrize("megabytes", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_text_of_a_file(tmp_path, megabytes):
    many = tmp_path / "many.jsonl"
    with many.open("w") as file:
        for i in range(megabytes * 1000):  # of 1,000 bytes each
            row = {"prompt": f"question {i} " + "word " * 90, "answer": f"reply {i} " + "ok " * 150}
            file.write(json.dumps(row).ljust(999) + "\n")
    assert many.stat().st_size == megabytes * 10**6
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        task = load_task(str(many), seed=3)
        for index in range(100):
            task.example(index, "train")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 25 bytes of index a row, twice while an array grows, and 16 of a pass that is shuffled
    assert peak - before < megabytes * 1000 * 70 + 1e6


# How rows are dealt out


@pytest.mark.parametrize("split", SPLITS)
def test_each_pass_visits_every_row_once_in_another_order(write, split):
    task = load_task(write("mine.jsonl", rows(300)), seed=1)
    size = len({e.prompt for e in drawn(task, split, 2000)})
    passes = [[task.example(p * size + i, split).prompt for i in range(size)] for p in range(4)]
    assert all(len(set(prompts)) == size for prompts in passes)
    assert len({tuple(prompts) for prompts in passes}) == 4


def test_rows_are_a_pure_function_of_seed_split_and_index(write):
    path = write("mine.jsonl", rows(50))
    first, again, other = load_task(path, seed=1), load_task(path, seed=1), load_task(path, seed=2)
    forwards = drawn(first, "train", 200)
    assert forwards == [again.example(i, "train") for i in reversed(range(200))][::-1]
    assert forwards != drawn(other, "train", 200)


def test_the_split_is_by_the_prompt_alone(write):
    task = load_task(write("mine.jsonl", rows(1000)), seed=7)
    sides = {split: {e.prompt for e in drawn(task, split, 1000)} for split in SPLITS}
    for split, prompts in sides.items():
        assert prompts == {
            f"question {i}" for i in range(1000) if split_of(f"question {i}") == split
        }
        # 1,000 prompts: 4.5 standard deviations of a share of one twentieth are 31
        assert split == "train" or abs(len(prompts) - 50) < 31
    assert task.note is None
    assert task.holds_out


def test_rows_with_the_same_prompt_stay_together(write):
    twice = rows(100) + rows(100).replace("reply", "other")
    task = load_task(write("mine.jsonl", twice))
    train, validation, test = ({e.prompt for e in drawn(task, split, 200)} for split in SPLITS)
    assert len(train) + len(validation) + len(test) == len(train | validation | test)
    assert min(map(len, (train, validation, test))) > 0


def test_few_prompts_serve_for_both_and_the_note_says_so(write):
    task = load_task(write("mine.jsonl", rows(19) + rows(19)))
    assert all(
        {e.prompt for e in drawn(task, split, 38)} == {f"question {i}" for i in range(19)}
        for split in SPLITS
    )
    assert task.note is not None
    assert "only 19 different prompts" in task.note
    assert not task.holds_out


def test_twenty_prompts_always_leave_one_to_steer_and_one_to_test(write):
    kept = [f"question {i}" for i in range(200) if split_of(f"question {i}") == "train"][:20]
    text = "".join(json.dumps({"prompt": prompt, "answer": "yes"}) + "\n" for prompt in kept)
    task = load_task(write("mine.jsonl", text))
    sides = [{e.prompt for e in drawn(task, split, 40)} for split in SPLITS]
    assert [len(side) for side in sides] == [18, 1, 1]
    assert task.holds_out
    assert task.note is not None
    assert "1 for validation and 1 for test are held out" in task.note
    assert len(set.union(*sides)) == 20


# What goes wrong, in one sentence


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '{"prompt": "a", "answer": "b"',
            "line 37 is not JSON (Expecting ',' delimiter at column 30)",
        ),
        ("hello", "line 37 is not JSON"),
        ('["a", "b"]', "line 37 is a list where an object is wanted"),
        ('{"question": "a", "answer": "b"}', "line 37 has no `prompt`"),
        (
            '{"prompt": "a"}',
            "line 37 has a `prompt` and no `completion` (or `answer`, or `response`)",
        ),
        ('{"prompt": 5, "answer": "b"}', "line 37 is not a string, it is 5"),
        ('{"prompt": "a", "answer": 0}', "line 37 is not a string, it is 0"),
        ('{"prompt": "a", "answer": null}', "line 37 has a `prompt` and no `completion`"),
        ('{"prompt": "\\ud800", "answer": "b"}', "line 37 holds half of a surrogate pair"),
        ('{"prompt": "a", "answer": " "}', "cannot be used (an empty answer: 1, line 37)"),
        ("[" * 100_000, "line 37 is nested too deep"),
        ("9" * 5000, "line 37 is not JSON"),
    ],
)
def test_a_broken_line_is_named(write, line, said):
    path = write("mine.jsonl", rows(36) + line + "\n" + rows(40))
    with pytest.raises(UserError) as error:
        load_task(path)
    text = str(error.value)
    assert "\n" not in text
    assert path in text
    assert said in text.replace(f" of {path}", "")


def test_a_file_of_rows_that_is_empty_or_no_utf8(write):
    for content, said in {
        b"": "is empty",
        b" \n\n": "is empty",
        b"\xef\xbb\xbf": "is empty",
        rows(2).encode() + b'{"prompt": "\xff"}\n': "byte 0xff at byte offset 104 (line 3)",
    }.items():
        with pytest.raises(UserError) as error:
            load_task(write("mine.jsonl", content))
        assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"# abc\n# \xff\n", "not UTF-8 at byte 8 (line 2)"),
        (b"\xef\xbb\xbf# abc\n# \xff\n", "not UTF-8 at byte 11 (line 2)"),
    ],
)
def test_a_file_of_code_that_is_empty_or_undecodable(write, content, said):
    with pytest.raises(UserError) as error:
        load_task(write("mine.py", content))
    assert said in one_sentence(error)


@pytest.mark.parametrize("suffix", ["jsonl", "py"])
def test_a_missing_file_and_a_folder_in_its_place(tmp_path, suffix):
    with pytest.raises(UserError) as error:
        load_task(str(tmp_path / f"absent.{suffix}"))
    assert "there is no task file" in one_sentence(error)
    (tmp_path / f"folder.{suffix}").mkdir()
    wrong = {"py": "cannot be read", "jsonl": "is a folder where a file is wanted"}[suffix]
    with pytest.raises(UserError, match=wrong):
        load_task(str(tmp_path / f"folder.{suffix}"))


PROMPTS = "def prompts(): return ['a', 'b']\n"
SCORE = "def score(prompt, completion): return 0.0\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (SCORE, "has no function prompts()"),
        (PROMPTS, "has no function score(prompt, completion)"),
        ("prompts = ['a']\n" + SCORE, "has no function prompts()"),
        (PROMPTS + "def score(prompt, completion)\n", "line 2 is not valid Python (expected ':')"),
        (PROMPTS + "x = 1\0\n", "is not valid Python"),
        (
            SCORE + "\nimport absent_module_of_mine\n",
            "line 3: the file raised ModuleNotFoundError: No module named",
        ),
        (
            "exit(3)\n" + PROMPTS + SCORE,
            "line 1: the file raised SystemExit: 3 while it was loaded",
        ),
        (
            SCORE + "def prompts():\n    return 1 / 0\n",
            "line 3: prompts() raised ZeroDivisionError: division by zero",
        ),
        (SCORE + "def prompts(): return []\n", "prompts() returned an empty list"),
        (SCORE + "def prompts(): return 'abc'\n", "prompts() returned a value of type str"),
        (SCORE + "def prompts(): return None\n", "prompts() returned a value of type NoneType"),
        (SCORE + "def prompts(): return ['a', 7]\n", "entry 1 of prompts() is 7"),
        (
            SCORE + "def prompts(): return [{'answer': 'a'}]\n",
            "entry 0 of prompts() is {'answer': 'a'}",
        ),
        (SCORE + "def prompts(): return [{'prompt': 'a', 'answer': 1}]\n", "entry 0 of prompts()"),
        (
            SCORE + "def prompts(): return [{'prompt': 'a', 'answr': 'b'}]\n",
            "entry 0 of prompts() has 'answr' beside",
        ),
    ],
)
def test_a_python_file_that_is_no_task(write, source, said):
    path = write("mine.py", source)
    with pytest.raises(UserError) as error:
        load_task(path)
    text = one_sentence(error)
    assert path in text
    assert said in text


@pytest.mark.parametrize("limits", [None, Limits()], ids=["inside", "apart"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "    x = {}\n    return x[completion]\n",
            "line 4: score() raised KeyError: 'hi' on the prompt 'a'",
        ),
        ("    assert False\n", "line 3: score() raised AssertionError on the prompt 'a'"),
        (
            "    raise ValueError('two\\nlines')\n",
            "line 3: score() raised ValueError: two lines on the prompt 'a'",
        ),
        ("    import json\n    json.loads('{')\n", "line 4: score() raised JSONDecodeError"),
        ("    raise SystemExit\n", "line 3: score() raised SystemExit"),
        ("    return float('nan')\n", "the score was nan on the prompt 'a'"),
        ("    return float('inf')\n", "the score was inf on the prompt 'a'"),
        ("    return None\n", "the score was None on the prompt 'a'"),
        ("    return '1.0'\n", "the score was '1.0' on the prompt 'a'"),
        ("    return [0.5, 0.5]\n", "the score was [0.5, 0.5] on the prompt 'a'"),
        ("    return 1e39\n", "the score was 1e+39 on the prompt 'a': return a finite number"),
        ("    return 1, 0.5\n", "the score was (1, 0.5) on the prompt 'a'"),
        (
            "    raise KeyboardInterrupt\n",
            "line 3: score() raised KeyboardInterrupt on the prompt 'a'",
        ),
        ("    raise GeneratorExit\n", "line 3: score() raised GeneratorExit on the prompt 'a'"),
        (
            "    import os\n    os._exit(0)\n",
            "line 4: score() called os._exit(0) on the prompt 'a'",
        ),
        (
            "    return type('Bad', (), {'__repr__': lambda self: 1 / 0})()\n",
            "the score was <Bad> on the prompt 'a'",
        ),
        (
            "    raise type('Bad', (Exception,), {'__str__': lambda self: 1 / 0})\n",
            "line 3: score() raised Bad on",
        ),
        ("    return 10 ** 400\n", "the score was 1000"),
    ],
)
def test_a_score_function_that_fails(write, body, said, limits):
    path = write("mine.py", "def prompts(): return ['a']\ndef score(prompt, completion):\n" + body)
    task = load_task(path, limits=limits)
    with pytest.raises(UserError) as error:
        task.judge([task.example(0, "train")], ["hi"])
    text = one_sentence(error)
    assert path in text
    assert said in text
    with pytest.raises(UserError):
        check_task(task)


def test_a_score_function_with_the_wrong_parameters(write):
    task = load_task(write("mine.py", PROMPTS + "def score(completion): return 1.0\n"))
    with pytest.raises(
        UserError, match=r"score\(\) raised TypeError: score\(\) takes 1 positional argument"
    ):
        check_task(task)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("[0.5]", "scores() returned 1 scores on 2 prompts, the first of them"),
        ("[0.5] * 3", "scores() returned 3 scores"),
        ("0.5", "scores() returned a value of type float"),
        ("None", "scores() returned a value of type NoneType"),
        ("[0.5, float('nan')]", "the score was nan on the prompt"),
        ("[0.5, 'good']", "the score was 'good' on the prompt"),
        ("1 / 0", "line 2: scores() raised ZeroDivisionError: division by zero on 2 prompts"),
    ],
)
def test_a_list_of_scores_that_fails(write, returned, said):
    task = load_task(
        write("mine.py", PROMPTS + f"def scores(prompts, completions): return {returned}\n")
    )
    with pytest.raises(UserError) as error:
        task.judge(drawn(task, "train", 2), ["x", "y"])
    assert said in one_sentence(error)


def test_examples_and_completions_must_pair_up(write):
    task = load_task(write("mine.py", PROMPTS + SCORE))
    with pytest.raises(ValueError, match="2 examples came with 1"):
        task.judge(drawn(task, "train", 2), ["x"])
