"""Programs that a model wrote: whatever one does ends itself alone, and its neighbours' answers are
what they would have been without it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fledge.programs.landlock import find_landlock
from fledge.programs.limits import Outcome, Program, ProgramLimits
from fledge.programs.pool import ProgramPool

SECRET = "FLEDGE_TEST_SECRET"
LINUX = pytest.mark.skipif(
    sys.platform != "linux" or not find_landlock(), reason="the kernel has no Landlock"
)

# What it does, how it ends, and a word of the error. Each would harm a process that ran it itself.
ATTACKS = {
    "hangs": ("while True: pass", "time", "longer than"),
    "sleeps": ("import time\ntime.sleep(60)", "time", "longer than"),
    "hangs in C": ("sum(range(10 ** 12))", "time", "longer than"),
    "catches all": ("while True:\n  try:\n    while True: pass\n  except BaseException: pass",
                    "time", "longer than"),
    "closes its output and hangs": (
        "import os\nos.close(1)\nos.close(2)\nwhile True: pass", "time", "longer than"),
    "exits": ("exit(0)", "exited", "exit(0)"),
    "exits from C": ("import os\nos._exit(0)", "exited", "code 0"),
    "says that it ended well": (
        "import os\nfor i in range(3, 60):\n  try: os.write(i, b'{\"ended\": \"whole\"}')\n"
        "  except OSError: pass\nos._exit(0)", "exited", "code 0"),
    "says what is no end, with the mark of its parent": (
        "import os, sys\nf = sys._getframe()\nwhile 'mark' not in f.f_locals: f = f.f_back\n"
        "os.write(f.f_locals['write_end'], (f.f_locals['mark'] + '{\"x\": 1}').encode())\n"
        "os._exit(0)", "raised", '{"x": 1}'),
    "crashes": ("import ctypes\nctypes.string_at(0)", "signal", "SIGSEGV"),
    "raises": ("1 / 0", "raised", "ZeroDivisionError: division by zero"),
    "raises what is no exception": ("raise BaseException('x')", "raised", "BaseException: x"),
    "raises what cannot be shown": (
        "class A(Exception):\n  def __str__(self): raise A\nraise A", "raised", "A"),
    "recurses": ("def f(): f()\nf()", "raised", "RecursionError"),
    "is no Python": ("def (", "raised", "SyntaxError"),
    "allocates": ("x = bytearray(10 ** 10)", "memory", "memory"),
    "allocates bit by bit": ("x = []\nwhile True: x.append(bytearray(10 ** 7))",
                             "memory", "memory"),
    "prints gigabytes": ("while True: print('a' * 1000)", "output", "more than"),
    "writes gigabytes": ("open('big', 'wb').write(b'a' * 10 ** 8)", "raised", "File too large"),
}  # fmt: skip
# What the kernel forbids: a program sees an error, and does not get what it wants.
FORBIDDEN = {
    "forks": "import os\nos.fork()",
    "begins a program": "import subprocess\nsubprocess.run(['ls'])",
    "asks a shell": "import os\nassert os.system('true') == 0",
    "begins processes": "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "opens a socket": "import socket\nsocket.create_connection(('127.0.0.1', 9))",
    "reads a file": "open('/etc/passwd').read()",
    "reads by C": (
        "import ctypes\nc = ctypes.CDLL(None)\nassert c.open(b'/etc/passwd', 0) >= 0"),
    "lists a folder": "import os\nos.listdir('/')",
    "writes outside": "open('/tmp/fledge-was-here', 'w')",
    "cuts a file short": "import os\nos.truncate('/tmp/fledge-was-here', 0)",
    "signals the owner of a pipe": (
        "import fcntl, os\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())"),
    "signals the owner of a socket": (
        "import fcntl, os, socket, struct\none, other = socket.socketpair()\n"
        "fcntl.ioctl(one, 0x8901, struct.pack('i', os.getppid()))"),
    "changes modes": "import os\nos.chmod('/tmp', 0o777)",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)",
    "kills everybody": "import os\nos.kill(-1, 9)",
    "kills by C": "import ctypes, os\nassert ctypes.CDLL(None).kill(os.getppid(), 9) == 0",
    "reads its parent's environment": "import os\nopen(f'/proc/{os.getppid()}/environ').read()",
    "leaves its group": "import os\nos.setsid()",
    "makes itself a device": (
        "import os, stat\nos.mknod('zero', stat.S_IFCHR | 0o600, os.makedev(1, 5))\n"
        "open('zero', 'rb').read(1)"),
    "raises its limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))",
}  # fmt: skip


# Long enough for a busy machine, where nothing hangs; and for what does.
LONG, SHORT = 30.0, 1.0
LIMITS = {"memory_mb": 256, "output_bytes": 4096}


@pytest.fixture(scope="module")
def pool() -> Iterator[ProgramPool]:
    os.environ[SECRET] = "hidden"
    with ProgramPool(ProgramLimits(seconds=LONG, **LIMITS), workers=4) as made:
        yield made
    del os.environ[SECRET]


@pytest.fixture(scope="module")
def outcomes(pool: ProgramPool) -> dict[str, Outcome]:
    """Of all attacks, in one go: what hangs under a short limit, the others under a long one and
    with a good program after each.
    """
    hang = [name for name, (_, ended, _) in ATTACKS.items() if ended == "time"]
    with ProgramPool(ProgramLimits(seconds=SHORT, **LIMITS), workers=4) as short:
        hung = short.run([Program(ATTACKS[name][0]) for name in hang])
        assert short.restarts == 0
    sources = {name: attack[0] for name, attack in ATTACKS.items() if name not in hang} | FORBIDDEN
    programs = [
        program
        for i, source in enumerate(sources.values())
        for program in (Program(source), Program(f"print({i})"))
    ]
    ended = pool.run(programs)
    for i, after in enumerate(ended[1::2]):
        assert (after.ended, after.output) == ("whole", f"{i}\n"), [*sources][i]
    assert pool.restarts == 0
    return dict(zip(hang, hung, strict=True)) | dict(zip(sources, ended[::2], strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_what_a_program_does_costs_its_own_answer(name: str, outcomes: dict[str, Outcome]) -> None:
    _, ended, error = ATTACKS[name]
    outcome = outcomes[name]
    assert (outcome.ended, error in outcome.error) == (ended, True), outcome
    assert len(outcome.output) <= 4096


@LINUX
@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_a_program_may_not_do_it_cannot(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    assert outcome.ended == "raised", outcome
    kinds = ("PermissionError", "AssertionError", "ValueError: not allowed to raise")
    assert outcome.error.startswith(kinds), outcome
    assert not Path("/tmp/fledge-was-here").exists()


def test_a_program_reads_prints_writes_in_its_own_folder_and_has_threads(
    pool: ProgramPool,
) -> None:
    source = """
