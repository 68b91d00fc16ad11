"""The process in which a judge of the user's runs: reads requests from its trainer, a JSON line
each, and answers in JSON lines.

It is run as a file, `python -P judge_child.py CHANNEL FAULTS MEMORY_BYTES SECONDS`: CHANNEL is a
socket, FAULTS a pipe to which faulthandler writes where the code was when it hung or crashed.
Requests: first {"file", "seed", "path"}; then {"ask": [[prompt, completion], …]}, answered by a
line for each call of the file's function; {"reply": [prompt, [said, …]]}; {"state": true};
{"restore": state}. Imports nothing heavy: torch comes only with the user's file.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# beyond the limit: the trainer ends a call that takes too long, this process only if the trainer is
# gone
PATIENCE_S = 5.0


def main() -> None:
    channel, faults, memory, seconds = (
        int(sys.argv[1]),
        int(sys.argv[2]),
        int(sys.argv[3]),
        float(sys.argv[4]),
    )
    os.dup2(2, 1)  # what the file prints, from C too, is for the person who looks on
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    faulthandler.enable(faults)
    # the trainer asks where the code hangs
    faulthandler.register(signal.SIGUSR1, faults, all_threads=True)
    faulthandler.register(signal.SIGTERM, faults, all_threads=False, chain=True)
    for limit, value in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(
            limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard)
        )
    # The file may close what is not its own, or leave no memory: the trainer sees this process end,
    # and says so.
    with suppress(OSError, MemoryError):
        serve(socket.socket(fileno=channel), seconds)


def serve(channel: socket.socket, seconds: float) -> None:
    lines = channel.makefile("r", encoding="utf-8")
    opening = json.loads(lines.readline())
    sys.path[:] = opening["path"]  # what the trainer can import, the file can
    from fledge.errors import UserError
    from fledge.generators import follow_imports, generator_state, restore_generators
    from fledge.tasks.own_judge import OwnJudge

    def say(**answer: Any) -> None:
        channel.sendall((json.dumps(answer) + "\n").encode())

    def trouble(error: UserError) -> dict[str, Any]:
        """mistake: whether it is one that raising a limit does not mend."""
        cause = error.__cause__
        mistake = cause is None or (
            isinstance(cause, Exception) and not isinstance(cause, MemoryError)
        )
        return {"failure": str(error), "mistake": mistake}

    def answer(work: Callable[[], dict[str, Any]]) -> None:
        """What a call of the file's comes to. So that one which never ends does not outlive the
        trainer, there is an alarm; a file with an alarm of its own loses only this.
        """
        signal.setitimer(signal.ITIMER_REAL, seconds + PATIENCE_S)
        try:
            done = work()
        except UserError as error:
            done = trouble(error)
        say(**done)
        signal.setitimer(signal.ITIMER_REAL, 0)

    follow_imports()
    say(ready=True)
    try:
        judge = OwnJudge(Path(opening["file"]), opening["seed"])
    except UserError as error:
        say(**trouble(error))
        return
    say(pairs=judge.pairs, whole=judge.whole, turns=judge.turns)
    for line in lines:
        request = json.loads(line)
        if "state" in request:
            say(state=generator_state())
        elif "restore" in request:
            restore_generators(request["restore"])
        elif "reply" in request:
            answer(lambda request=request: {"reply": judge.reply(*request["reply"])})
        else:
            for pairs in calls(request["ask"], judge.whole):
                answer(lambda pairs=pairs: {"verdicts": list_verdicts(judge.judge(*pairs))})


def calls(pairs: list[list[str]], whole: bool) -> Iterator[tuple[list[str], list[str]]]:
    """The prompts and the completions of each call."""
    size = len(pairs) if whole else 1
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        yield [prompt for prompt, _ in part], [completion for _, completion in part]


def list_verdicts(verdicts: Sequence[Any]) -> list[tuple[float, bool]]:
    """As JSON has them."""
    return [(verdict.score, verdict.right) for verdict in verdicts]


if __name__ == "__main__":
    main()
