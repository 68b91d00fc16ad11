"""A judge in a process of its own: whatever it does costs its own answer, is told with its line,
and never reaches this process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.tasks.examples import Verdict
from fledge.tasks.judge_process import JudgeProcess, Limits

PROMPTS = "def prompts():\n    return ['a', 'b']\n"
SHORT = Limits(seconds=1.0, memory_gb=1.0, failed_score=-7.0, say=lambda text: None)

# What score() does when the completion is the name -> what is said of it. Each stands in a line of
# its own.
TROUBLE = {
    "while True: pass": "took longer than 1 s",
    "time.sleep(100)": "took longer than 1 s",
    "block_all_signals_and_sleep()": "took longer than 1 s",
    "os.kill(os.getpid(), signal.SIGSTOP)": "took longer than 1 s",
    "os._exit(0)": "called os._exit(0)",
    "sys.exit(0)": "raised SystemExit: 0",
    "ctypes.string_at(0)": "ended its process with signal SIGSEGV",
    "os.kill(os.getpid(), signal.SIGTERM)": "ended its process with signal SIGTERM",
    "os.kill(os.getpid(), signal.SIGKILL)": "ended its process with signal SIGKILL",
    "os.abort()": "ended its process with signal SIGABRT",
    "raise BaseException('odd')": "raised BaseException: odd",
    "raise GeneratorExit": "raised GeneratorExit",
    "raise KeyboardInterrupt": "raised KeyboardInterrupt",
    "bytearray(6 * 10 ** 9)": "raised MemoryError",
    "os.closerange(3, 4096)": "ended its process with code 0",
    "leave_a_copy_that_holds_the_socket()": "ended its process with signal SIGKILL",
    "while os.write(1, b'x' * 65536): pass": "took longer than 1 s",
    "raise ValueError('odd')": "raised ValueError: odd",
    "1 / 0": "raised ZeroDivisionError: division by zero",
    "exec('def f(): f()\\nf()')": "raised RecursionError: maximum recursion depth exceeded",
}
# What it returns -> how that is told; of these no line is known.
RETURNED = {
    "float('nan')": "nan",
    "float('inf')": "inf",
    "None": "None",
    "'7'": "'7'",
    "[1, 2]": "[1, 2]",
}
WITHOUT_A_LINE = {  # nothing that runs in the process can say where it was
    "block_all_signals_and_sleep()",
    "os.kill(os.getpid(), signal.SIGSTOP)",
    "os.kill(os.getpid(), signal.SIGKILL)",
    "os.closerange(3, 4096)",
    "leave_a_copy_that_holds_the_socket()",
}
HELPERS = """
import ctypes, os, signal, sys, time
def block_all_signals_and_sleep():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(100)
def leave_a_copy_that_holds_the_socket():
    if os.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(100)
