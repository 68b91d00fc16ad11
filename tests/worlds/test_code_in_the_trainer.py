"""Code of a user's in the trainer's own process: a raise of any kind, os._exit and a fork end in a
sentence, or nowhere else.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.user_code import LeftTheProcess, abbreviate, call, load_module

RAISED = {
    "raise ValueError('no')": "raised ValueError: no",
    "raise BaseException('odd')": "raised BaseException: odd",
    "raise GeneratorExit": "raised GeneratorExit",
    "raise StopIteration": "raised StopIteration",
    "raise KeyboardInterrupt": "raised KeyboardInterrupt",
    "raise SystemExit(0)": "raised SystemExit: 0",
    "import os; os._exit(0)": "called os._exit(0)",
    "raise type('Bad', (BaseException,), {'__str__': lambda self: 1 / 0})": "raised Bad",
    "f = lambda: f(); f()": "raised RecursionError: maximum recursion depth exceeded",
}


@pytest.mark.parametrize("what", RAISED)
def test_what_it_does_to_end_the_process_is_a_sentence_with_its_line(
    what: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"def act():\n    global f\n    {what}\n")
    module = load_module(path)
    with pytest.raises(UserError) as told:
        call(path, "act()", module.act, "in a test")
    assert (
        str(told.value) == f"{path} line 3: act() {RAISED[what]} in a test; mend it and run again."
    )


def test_a_mistake_that_is_told_in_our_own_words_stays_as_it_was() -> None:
    def act() -> None:
        raise UserError("the loss is inf: try a lower learning rate.")

    with pytest.raises(UserError, match=r"^the loss is inf: try a lower learning rate\.$"):
        call(Path("mine.py"), "act()", act, "in a test")


def test_ctrl_c_stays_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt):
        call(
            Path("mine.py"),
            "act()",
            lambda: os.kill(os.getpid(), signal.SIGINT) or list(range(10**6)),
            "in a test",
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_folder_is_what_it_was(tmp_path: Path) -> None:
    before = os.getcwd()
    call(Path("mine.py"), "act()", lambda: os.chdir(tmp_path), "in a test")
    assert os.getcwd() == before


@pytest.mark.parametrize("then", ["None", "1 / 0", "exit(3)"])
def test_a_copy_of_the_process_that_comes_back_ends_there(then: str, tmp_path: Path) -> None:
    code = (
        "import atexit, os; from pathlib import Path; from fledge.user_code import call\n"
        "atexit.register(lambda: print('end of', os.getpid(), flush=True))\n"
        "def act():\n"
        "    pid = os.fork()\n"
        f"    return pid or ({then})\n"
        "pid = call(Path('mine.py'), 'act()', act, 'in a test')\n"
        "print('back in', os.getpid(), os.waitpid(pid, 0)[1], flush=True)\n"
    )
    ran = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert ran.communicate()[0] == f"back in {ran.pid} 0\nend of {ran.pid}\n"


def test_programs_and_processes_that_it_starts_work_as_ever(tmp_path: Path) -> None:
    def act() -> tuple[int, int]:
        pid = os.fork()
        if pid == 0:
            os._exit(7)  # in a copy it is what it always was
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), subprocess.run(
            ["true"], check=False
        ).returncode

    assert call(Path("mine.py"), "act()", act, "in a test") == (7, 0)


def test_inside_only_is_leaving_the_process_a_raise() -> None:
    with pytest.raises(UserError) as told:
        call(Path("mine.py"), "act()", lambda: os._exit(5), "in a test")
    assert isinstance(told.value.__cause__, LeftTheProcess)
    pid = os.fork()
    if pid == 0:
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_a_value_that_cannot_be_written_is_named_by_its_type() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise BaseException

    assert abbreviate(Silent()) == "<Silent>"
    assert abbreviate("a" * random.Random(0).randint(100, 200)) == "'" + "a" * 56 + "…"
