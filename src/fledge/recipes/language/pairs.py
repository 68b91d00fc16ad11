"""Preferences for the recipes that learn from them: read from a file, or made of the base's own
answers by a task's judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fledge import ranks
from fledge.data_names import list_named
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.recipes.language.adapter_fields import AdapterFields
from fledge.recipes.language.judge_fields import AnswerFields, PerhapsTaskName
from fledge.recipes.language.rows import RowsConfig, tell, tell_held_out
from fledge.recipes.language.tasks import open_task
from fledge.rows.census import Census, Reading
from fledge.runs.show import Show
from fledge.score.task_pairs import PairMaker
from fledge.tasks.named import Task, list_censuses
from fledge.text.files import json_rows
from fledge.text.held_out import Divided, divide_rows
from fledge.text.pairs import read_judged_answers, read_pairs
from fledge.text.tokenizer import Tokenizer

FEWEST = 8  # pairs, or single answers, that are worth learning from


class PairsConfig(AdapterFields, AnswerFields, RowsConfig):
    """The fields that say where pairs come from."""

    base: Path = Field(description="the run or model folder to start from, usually a tuned one")
    data: Path | None = Field(
        default=None,
        description=(
            "pairs: a .jsonl with `prompt`, `chosen` and `rejected`; 'rows-*.jsonl' are several"
        ),
    )
    task: PerhapsTaskName = Field(
        default=None,
        description=(
            "in place of data: the base answers this task's prompts, and the task's judge ranks "
            "the answers"
        ),
    )
    pairs: int = Field(default=4096, ge=8, description="how many to make (with task)")
    samples_per_prompt: int = Field(
        default=4,
        ge=2,
        description=(
            "answers the base gives to a prompt; the best and the worst make a pair (with task)"
        ),
    )
    pairs_per_step: int = Field(default=64, ge=1, description="pairs an optimizer step")
    steps: int = Field(default=300, ge=1, description="optimizer steps")

    def check_enough(self) -> None:
        """Raises UserError for too few rows, before a model is loaded."""
        if self.data is None:
            return
        rows = chain.from_iterable(map(json_rows, list_named(self.data)))
        there = sum(1 for _ in islice(rows, FEWEST))
        if 0 < there < FEWEST:
            raise UserError(
                f"{self.data} has {there} {'row' if there == 1 else 'rows'}: {FEWEST} or more are "
                "needed."
            )


@dataclass(frozen=True)
class Preferences:
    """Pairs, or single answers (JudgedRow), of kto only, by split; the task if one made them; the
    count of each file that was read.
    """

    kind: Literal["pairs", "answers"]
    divided: Divided[Any]
    task: Task | None
    censuses: Sequence[Census]

    @property
    def apart(self) -> bool:
        """Whether what is held out is not what is trained on."""
        return self.task is None or self.task.holds_out

    def describe(self) -> str:
        """How many there are, and how many are held out."""
        held_out = f"{len(self.divided.validation)} + {len(self.divided.test)} held out"
        return f"{len(self.divided.train)} {self.kind}, {held_out} (validation + test)"


def read_or_make_pairs(config: PairsConfig, base: Loaded, show: Show) -> Preferences:
    """Pairs of a file, or of a task's prompts. Raises UserError for data or a task that cannot be
    used.
    """
    context = base.network.config.context
    if config.data is not None:
        return read_pair_file(config.data, base.tokenizer, context, config.reading, show)
    task = open_task(config, base.tokenizer, context, show)
    maker = PairMaker(
        base.policy().to(config.on()), base.tokenizer, task, config.samples_per_prompt,
        config.max_new_tokens, config.seed, asked=str(config.task), base=str(config.base),
    )  # fmt: skip
    fewer = max(64, config.pairs // 8)

    def make() -> tuple[Any, Any, Any]:
        train = maker.make_training_pairs(config.pairs)
        validation = maker.make_held_out_pairs("validation", fewer)
        return train, validation, maker.make_held_out_pairs("test", fewer)

    train, validation, test = ranks.from_first(make)
    divided = Divided(train, validation, test)
    if not (validation and test):
        note = (
            f"{config.base} answers its held-out prompts all alike, so what is learned is not "
            "measured"
        )
        divided = Divided(train, [], [], note)
        show.line(f"{config.source}: {note}.")
    return Preferences("pairs", divided, task, list_censuses(task))


def read_pair_file(
    path: Path, tokenizer: Tokenizer, context: int, reading: Reading, show: Show
) -> Preferences:
    """Pairs of a file, or of all that a pattern fits, by the split of their prompt. Raises
    UserError for fewer than 8.
    """
    pairs, censuses = read_pairs(path, tokenizer, context, reading)
    tell(censuses, show)
    if len(pairs) < FEWEST:
        raise UserError(
            f"{path} has {len(pairs)} pairs that fit a context of {context} tokens: {FEWEST} or "
            "more are needed."
        )
    divided = divide_rows(pairs, lambda pair: (pair[0][0], pair[1][0]), tokenizer)
    tell_held_out(path, divided, show)
    return Preferences("pairs", divided, None, censuses)


def read_judged_file(
    path: Path, tokenizer: Tokenizer, context: int, reading: Reading, show: Show
) -> Preferences:
    """Single answers of a file, or of all that a pattern fits, by the split of their prompt. Raises
    UserError for fewer than 4 of either kind.
    """
    answers, censuses = read_judged_answers(path, tokenizer, context, reading)
    tell(censuses, show)
    wanted = sum(answers.wanted)
    if min(wanted, len(answers) - wanted) < 4:
        raise UserError(
            f"{path} has {wanted} wanted and {len(answers) - wanted} unwanted answers that fit a "
            f"context of {context} tokens: 4 or more of each are needed."
        )
    ids = lambda judged: (judged[0][0], (judged[1],))  # noqa: E731
    divided = divide_rows(answers, ids, tokenizer, kind=lambda judged: judged[1])
    tell_held_out(path, divided, show)
    return Preferences("answers", divided, None, censuses)