import fcntl, math, os, sys, threading
assert "FLEDGE_TEST_SECRET" not in os.environ
assert os.listdir(".") == []
with open("own", "w") as file:
    file.write(input())
with open("own", "r+") as file:
    file.read()
    file.truncate()
    assert fcntl.fcntl(file, fcntl.F_GETFL)
print(open("own").read(), math.gcd(12, 18))
thread = threading.Thread(target=lambda: print("thread", file=sys.stderr))
thread.start()
thread.join()
"""
    first, second = pool.run([Program(source, "a line\n"), Program(source, "another\n")])
    assert (first.ended, first.output) == ("whole", "a line 6\nthread\n"), first
    assert second.output == "another 6\nthread\n"  # the first one's file is gone


def test_what_it_raised_is_told_from_its_own_first_line_on(pool: ProgramPool) -> None:
    [outcome] = pool.run([Program("print('before')\nx = 1\nx / 0\n")])
    assert outcome.output == (
        "before\nTraceback (most recent call last):\n"
        '  File "program.py", line 3, in <module>\nZeroDivisionError: division by zero\n'
    )


def test_a_program_that_ends_by_itself_is_told_from_its_tests_passing(pool: ProgramPool) -> None:
    tests = "\ndef check(f):\n    assert f(2) == 4\ncheck(double)\n"
    right = "def double(x):\n    return 2 * x\n"
    wrong = "def double(x):\n    return x\n"
    leaves = "def double(x):\n    import os; os._exit(0)\n"
    ended = pool.run([Program(code + tests) for code in (right, wrong, leaves)])
    assert [one.whole for one in ended] == [True, False, False]


def test_a_process_that_is_lost_costs_one_answer_and_is_begun_anew() -> None:
    with ProgramPool(ProgramLimits(seconds=30.0), workers=1) as pool:
        assert pool.run([Program("print(1)")])[0].whole
        pool._workers[0].process.kill()  # as a system without memory does
        ended = pool.run([Program("print(2)"), Program("print(3)")])
        assert [one.ended for one in ended] == ["lost", "whole"]
        assert pool.restarts == 1
        folder = pool._folder
    assert not Path(folder).exists()


def test_what_is_broken_off_leaves_no_answer_to_what_comes_next() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ProgramPool(ProgramLimits(seconds=30.0), workers=1) as pool:
            pool.run([Program("print(0)")])
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                pool.run([Program("import time\ntime.sleep(1)\nprint(1)"), Program("print(2)")])
            assert [one.output for one in pool.run([Program("print(3)")])] == ["3\n"]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_limits_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="seconds=0 was given"):
        ProgramLimits(seconds=0)
