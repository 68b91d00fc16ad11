"""The process in which programs that a model wrote run: it forks a copy of itself for each, which
gives up what it might do harm with, and answers how each ended.

It is run as a file, `python -I child.py`, with an empty environment. A line of JSON each way: first
{"path", "folder", "seconds", "memory_mb", "output_bytes"}, answered by {"kernel"}; then {"source",
"stdin"}, answered by the fields of an `Outcome`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from typing import Any

PIECE = 65_536
SUBREAPER, DEATH_SIGNAL = 36, 1  # of prctl
ENDS = ("whole", "raised", "exited", "memory")  # that a program's own process can tell of
# what a program may read, apart from Python's own folders
READ = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom")


class Files:
    """What keeps a program inside, made known by whoever began this process."""

    close_files: Any
    close_calls: Any
    close_python: Any


def main() -> None:
    own, requests = [*sys.path], sys.stdin
    opening = json.loads(requests.readline())
    sys.path[:0] = opening["path"]
    from fledge.programs.landlock import close_files, find_landlock
    from fledge.programs.python_calls import close_python
    from fledge.programs.system_calls import close_calls, knows_processor

    Files.close_files, Files.close_calls, Files.close_python = (
        close_files,
        close_calls,
        close_python,
    )
    sys.path[:] = own  # a program finds the interpreter's own modules
    with suppress(OSError, AttributeError):  # what a program leaves behind is this process's to end
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    gc.freeze()
    say({"kernel": bool(find_landlock()) and knows_processor()})
    for line in requests:
        asked = json.loads(line)
        say(run(asked["source"], asked["stdin"], opening))


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def run(source: str, stdin: str, limits: dict[str, Any]) -> dict[str, Any]:
    """One program, in a folder of its own that is removed with what it holds."""
    folder = tempfile.mkdtemp(dir=limits["folder"])
    # A program that says how it ended does not know it, unless it looks through Python's frames.
    mark = os.urandom(16).hex()
    read_out, write_out = os.pipe()
    read_end, write_end = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            become(folder, stdin, write_out, limits)
            answer = execute(source)
        except BaseException as error:
            answer = {"ended": "raised", "error": name_error(error)}
        with suppress(BaseException):
            os.write(write_end, (mark + json.dumps(answer)[:4000]).encode())
        os._exit(0)
    os.close(write_out)
    os.close(write_end)
    try:
        ended, output, status = watch(child, read_out, began, limits)
        said = read_end_of(read_end, mark)
    finally:
        os.close(read_out)
        os.close(read_end)
        end_others()
        shutil.rmtree(folder, ignore_errors=True)
    text = output.decode(errors="replace")
    told = {"output": text, "error": "", "seconds": time.monotonic() - began}
    if ended is not None:
        says = {
            "time": f"ran longer than {limits['seconds']:g} s",
            "output": f"printed more than {limits['output_bytes']:,} bytes",
        }
        return told | {"ended": ended, "error": says[ended]}
    if said is not None:
        return told | said
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return told | {"ended": "time", "error": f"ran longer than {limits['seconds']:g} s"}
        if number == signal.SIGXFSZ:
            return told | {"ended": "output", "error": "wrote a file beyond the limit"}
        return told | {"ended": "signal", "error": f"ended by {signal.Signals(number).name}"}
    return told | {"ended": "exited", "error": f"ended with code {os.WEXITSTATUS(status)}"}


def become(folder: str, stdin: str, out: int, limits: dict[str, Any]) -> None:
    """In the copy: what the program will be, before a line of it runs."""
    os.setpgid(0, 0)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    os.chdir(folder)
    given = os.open("stdin", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(given, stdin.encode(errors="replace"))
    os.lseek(given, 0, os.SEEK_SET)
    os.unlink("stdin")
    os.dup2(given, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(HOME=folder, TMPDIR=folder, LANG="C.UTF-8", OMP_NUM_THREADS="1")
    tempfile.tempdir = None
    seconds, memory = int(limits["seconds"]) + 1, int(limits["memory_mb"] * 1e6)
    for limit, value in (
        (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, limits["output_bytes"]), (resource.RLIMIT_NOFILE, 64),
    ):  # fmt: skip
        # At the hard limit of time comes SIGKILL, which has many causes; before it SIGXCPU.
        hard = value + 1 if limit == resource.RLIMIT_CPU else value
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, hard))
    read = [*READ, *{sys.prefix, sys.base_prefix, sys.exec_prefix}]
    files = Files.close_files(read, (folder, "/dev/null"))
    calls = Files.close_calls()
    if not (files and calls):
        Files.close_python(read, folder)


def execute(source: str) -> dict[str, str]:
    """Runs it as a script is run."""
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        exec(compile(source, "program.py", "exec", dont_inherit=True), space)
        sys.stdout.flush()
        sys.stderr.flush()
        return {"ended": "whole", "error": ""}
    except SystemExit as error:
        with suppress(BaseException):
            sys.stdout.flush()
        return {"ended": "exited", "error": f"ended by exit({error.code})"[:300]}
    except MemoryError:
        space.clear()
        return {"ended": "memory", "error": "took more memory than the limit"}
    except BaseException as error:
        with suppress(BaseException):
            own = error.__traceback__ and error.__traceback__.tb_next  # from its own first line on
            sys.stdout.flush()
            sys.stderr.write("".join(traceback.format_exception(type(error), error, own))[-4000:])
            sys.stderr.flush()
        return {"ended": "raised", "error": name_error(error)}


def name_error(error: BaseException) -> str:
    try:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    except BaseException:  # its __str__ is the program's
        return type(error).__name__


def watch(
    child: int, out: int, began: float, limits: dict[str, Any]
) -> tuple[str | None, bytes, int]:
    """Reads what it prints until it ends, or is ended: which limit, the output, the status."""
    output, until, most = bytearray(), began + limits["seconds"], limits["output_bytes"]
    ended = None
    while ended is None:
        ready, _, _ = select.select([out], [], [], max(0.0, min(0.05, until - time.monotonic())))
        piece = os.read(out, PIECE) if ready else b""
        output += piece
        if len(output) > most:
            ended = "output"
        elif time.monotonic() > until:
            ended = "time"
        elif not piece:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:  # between the two looks it may have printed its last
                while len(output) <= most and select.select([out], [], [], 0)[0]:
                    piece = os.read(out, PIECE)
                    output += piece
                    if not piece:
                        break
                ended = "output" if len(output) > most else None
                return ended, bytes(output[:most]), status
            if ready:  # it has closed its output, and goes on
                time.sleep(0.001)
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return ended, bytes(output[:most]), status


def read_end_of(pipe: int, mark: str) -> dict[str, str] | None:
    """What the program's process said of its end; None where it did not come to say it."""
    ready, _, _ = select.select([pipe], [], [], 0)
    said = os.read(pipe, 8192).decode(errors="replace") if ready else ""
    place = said.rfind(mark)
    if place < 0:
        return None
    told = said[place + len(mark) :]
    with suppress(ValueError, RecursionError):
        answer = json.loads(told)
        if is_end(answer):
            return answer
    return {"ended": "raised", "error": told[:300]}


def is_end(answer: Any) -> bool:
    """The program may have written it: nothing else reaches who asked."""
    if not isinstance(answer, dict) or answer.keys() != {"ended", "error"}:
        return False
    return answer["ended"] in ENDS and isinstance(answer["error"], str)


def end_others() -> None:
    """Whatever a program has begun and left, where the kernel lets it begin processes."""
    while True:
        left: list[int] = []
        with suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:
            left = [int(word) for word in file.read().split()]
        for process in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if not left:
            return
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


if __name__ == "__main__":
    main()