"""


def write(folder: Path, source: str) -> Path:
    path = folder / "mine.py"
    path.write_text(source)
    return path


def test_whatever_it_does_costs_its_own_answer(tmp_path: Path) -> None:
    body = "".join(f"    if completion == {what!r}:\n        {what}\n" for what in TROUBLE)
    source = (
        HELPERS + PROMPTS + f"def score(prompt, completion):\n{body}    return len(completion)\n"
    )
    lines = {what: source[: source.index(f"        {what}\n")].count("\n") + 1 for what in TROUBLE}
    said: list[str] = []
    judge = JudgeProcess(write(tmp_path, source), 0, Limits(1.0, 1.0, -7.0, said.append))
    before, ordinary = os.getcwd(), 10 * len(TROUBLE)
    assert judge.judge(["p"] * ordinary, ["four"] * ordinary) == [Verdict(4.0, True)] * ordinary
    asked = [text for what in TROUBLE for text in (what, "ok")]
    verdicts = judge.judge(["p"] * len(asked), asked)
    for what, verdict, after in zip(TROUBLE, verdicts[::2], verdicts[1::2], strict=True):
        assert after == Verdict(2.0, True), what
        assert (verdict.score, verdict.right) == (-7.0, False), what
        assert verdict.failure is not None, what
        place = (
            f"{judge.path}: " if what in WITHOUT_A_LINE else f"{judge.path} line {lines[what]}: "
        )
        assert verdict.failure == f"{place}score() {TROUBLE[what]} on the prompt 'p'", what
    assert len(said) == 1  # of the first
    assert said[0].startswith(
        f"{judge.path} line {lines['while True: pass']}: score() took longer than 1 s"
    )
    assert os.getcwd() == before
    judge.close()


def test_what_is_no_score_costs_its_own_answer(tmp_path: Path) -> None:
    body = "".join(f"    if completion == {r!r}:\n        return {r}\n" for r in RETURNED)
    source = PROMPTS + f"def score(prompt, completion):\n{body}    return 1\n"
    judge = JudgeProcess(write(tmp_path, source), 0, SHORT)
    judge.judge(["p"] * 50, ["x"] * 50)
    verdicts = judge.judge(["p"] * 10, [text for said in RETURNED for text in (said, "x")])
    assert verdicts[1::2] == [Verdict(1.0, True)] * 5
    for said, verdict in zip(RETURNED.values(), verdicts[::2], strict=True):
        failure = f"{judge.path}: the score was {said} on the prompt 'p': return a finite number"
        assert verdict == Verdict(-7.0, False, failure)
    assert judge.restarts == 0
    judge.close()


def test_a_mistake_in_every_answer_ends_the_run_and_no_limit_is_blamed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        PROMPTS + "def score(prompt, completion):\n    return 1 if completion else 1 / 0\n",
    )
    judge = JudgeProcess(path, 0, SHORT)
    judge.judge(["p"] * 200, ["x"] * 200)
    with pytest.raises(UserError) as told:
        judge.judge(["p"] * 8, [""] * 8)
    assert str(told.value) == (
        f"{path} line 4: score() raised ZeroDivisionError: division by zero on the prompt 'p'; so "
        "ended all 8 answers of a batch: mend it."
    )
    judge.close()


def test_gigabytes_of_output_are_read_and_not_shown(tmp_path: Path) -> None:
    source = PROMPTS + (
        "def score(prompt, completion):\n    print('mark', 'x' * 3_000_000)\n    return 1\n"
    )
    code = (
        "import sys; from pathlib import Path; from fledge.tasks.judge_process import "
        "JudgeProcess, Limits\njudge = JudgeProcess(Path(sys.argv[1]), 0, Limits())\n"
        "print(len(judge.judge(['a'] * 9, ['x'] * 9)))\n"
    )
    words = [sys.executable, "-c", code, str(write(tmp_path, source))]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout == "9\n"
    assert ran.stderr.startswith("mark xxx")
    assert ran.stderr.endswith(
        "(a task file has printed 1,000,000 bytes; more of it is not shown)\n"
    )
    assert len(ran.stderr) < 1_000_200


def test_what_it_does_to_its_own_process_stays_there(tmp_path: Path) -> None:
    source = f"""
import os, random, sys
def prompts():
    return ['a']
def score(prompt, completion):
    print('from the judge')
    os.system('echo from a program')
    os.chdir('/')
    os.fork()
    random.seed(5)
    with open({str(tmp_path / "calls")!r}, 'a') as file:
        file.write('.')
    return float('torch' in sys.modules) + 2 * float('numpy' in sys.modules)
