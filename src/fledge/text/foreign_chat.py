"""A conversation by the chat template of somebody else's model: as text, as token ids, and which of
them the assistant chose.

The text is what `transformers` makes of the same template. In the ids a special token stands where
the template wrote one and nowhere else: in what people said it is ordinary text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fledge.errors import UserError
from fledge.rows.tools import Tools
from fledge.text.answers import Answers, count_equal
from fledge.text.rendering import Messages, Rendering, fill, prepare_messages
from fledge.text.special_text import Spellings
from fledge.text.templates import Template

if TYPE_CHECKING:
    from fledge.text.foreign import ForeignTokenizer


class ForeignChat:
    """The chat templates of a tokenizer."""

    def __init__(
        self,
        tokenizer: ForeignTokenizer,
        whose: str,
        templates: Mapping[str, str],
        words: Mapping[str, Any],
    ) -> None:
        """whose: what the model is called in errors; words: bos_token, eos_token, … as templates
        know them.
        """
        self.tokenizer, self.whose, self.words = tokenizer, whose, words
        self.templates = {name: Template(text, whose) for name, text in templates.items()}
        self.spellings = Spellings(tokenizer.special_tokens)

    def write(
        self, messages: Messages, *, reply: bool = False, tools: Tools = None, **more: Any
    ) -> str:
        """The text of a conversation. more: what else the template asks for, such as documents or
        enable_thinking. Raises UserError as `render` does.
        """
        prepared = prepare_messages(messages)
        return fill(self.choose(tools), self.words, prepared, reply, tools, **more)

    def render(
        self, messages: Messages, *, reply: bool = False, tools: Tools = None
    ) -> tuple[list[int], list[bool]]:
        """The ids, and for each whether the assistant chose it; of turns whose `train` is False
        none is.

        Raises UserError for a conversation that the template refuses or fails on, and for an answer
        whose tokens cannot be told from what is around it.
        """
        answers = Answers(self.tokenizer, self._rendering(messages, tools), reply)
        ids, spans = answers.find(
            [
                number
                for number, message in enumerate(messages)
                if message["role"] == "assistant" and message.get("train", True)
            ]
        )
        chosen = [False] * len(ids)
        for start, end in spans:
            chosen[start:end] = [True] * (end - start)
        return ids, chosen

    def _rendering(self, messages: Messages, tools: Tools = None) -> Rendering:
        return Rendering(self.choose(tools), self.words, self.spellings, messages, tools)

    def find_turn_end(self, stops: Collection[int]) -> int | None:
        """The special token that ends an answer in the template and is none of the `stops`; None
        where one of these ends it, or nothing does, or there is no template.
        """
        question = {"role": "user", "content": "a"}
        try:
            talks = [[question, {"role": "assistant", "content": text}] for text in ("b", "1.")]
            texts = [self._rendering(talk).write(2, False) for talk in talks]
            one, other = (self.tokenizer.encode_special(text)[::-1] for text in texts)
        except UserError:
            return None
        after = one[: count_equal(one, other)][::-1]
        if len(after) == len(one):
            return None  # a template that does not show what is said
        special = self.tokenizer.special
        place = next((i for i, token in enumerate(after) if token in special), None)
        if place is None or set(after[place : place + 2]) & set(stops):
            return None  # of two that follow at once, the second may be what the model ends with
        return after[place]

    def find_reply(self, ids: Sequence[int]) -> int:
        """Where the assistant first speaks: after what stands between a question and its answer, or
        as much of that as there is. The length of `ids` where it does not.
        """
        for size in range(len(self._between), 0, -1):
            between = list(self._between[:size])
            for place in range(len(ids) - size + 1):
                if list(ids[place : place + size]) == between:
                    return place + size
        return len(ids)

    @cached_property
    def _between(self) -> list[int]:
        """What every prompt ends with, whatever the question."""
        try:
            one, other = (
                self.render([{"role": "user", "content": text}], reply=True)[0][::-1]
                for text in ("a", "1.")
            )
        except UserError:
            return []
        return one[: count_equal(one, other)][::-1]

    def choose(self, tools: Tools) -> Template:
        """The template for a conversation. Raises UserError where there is none."""
        for name in ("tool_use", "default") if tools else ("default",):
            if name in self.templates:
                return self.templates[name]
        if not self.templates:
            raise UserError(
                f"{self.whose} has no chat template, as a model that only continues text: put the "
                "chat_template.jinja of the conversations it is to have beside its tokenizer.json, "
                "or have a text continued: `fledge sample` with raw=true."
            )
        raise UserError(
            f"{self.whose} has the chat templates {', '.join(sorted(self.templates))} and none "
            "that is called default: name one of them so."
        )
