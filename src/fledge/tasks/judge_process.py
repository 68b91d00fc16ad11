"""A judge of the user's in a process of its own: asked over a socket, limited in time and memory,
and begun anew where it dies.

What the file does to its process (a loop, an exit, a crash, 6 GB, another folder, closed files)
reaches the trainer as one failed answer, with the file and the line. No pickle: a line of JSON each
way.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.seeds import seed_for
from fledge.tasks import judge_child
from fledge.tasks.conversed import Unanswered
from fledge.tasks.examples import Verdict
from fledge.tasks.own_replies import say_when
from fledge.tasks.shown_output import ShownOutput
from fledge.user_code import abbreviate, read_source

BEGINNING_S = 60.0  # for the interpreter to begin: no code of the user's has run by then
LOADING_CALLS = (
    4  # the file is imported and its prompts listed within so many times the limit of a call
)
# between two looks at whether the process lives: one that it forked may hold the socket open
LOOK_S = 0.1
FAULT_S = 0.5  # for a process that hangs to say where
# A run ends when its judge fails on so many answers, if these are more than this share of all.
FEWEST_FAILURES, FAILED_SHARE = 8, 0.1


@dataclass(frozen=True)
class Limits:
    """seconds: of one call of score() or scores(). memory_gb: that the process may take.
    failed_score: of an answer it failed on.

    say: is told, once, of the first answer that the judge failed on.
    """

    seconds: float = 30.0
    memory_gb: float = 4.0
    failed_score: float = 0.0
    say: Callable[[str], Any] = warnings.warn


class Failure(Exception):
    """The judge's process hung or died: the sentence that says where."""