"""
    code = (
        "import os, sys; from pathlib import Path; from fledge.tasks.judge_process import "
        "JudgeProcess, Limits\njudge = JudgeProcess(Path(sys.argv[1]), 0, "
        "Limits())\nprint(judge.judge(['a'] * 3, ['x', 'y', 'z']), os.getcwd())\n"
    )
    words = [sys.executable, "-c", code, str(write(tmp_path, source))]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    none = Verdict(0.0, False)  # neither is imported for a file that does not want it
    assert ran.stdout == f"{[none] * 3} {tmp_path}\n"
    assert ran.stderr.count("from the judge") >= 3
    assert ran.stderr.count("from a program") == 3
    # Each call is made once. The copy that it forks writes its own mark, and then ends: the next
    # call is made by one process.
    assert 3 <= len((tmp_path / "calls").read_text()) <= 6


def test_a_trainer_without_an_output_has_a_judge_too(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        PROMPTS
        + "def score(prompt, completion):\n    print('aside')\n    return len(completion)\n",
    )
    code = (
        "import os, sys; from pathlib import Path; from fledge.tasks.judge_process import "
        "JudgeProcess, Limits\nos.closerange(0, 3)\njudge = JudgeProcess(Path(sys.argv[1]), 0, "
        "Limits())\nos._exit(40 + int(judge.judge(['a'], ['xyz'])[0].score))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 43


def test_one_that_fails_from_the_first_answer_on_ends_the_run(tmp_path: Path) -> None:
    path = write(tmp_path, PROMPTS + "def score(prompt, completion):\n    while True: pass\n")
    with pytest.raises(UserError) as told:
        JudgeProcess(path, 0, SHORT).judge(["p"] * 64, ["x"] * 64)
    assert str(told.value) == (
        f"{path} line 4: score() took longer than 1 s on the prompt 'p'; mend it, or raise "
        "judge_seconds=1 or judge_memory_gb=1."
    )


def test_one_that_fails_too_often_ends_the_run(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        PROMPTS + "def score(prompt, completion):\n    return 1 if completion else exit(3)\n",
    )
    judge = JudgeProcess(path, 0, SHORT)
    judge.judge(["p"] * 73, ["x"] * 73)
    verdicts = judge.judge(["p"] * 9, ["x"] + [""] * 8)
    assert [verdict.score for verdict in verdicts] == [1.0] + [
        -7.0
    ] * 8  # 8 of 82 are below a tenth
    with pytest.raises(
        UserError, match=r"raised SystemExit: 3 on the prompt 'p'; so ended 9 of 83 answers"
    ):
        judge.judge(["p"], [""])


def test_one_that_fails_on_a_whole_batch_ends_the_run(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        PROMPTS + "def score(prompt, completion):\n    return 1 if completion else exit(3)\n",
    )
    judge = JudgeProcess(path, 0, SHORT)
    judge.judge(["p"] * 200, ["x"] * 200)
    with pytest.raises(UserError, match="so ended all 8 answers of a batch"):
        judge.judge(["p"] * 8, [""] * 8)


def test_a_call_for_all_completions_fails_for_all_of_them(tmp_path: Path) -> None:
    source = PROMPTS + (
        "def scores(prompts, completions):\n    return [1 if c else exit(3) for c in completions]\n"
    )
    judge = JudgeProcess(write(tmp_path, source), 0, SHORT)
    judge.judge(["p"] * 100, ["x"] * 100)
    verdicts = judge.judge(["p"] * 3, ["x", "", "x"])
    assert [verdict.score for verdict in verdicts] == [-7.0] * 3
    assert judge.judge(["p"], ["x"]) == [Verdict(1.0, True)]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("while True: pass\n", "line 1: the file took longer than 1.2 s while the file was loaded"),
        ("import os\nos._exit(0)\n", "line 2: the file called os._exit(0) while it was loaded"),
        (
            "import ctypes\nctypes.string_at(0)\n",
            "line 2: the file ended its process with signal SIGSEGV while",
        ),
        ("raise BaseException\n", "line 1: the file raised BaseException while it was loaded"),
        (
            "def score(p, c): return 0\ndef prompts():\n    exit()\n",
            "line 3: prompts() raised SystemExit: None while",
        ),
    ],
)
def test_a_file_that_does_not_load_is_one_sentence(source: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, source)
    with pytest.raises(UserError) as told:
        JudgeProcess(path, 0, Limits(seconds=0.3))
    assert f"{path} {said}" in str(told.value)
    assert "\n" not in str(told.value)


DRAWS = """
def prompts():
    return ['a']
def score(prompt, completion):
    import random, numpy  # late: what waits for an import has to be seeded by then, and not before
    return random.random() + numpy.random.random()
"""


def test_what_it_draws_depends_on_the_seed_and_goes_on_where_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, DRAWS)
    first, same, other = (JudgeProcess(path, seed, SHORT) for seed in (3, 3, 4))
    drawn = [judge.judge(["a"] * 4, [""] * 4) for judge in (first, same, other)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    later = JudgeProcess(path, 3, SHORT)
    later.load_state_dict(first.state_dict())
    assert later.judge(["a"] * 4, [""] * 4) == first.judge(["a"] * 4, [""] * 4)


def test_the_share_that_may_fail_is_of_the_whole_run_however_often_it_was_continued(
    tmp_path: Path,
) -> None:
    """8 of the first 9 after a restart are few of 209."""
    source = (
        PROMPTS
        + "def score(prompt, completion):\n    return 1 if completion != 'bad' else exit(3)\n"
    )
    first = JudgeProcess(write(tmp_path, source), 0, SHORT)
    first.judge(["a"] * 200, ["good"] * 200)
    later = JudgeProcess(write(tmp_path, source), 0, SHORT)
    later.load_state_dict(first.state_dict())
    assert (later.judged, later.failed) == (200, 0)
    assert [v.failure is None for v in later.judge(["a"] * 9, ["bad"] * 8 + ["good"])] == [
        False
    ] * 8 + [True]
    with pytest.raises(UserError, match="so ended"):
        later.judge(["a"] * 20, ["bad"] * 20)


def test_it_ends_with_its_trainer(tmp_path: Path) -> None:
    source = PROMPTS + "import os\ndef score(prompt, completion):\n    return os.getpid()\n"
    code = (
        "import os, signal, sys; from pathlib import Path; from fledge.tasks.judge_process import "
        "JudgeProcess, Limits\njudge = JudgeProcess(Path(sys.argv[1]), 0, "
        "Limits())\nprint(int(judge.judge(['a'], ['x'])[0].score), "
        "flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(write(tmp_path, source))], capture_output=True, text=True
    )
    assert ran.returncode == -9
    until = time.monotonic() + 60
    while Path(f"/proc/{int(ran.stdout)}").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(f"/proc/{int(ran.stdout)}").exists()
