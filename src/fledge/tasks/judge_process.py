"""A judge of the user's in a process of its own, begun anew where it dies: what it fails on costs
one answer, and a run goes on unless too many do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.seeds import seed_for
from fledge.tasks.conversed import Unanswered
from fledge.tasks.examples import Verdict
from fledge.tasks.own_process import Failure, Limits, OwnProcess
from fledge.tasks.own_replies import say_when
from fledge.user_code import abbreviate, read_source

# A run ends when its judge fails on so many answers, if these are more than this share of all.
FEWEST_FAILURES, FAILED_SHARE = 8, 0.1


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
        self._process = OwnProcess(path, limits)
        self._begin()

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
        """[B], [B] -> [B]. An answer that the judge fails on has the failed score, and `failure`
        says why.

        Raises UserError where too many failed of all, or each one of these: nothing could be
        learned from them.
        """
        waiting = list(zip(prompts, completions, strict=True))
        self._process.renew_output()
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
        self._process.send({"reply": [prompt, list(said)]})
        try:
            answer = self._process.receive(self.limits.seconds, say_when(prompt, said), "reply()")
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
        self._process.send({"restore": state["generators"]})

    def close(self) -> None:
        """Ends the process, and what it has forked."""
        self._process.close()

    def _ask(self, pairs: list[tuple[str, str]]) -> Iterator[list[Verdict]]:
        """The verdicts of each call, as they come. Raises Failure where the process is lost."""
        when = f"on {len(pairs)} prompts, the first of them" if self.whole else "on the prompt"
        self._process.send({"ask": pairs})
        done = 0
        while done < len(pairs):
            answer = self._process.receive(
                self.limits.seconds, f"{when} {abbreviate(pairs[done][0])}", self._function
            )
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
        seed = seed_for(self.seed, "judge", f"{self.path.name} {self.restarts}")
        try:
            answer = self._process.begin(seed)
        except Failure as failure:
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
            self._process.send(request)
            return self._process.receive(self.limits.seconds, when, self._function)
        except Failure:
            self._begin_again()
            self._process.send(request)
            return self._process.receive(self.limits.seconds, when, self._function)

    @property
    def _function(self) -> str:
        return "scores()" if self.whole else "score()"
