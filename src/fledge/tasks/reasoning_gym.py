"""Datasets of reasoning-gym (an extra: pip install fledge[text_worlds]) as tasks: questions without
end, judged by their own graders.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fledge.errors import UserError
from fledge.splits import Split, checked, prompt_key, split_of
from fledge.tasks.examples import Example, Verdict, draw_integer

PREFIX = "reasoning_gym:"
MANY = 10**9  # entries of a dataset, each made when it is asked for
ATTEMPTS = 2_000  # a part has one in twenty of them, or more


@dataclass(frozen=True)
class ReasoningGymTask:
    """One dataset. An answer is right where its grader gives it all of the score."""

    name: str
    seed: int
    dataset: Any
    note: str | None = None
    holds_out: bool = True
    can_fail: bool = False

    def example(self, index: int, split: Split) -> Example:
        """The entry at `index`, drawn again until its question lies in the split; `hidden` is its
        number in the dataset. Raises UserError for a dataset of so few questions that none does.
        """
        for attempt in range(ATTEMPTS):
            key = f"{self.seed} {self.name} {checked(split)} {index} {attempt}"
            number = draw_integer(key, 30) % MANY
            entry = self.dataset[number]
            if split_of(prompt_key(entry["question"])) == split:
                answer = entry["answer"]
                prompt = entry["question"].strip()
                said = None if answer is None else str(answer)
                return Example(prompt, said, self.name, hidden=str(number))
        raise UserError(
            f"{self.name} has so few different questions that of {ATTEMPTS:,} none lies in the "
            f"{split} part: take another dataset."
        )

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """The dataset's own scores.  [B], [B] -> [B]"""
        verdicts = []
        for example, completion in zip(examples, completions, strict=True):
            entry = self.dataset[int(example.hidden)]
            score = self._grade(completion.strip(), entry)
            verdicts.append(Verdict(score, score >= 1.0))
        return verdicts

    def _grade(self, text: str, entry: Any) -> float:
        """0 for what a grader cannot read: some raise on a text that is no number."""
        try:
            return float(self.dataset.score_answer(text, entry))
        except Exception:  # theirs, whatever it is
            return 0.0

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        """There is none."""


def load_reasoning_gym(name: str, seed: int) -> ReasoningGymTask:
    """reasoning_gym:NAME. Raises UserError where the package is not installed, or has no such
    dataset.
    """
    try:
        from reasoning_gym import create_dataset  # pyright: ignore[reportMissingImports]
        from reasoning_gym.factory import DATASETS  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"tasks named {PREFIX}… are reasoning-gym's, which is not here ({error}): "
            "pip install 'fledge[text_worlds]'."
        ) from None
    wanted = name.removeprefix(PREFIX)
    if wanted not in DATASETS:
        near = difflib.get_close_matches(wanted, DATASETS, n=1)
        hint = f"perhaps you meant {PREFIX}{near[0]}" if near else "see its list of datasets"
        raise UserError(f"reasoning-gym has no dataset {wanted!r}: {hint}.")
    # Some of its datasets draw from sets of strings, whose order is another in every process.
    note = None
    if os.environ.get("PYTHONHASHSEED", "random") == "random":
        note = (
            f"{name} may ask other questions when the run is resumed, since some datasets of "
            "reasoning-gym go by Python's string hashes: start with PYTHONHASHSEED=0 to keep them."
        )
    return ReasoningGymTask(name, seed, create_dataset(wanted, size=MANY, seed=seed), note)
