"""The fields of `fledge evaluate suite=…`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from fledge.errors import UserError
from fledge.evaluate.suites.suite import SUITES, SuiteName
from fledge.recipes.family_field import FamilyField


class EvaluateSuiteConfig(FamilyField):
    """Measure a model on questions as they are published, from a file: accuracy with its interval,
    calibration, and whether it has read the questions; beside another model, whether they differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder to measure")
    suite: SuiteName = Field(
        description="arc_easy, arc_challenge, boolq, piqa, winogrande, openbookqa, mmlu: a choice "
        "by its likelihood; gsm8k, math, bbh, humaneval, ifeval: an answer in words; prompts: two "
        "models' answers, judged in pairs"
    )
    data: Path = Field(
        description="its file, as published (.jsonl, .json, .parquet, .csv, .gz), or a folder "
        "with one"
    )
    questions: int | None = Field(
        default=None, ge=1, description="the first so many of its test rows; by default all"
    )
    shots: int = Field(
        default=0, ge=0, le=100, description="questions with their answers before each"
    )
    chat: bool = Field(
        default=False, description="ask as a user's turn, by the model's chat template"
    )
    against: Path | None = Field(
        default=None, description="another model, on the same questions: the difference, paired"
    )
    max_new_tokens: int | None = Field(
        default=None, ge=1, description="of an answer in words; by default as its suite has it"
    )
    temperature: float = Field(default=0.0, ge=0, description="of an answer in words; 0 is greedy")
    samples: int = Field(
        default=1, ge=1, le=1000, description="answers to each question, for pass@k"
    )
    program_seconds: float = Field(
        default=3.0, gt=0, le=3600, description="that a program the model wrote may run"
    )
    program_memory_mb: float = Field(
        default=1024.0, gt=64, le=1e6, description="megabytes that it may take"
    )
    judge: Path | None = Field(
        default=None,
        description="of suite=prompts: a reward model, or a model that is asked which is better",
    )
    seen: str = Field(
        default="",
        description="text files, with commas, in which the questions are looked for; a run's own "
        "data, as its lineage names it, is looked through anyway",
    )
    details: Path | None = Field(
        default=None, description="a .jsonl to write: each question, what was said, what it got"
    )
    out: Path | None = Field(
        default=None, description="a page to write: figures, calibration with its picture, samples"
    )
    seed: int = Field(default=0, ge=0, description="of answers, and of what is resampled")

    def check(self) -> None:
        """Raises UserError for fields that contradict each other."""
        suite = SUITES[self.suite]
        words = {"max_new_tokens": None, "temperature": 0.0, "samples": 1}
        given = [name for name, none in words.items() if getattr(self, name) != none]
        if suite.chosen and given:
            raise UserError(
                f"{given[0]} is of answers in words, and of {self.suite} the likeliest choice is "
                "the answer: leave it out."
            )
        if self.samples > 1 and self.temperature == 0:
            raise UserError(
                f"samples={self.samples} greedy answers are all the same: give temperature=0.8, or "
                "so."
            )
        if suite.pairwise and (self.against is None or self.judge is None):
            raise UserError(
                "suite=prompts compares the answers of two models: give against=MODEL and "
                "judge=MODEL."
            )
        if self.judge is not None and not suite.pairwise:
            raise UserError(f"judge is of suite=prompts, and {self.suite} knows what is right.")
        for name in ("details", "out"):
            path: Path | None = getattr(self, name)
            if path is not None and not path.parent.is_dir():
                raise UserError(
                    f"{name}={path} cannot be written: there is no folder {path.parent}. Make it, "
                    "or choose another."
                )
            if path is not None and path.is_dir():
                kind = "questions.jsonl" if name == "details" else "page.html"
                raise UserError(
                    f"{name}={path} is a folder, and one file is written: name it, such as "
                    f"{name}={path / kind}."
                )

    @property
    def most_new_tokens(self) -> int:
        return self.max_new_tokens or SUITES[self.suite].max_new_tokens


def asks_suite(given: Any) -> bool:
    return given.get("suite") is not None
