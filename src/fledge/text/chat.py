"""A conversation as token ids by the chat template of its tokenizer, and which of them a tuned
model is to write itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fledge.rows.tools import say_in_tags
from fledge.rows.turns import ROLES, Conversation, Message

if TYPE_CHECKING:
    from fledge.text.interface import Tokenizer

__all__ = ["ROLES", "Conversation", "Message", "render"]


def render(
    tokenizer: Tokenizer, messages: Sequence[Message], *, reply: bool = False
) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and for each whether the assistant chose it. Tools, calls, results
    and thoughts go to a template that knows them as they are, to others as text in tags.

    Chosen are the tokens of the assistant's answers and what closes them: stopping is an action
    too; of a turn whose `train` is False none is. With `reply` the ids are a prompt that waits for
    its completion. Raises UserError for a conversation that the template cannot say, or a text
    without ids.
    """
    if not messages:
        return tokenizer.render(messages, reply=reply)
    tools = messages[0].get("tools")
    said = say_in_tags(messages, tokenizer.knows(tools))
    first = {name: value for name, value in said[0].items() if name != "tools"}
    return tokenizer.render([first, *said[1:]], reply=reply, tools=said[0].get("tools"))