class JudgeProcess:
    """`OwnJudge` of a file, in a process of its own.

    Raises UserError for a file that is no task, hangs or dies while it is loaded; later where its
    first answer fails, and where too many do. `pairs`: each prompt with its answer or None.
    `turns`: 1 where completions are single texts.
    """

    def __init__(self, path: Path, seed: int, limits: Limits) -> None:
        read_source(path)  # said as plainly without a process
        self.path, self.seed, self.limits = path, seed, limits
        self.restarts = self.judged = self.replied = self.failed = 0
        self._mistake, self._failure = False, ""  # the last one, and whether it was a mistake
        self.pairs: list[tuple[str, str | None]] = []
        self._close: Callable[[], object] = lambda: None
        self._begin()

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
        """[B], [B] -> [B]. An answer that the judge fails on has the failed score, and `failure`
        says why.

        Raises UserError where too many failed of all, or each one of these: nothing could be
        learned from them.
        """
        waiting = list(zip(prompts, completions, strict=True))
        if self._shown is not None:
            self._shown.renew()
        verdicts: list[Verdict] = []
        while len(verdicts) < len(waiting):
            rest = waiting[len(verdicts) :]
            try:
                for each in self._ask(rest):
                    verdicts += each
                    self.judged += sum(verdict.failure is None for verdict in each)
            # the process is gone, and what it had not answered is asked again but for one
            except Failure as failure:
                cost = len(rest) if self.whole else 1
                verdicts += self._failed(str(failure), cost)
                self._begin_again()
        self._bear(self.judged)
        if len(verdicts) >= FEWEST_FAILURES and all(verdict.failure for verdict in verdicts):
            raise UserError(
                f"{verdicts[0].failure}; so ended all {len(verdicts)} answers of a batch: mend it"
                f"{self._ease}."
            )
        return verdicts

    def reply(self, prompt: str, said: Sequence[str]) -> str | None:
        """What the file answers to the last of `said`, within the limits of a judgement.

        Raises Unanswered where it fails on it, which costs this conversation; UserError where too
        many failed of all.
        """
        self._send({"reply": [prompt, list(said)]})
        try:
            answer = self._receive(self.limits.seconds, say_when(prompt, said), "reply()")
        except Failure as failure:
            [verdict] = self._failed(str(failure), 1)
            self._begin_again()
            raise Unanswered(verdict) from None
        if "failure" in answer:
            raise Unanswered(self._failed_by(answer, 1)[0])
        self.replied += 1
        return answer["reply"]

    def state_dict(self) -> dict[str, Any]:
        """The generators that the file draws from. What else it keeps, a counter or a cache, begins
        anew with the process.
        """
        state = self._told({"state": True}, "while the state of its generators was asked for")[
            "state"
        ]
        counts = {
            "restarts": self.restarts, "judged": self.judged, "replied": self.replied,
            "failed": self.failed,
        }  # fmt: skip
        return counts | {"generators": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.restarts = state["restarts"]
        # Of all answers a share may fail, not of those since the run was last continued. Older
        # checkpoints have no counts.
        for count in ("judged", "replied", "failed"):
            setattr(self, count, state.get(count, getattr(self, count)))
        self._send({"restore": state["generators"]})

    def close(self) -> None:
        """Ends the process, and what it has forked."""
        self._close()

    def _ask(self, pairs: list[tuple[str, str]]) -> Iterator[list[Verdict]]:
        """The verdicts of each call, as they come. Raises Failure where the process is lost."""
        when = f"on {len(pairs)} prompts, the first of them" if self.whole else "on the prompt"
        self._send({"ask": pairs})
        done = 0
        while done < len(pairs):
            answer = self._receive(self.limits.seconds, f"{when} {abbreviate(pairs[done][0])}")
            if "failure" in answer:
                number = len(pairs) if self.whole else 1
                done += number
                yield self._failed_by(answer, number)
            else:
                done += len(answer["verdicts"])
                yield [Verdict(score, right) for score, right in answer["verdicts"]]

    def _failed_by(self, answer: Mapping[str, Any], number: int) -> list[Verdict]:
        """The verdicts on answers, by what the process says of its failure."""
        if answer["mistake"] and self.judged == 0:
            raise UserError(answer["failure"])
        sentence = answer["failure"].removesuffix("; mend it and run again.").removesuffix(".")
        return self._failed(sentence, number, answer["mistake"])

    def _failed(self, failure: str, number: int, mistake: bool = False) -> list[Verdict]:
        """The verdicts on answers that it failed on. mistake: whether in what it says of one, which
        no limit mends. Raises UserError if there are too many of them.
        """
        self._mistake = mistake
        if self.judged == 0:
            raise UserError(f"{failure}; mend it{self._ease}.")
        if self.failed == 0:
            self.limits.say(
                f"{failure}: the answer gets {self.limits.failed_score:g}, as will others like it; "
                "judge_failed among the figures is their share."
            )
        self.failed, self._failure = self.failed + number, failure
        self._bear(self.judged + self.replied)
        return [Verdict(self.limits.failed_score, False, failure)] * number

    def _bear(self, done: int) -> None:
        """Raises UserError where too many failed of these that were done and those that failed.

        While conversations go on, their replies count as done, since the judgement on them is yet
        to come: what is answered in the end is held against what is judged alone.
        """
        asked = done + self.failed
        if self.failed >= FEWEST_FAILURES and self.failed > FAILED_SHARE * asked:
            raise UserError(
                f"{self._failure}; so ended {self.failed} of {asked} answers: mend it{self._ease}."
            )

    @property
    def _ease(self) -> str:
        if self._mistake:
            return ""
        limits = self.limits
        return (
            f", or raise judge_seconds={limits.seconds:g} or judge_memory_gb={limits.memory_gb:g}"
        )

    def _begin(self) -> None:
        """Starts the process and has the file loaded in it. Raises UserError."""
        shown = ShownOutput() if _is_open(2) else None
        ours, theirs = socket.socketpair()
        faults, write_faults = os.pipe()
        # Where whoever started the trainer has closed its output, one of these may have the number
        # that is printed to.
        numbers = [
            fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
            for number in (theirs.fileno(), write_faults)
        ]
        sizes = [int(self.limits.memory_gb * 1e9), self.limits.seconds]
        try:
            self.process = subprocess.Popen(
                # -P: no folder of fledge's or the user's may hide a module of Python's
                [sys.executable, "-P", judge_child.__file__, *map(str, [*numbers, *sizes])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # until the process makes it its standard error
                stderr=subprocess.DEVNULL if shown is None else shown.write,
                pass_fds=numbers,
                # Ctrl-C is the trainer's to answer, and one signal ends all that it forks
                start_new_session=True,
            )
        finally:
            theirs.close()
            for number in (write_faults, *numbers, *([] if shown is None else [shown.write])):
                os.close(number)
        os.set_blocking(faults, False)
        self._socket, self._faults, self._buffer, self._shown = ours, faults, b"", shown
        self._close = weakref.finalize(self, _end, self.process, ours, faults, shown)
        try:
            seed = seed_for(self.seed, "judge", f"{self.path.name} {self.restarts}")
            self._send({"file": str(self.path), "seed": seed, "path": sys.path})
            self._receive(BEGINNING_S, "as it began", "the interpreter")
            limit = LOADING_CALLS * self.limits.seconds
            answer = self._receive(limit, "while the file was loaded", "the file")
        except Failure as failure:
            self.close()
            raise UserError(f"{failure}; mend it{self._ease}.") from None
        if "failure" in answer:
            self.close()
            raise UserError(answer["failure"])
        self.pairs = [(prompt, answer) for prompt, answer in answer["pairs"]]
        self.whole: bool = answer["whole"]
        self.turns: int = answer["turns"]

    def _begin_again(self) -> None:
        """Another seed for every process: one that failed by what it drew would fail again."""
        self.close()
        self.restarts += 1
        self._begin()

    def _told(self, request: dict[str, Any], when: str) -> dict[str, Any]:
        """An answer that the user's code has no part in; a process that died meanwhile is begun
        anew.
        """
        try:
            self._send(request)
            return self._receive(self.limits.seconds, when)
        except Failure:
            self._begin_again()
            self._send(request)
            return self._receive(self.limits.seconds, when)

    def _send(self, request: dict[str, Any]) -> None:
        """A process that is gone, or does not read, is noticed when its answer is waited for."""
        self._socket.settimeout(self.limits.seconds)
        with suppress(OSError):
            self._socket.sendall((json.dumps(request) + "\n").encode())

    def _receive(self, seconds: float, when: str, who: str = "") -> dict[str, Any]:
        """The next line. Raises Failure for a process that hangs or dies."""
        until = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            # before the look at the socket: it may have answered and died
            dead = self.process.poll() is not None
            if select.select(
                [self._socket],
                [],
                [],
                0 if dead else max(0.0, min(LOOK_S, until - time.monotonic())),
            )[0]:
                data = self._read()
                if data:
                    self._buffer += data
                    continue
                dead = True
            if dead:
                raise Failure(self._how_it_ended(who, when))
            if time.monotonic() >= until:
                raise Failure(self._where_it_hangs(who, when, seconds))
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _read(self) -> bytes:
        try:
            return self._socket.recv(1 << 20)
        except OSError:
            return b""

    def _how_it_ended(self, who: str, when: str) -> str:
        try:
            code = self.process.wait(FAULT_S)
            end = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
            how = f"ended its process with {end}"
        except subprocess.TimeoutExpired:
            how = "closed the socket to fledge"
        place = self._place()
        _kill_group(self.process)
        return f"{place}: {who or self._function} {how} {when}"

    def _where_it_hangs(self, who: str, when: str, seconds: float) -> str:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGUSR1)
        select.select([self._faults], [], [], FAULT_S)
        time.sleep(0.01)  # the first line has come, and the others follow at once
        place = self._place()
        _kill_group(self.process)
        return f"{place}: {who or self._function} took longer than {seconds:g} s {when}"

    @property
    def _function(self) -> str:
        return "scores()" if self.whole else "score()"

    def _place(self) -> str:
        """The file, and the line that the process was in, as far as it has said."""
        try:
            said = os.read(self._faults, 1 << 16).decode("ascii", errors="replace")
        except OSError:
            said = ""
        # As faulthandler spells it: ASCII, and 500 characters at most.
        name = str(self.path).encode("ascii", "backslashreplace").decode()[:500]
        line = re.search(rf'File "{re.escape(name)}[^"]*", line (\d+)', said)
        return f"{self.path} line {line[1]}" if line else str(self.path)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """The process leads a session of its own: what it has forked goes with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end(
    process: subprocess.Popen[bytes], channel: socket.socket, faults: int, shown: ShownOutput | None
) -> None:
    channel.close()
    os.close(faults)
    _kill_group(process)
    if shown is not None:
        shown.close()
