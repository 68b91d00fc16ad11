"""What a run said before and after: some prompts at the first and the last step they were
sampled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fledge.report.figures import format_value
from fledge.runs.landmarks import LogRow

_SHOWN = 12
_PROMPTS = 1000  # of which those to show are chosen


@dataclass(frozen=True)
class Answer:
    """One completion; `right` None where nobody judged it."""

    step: int
    text: str
    right: bool | None
    score: str | None


@dataclass(frozen=True)
class Comparison:
    """A prompt with its completions at the first and the last sampled step (`after` None where it
    was sampled once).
    """

    prompt: str
    answer: str | None
    before: Answer
    after: Answer | None


@dataclass
class _Sampled:
    """What was said to one prompt at one step, no more of it than a page shows."""

    step: int | None = None
    rows: list[LogRow] = field(default_factory=list)

    def add(self, row: LogRow, step: int, *, moves: bool) -> None:
        """moves: to this step, in place of the one before."""
        if moves:
            self.step, self.rows = step, []
        if step == self.step and len(self.rows) < _SHOWN:
            self.rows.append(row)


def compare_answers(rows: Iterable[LogRow]) -> list[Comparison]:
    """Each prompt at the first and the last step it was sampled; those sampled at two steps come
    first. Chosen among the first `_PROMPTS` of a log that has more.
    """
    by_prompt: dict[str, tuple[_Sampled, _Sampled]] = {}
    for row in rows:
        if not (isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str)):
            continue
        if row["prompt"] not in by_prompt:
            if len(by_prompt) == _PROMPTS:
                continue
            by_prompt[row["prompt"]] = _Sampled(), _Sampled()
        step, (first, last) = row.get("step") or 0, by_prompt[row["prompt"]]
        first.add(row, step, moves=first.step is None or step < first.step)
        last.add(row, step, moves=last.step is None or step > last.step)
    compared = []
    for prompt, (first, last) in by_prompt.items():
        for before, after in zip(first.rows, last.rows, strict=False):
            answer = after.get("answer")
            shown, twice = answer if isinstance(answer, str) else None, first.step != last.step
            compared.append(
                Comparison(
                    prompt, shown, _read_answer(before), _read_answer(after) if twice else None
                )
            )
    return sorted(compared, key=lambda one: one.after is None)[:_SHOWN]


def _read_answer(row: LogRow) -> Answer:
    score = row.get("score")
    right = row.get("exact")
    return Answer(
        step=row.get("step") or 0,
        text=row["completion"],
        right=None if right is None else bool(right),
        score=None if score is None else format_value("score", score),
    )
