"""A process that imports fledge once and forks a child for each command line: real processes
without the wait for torch.

Reads one JSON request a line on standard input and answers each with one JSON line, when its child
has ended.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import sys
import time
from typing import Any

from fledge.cli.main import main
from fledge.cli.verbs import VERBS

PATIENCE_S = 400.0  # a child that takes longer hangs; the slowest takes a minute on a quiet machine


def serve() -> None:
    """Returns in a child, with its standard streams and sys.argv set; in the server never before
    its input ends.
    """
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(request)
            return
        answers.write(json.dumps(watch(pid, request)) + "\n")
        answers.flush()
    sys.exit(0)


def become(request: dict[str, Any]) -> None:
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        file = os.open(
            request[name],
            os.O_RDWR if name == "stdin" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
            0o644,
        )
        os.dup2(file, descriptor)
        os.close(file)
    # It is to stay open; what the server's own has read ahead is not the child's.
    sys.stdin = open(0)  # noqa: SIM115
    sys.argv = ["fledge", *request["words"]]


def is_filled(path: str) -> bool:
    """Is there such a file, with something in it, or such a folder?"""
    return os.path.exists(path) and os.path.getsize(path) > 0


def watch(pid: int, request: dict[str, Any]) -> dict[str, Any]:
    """Wait for the child. With `signal`, send it `after_s` seconds from the fork, or from when
    `once` is a file with something in it.
    """
    began = time.monotonic()
    number, since = request["signal"], None
    waited, last = 0.0, began
    while True:
        now = time.monotonic()
        # if the machine or this process was asleep, that does not mean the child hangs
        waited += min(now - last, 0.1)
        last = now
        if since is None and (request["once"] is None or is_filled(request["once"])):
            since = began if request["once"] is None else now
        if number and since is not None and now - since >= request["after_s"]:
            os.kill(pid, number)
            number = 0
        if waited > PATIENCE_S:
            os.kill(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return {"code": os.waitstatus_to_exitcode(status), "seconds": now - began}
        time.sleep(0.0005)


def run() -> None:
    """The command, and an end without taking the interpreter apart, which would cost half a second
    in every child.
    """
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    # torch imports the second at the first optimizer step, which takes longer than the tests' whole
    # runs
    for module in (*sorted({verb.module for verb in VERBS.values()}), "torch._dynamo"):
        importlib.import_module(module)
    gc.freeze()  # a child that collects garbage would copy every page that holds an object
    serve()
    run()
