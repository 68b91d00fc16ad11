"""Opens a task for a recipe: every prompt of its files is held against the context before anything
is computed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from fledge.errors import UserError
from fledge.recipes.language.rows import tell
from fledge.rows.census import Census, Reading, Unusable
from fledge.runs.show import Show
from fledge.tasks.answered import render_example
from fledge.tasks.checking import check_task
from fledge.tasks.conversed import count_turns
from fledge.tasks.named import Example, Task, list_censuses, load_task
from fledge.tasks.own_process import Limits
from fledge.text.asking import encode_prompt
from fledge.text.fitting import fit, say_no_room
from fledge.text.tokenizer import Tokenizer

LOOKED_AT = 64  # examples whose length is measured


class Asks(Protocol):
    """The fields by which a recipe names a task."""

    @property
    def task(self) -> str | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def shortest(self) -> int | None: ...
    @property
    def longest(self) -> int | None: ...
    @property
    def reading(self) -> Reading: ...
    def limits(self, show: Show) -> Limits | None: ...


def check_turns(task: Task, tokenizer: Tokenizer, context: int) -> None:
    """Raises UserError for a task of several turns whose ways do not fit the context."""
    if count_turns(task) == 1:
        return
    for i in range(LOOKED_AT):
        example = task.example(i, "train")
        if example.answer is None:
            continue
        long = len(render_example(tokenizer, example, task)[0])
        if long > context:
            raise UserError(
                f"a conversation of {example.task} takes {long:,} tokens and the model's context "
                f"is {context:,}: take a lower level, or a model with a longer context."
            )


def open_task(
    config: Asks, tokenizer: Tokenizer, context: int, show: Show, *, answered: bool = False
) -> Task:
    """The task, checked; what the user should know of it is said.

    answered: its rows are to be learnt with their answers. Raises UserError for a task that cannot
    be used, and for one with prompts that leave no room for an answer, counted, unless they are to
    be skipped.
    """
    assert config.task is not None
    reading = config.reading
    if not answered:
        if reading.truncate in ("left", "right"):
            raise UserError(
                f"truncate={reading.truncate} cuts rows that are read with their answers, and "
                f"{config.task} is asked for its prompts alone: leave it out."
            )
        reading = replace(reading, truncate=None)

    def admit(example: Example) -> None:
        """Raises Unusable for an example that does not fit."""
        if answered and example.answer is None:
            raise Unusable("a prompt without an answer, which tuning needs")
        if answered:
            rendered = render_example(tokenizer, example)
            fit(rendered, context, Census("", reading), tokenizer.begin, tokenizer.start)
        elif len(encode_prompt(tokenizer, example.prompt)) >= context:
            raise Unusable(say_no_room(context))

    task = load_task(
        config.task, seed=config.seed, shortest=config.shortest, longest=config.longest,
        limits=config.limits(show), reading=reading, admit=admit,
    )  # fmt: skip
    check_task(task)
    check_turns(task, tokenizer, context)
    if task.note:
        show.line(task.note)
    tell(list_censuses(task), show)
    return task
