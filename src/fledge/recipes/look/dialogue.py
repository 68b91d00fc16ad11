"""What was said in a conversation with a model, and what of it the model is given next."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fledge.errors import UserError
from fledge.runs.atomic import write_text
from fledge.text.chat import Conversation, Message, render
from fledge.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Exchange:
    """A line of the user's and its answer. whole: the model came to its end by itself, and was
    neither stopped nor cut at its limit.
    """

    line: str
    answer: str
    whole: bool = True

    def write_messages(self) -> Conversation:
        return [
            {"role": "user", "content": self.line},
            {"role": "assistant", "content": self.answer},
        ]


@dataclass
class Dialogue:
    """The exchanges since the last fresh start. history: the model is given the earlier ones
    too.
    """

    system: str | None
    history: bool
    exchanges: list[Exchange] = field(default_factory=list)
    forgotten: int = 0  # of the exchanges, the oldest, which no longer fit in the context

    def encode_prompt(
        self,
        tokenizer: Tokenizer,
        line: str,
        context: int,
        room: int,
        *,
        after: Sequence[Message] = (),
        prepare: Callable[[Conversation], Conversation] = lambda turns: turns,
    ) -> list[int]:
        """The ids that the model is given for an answer to `line`. The oldest exchanges are left
        out until `room` tokens are left for the answer; left out once, they stay out.

        after: calls of tools that have been answered since. prepare: makes the conversation what
        the template is given.

        Raises UserError for what the chat template cannot say.
        """
        asked: Message = {"role": "user", "content": line}
        last = len(self.exchanges)
        first = self.forgotten if self.history else last
        while True:
            turns = [*write_conversation(self.system, self.exchanges[first:]), asked]
            prompt, _ = render(tokenizer, prepare([*turns, *after]), reply=True)
            if first == last or len(prompt) + room <= context:
                break
            first += 1
        if self.history:
            self.forgotten = first
        return prompt

    def take_back(self) -> Exchange:
        """The last exchange, which is then no part of the conversation any more."""
        taken = self.exchanges.pop()
        self.forgotten = min(self.forgotten, len(self.exchanges))
        return taken

    def save(self, path: Path) -> None:
        """Write the conversation as `fledge tune data=` reads it: one row, or one an exchange where
        each stood alone. An answer that did not come to its end is marked as context, since a model
        tuned on it would learn to stop there.

        Raises UserError where the file cannot be written.
        """
        parts = [self.exchanges] if self.history else [[each] for each in self.exchanges]
        rows = [write_conversation(self.system, part, mark=True) for part in parts]
        text = "".join(json.dumps({"messages": row}, ensure_ascii=False) + "\n" for row in rows)
        try:
            write_text(path, text)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}): give a file in a folder of yours."
            ) from None


def write_conversation(
    system: str | None, exchanges: Sequence[Exchange], *, mark: bool = False
) -> Conversation:
    """Messages as a chat template takes them. mark: `train` is False at answers that were cut."""
    turns: Conversation = [{"role": "system", "content": system}] if system else []
    for each in exchanges:
        asked, answered = each.write_messages()
        if mark and not each.whole:
            answered["train"] = False
        turns += [asked, answered]
    return turns
