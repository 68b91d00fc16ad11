"""A task's examples as rows to learn from: asked and answered."""

from __future__ import annotations

from fledge.errors import UserError
from fledge.rows.census import Census, Reading, Unusable
from fledge.tasks.conversed import write_messages
from fledge.tasks.examples import Example, Task
from fledge.text.chat import render
from fledge.text.fitting import fit
from fledge.text.packed import TokenRow
from fledge.text.tokenizer import Tokenizer


def render_example(tokenizer: Tokenizer, example: Example, task: Task | None = None) -> TokenRow:
    """Asked and answered, turn by turn where the task answers. The example must have an answer."""
    return render(tokenizer, write_messages(task, example))


class TaskRow:
    """Example i of a task's training split, asked and answered, as a row that fits the context."""

    def __init__(self, task: Task, tokenizer: Tokenizer, context: int, reading: Reading) -> None:
        self.task, self.tokenizer, self.context = task, tokenizer, context
        self.census = Census(task.name, reading)

    def __call__(self, index: int) -> TokenRow:
        example = self.task.example(index, "train")
        if example.answer is None:
            raise UserError(
                f"the task {example.task} has no answer to {example.prompt!r}: tuning needs "
                "answers, aligning only a score."
            )
        row = render_example(self.tokenizer, example, self.task)
        try:
            frame = self.tokenizer.begin, self.tokenizer.start
            return fit(row, self.context, self.census, *frame)
        except Unusable:
            raise UserError(
                f"an example of {example.task} has {len(row[0])} tokens and the model's context is "
                f"{self.context}: shorten it, or pre-train with a longer `context`."
            ) from None
