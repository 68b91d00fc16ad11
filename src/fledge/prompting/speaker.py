"""What a prompting program stands on: something that goes on with texts and answers
conversations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fledge.rows.turns import Conversation, Message

Prompt = str | Conversation  # a text is gone on with as it is, a conversation is answered


@dataclass(frozen=True)
class Saying:
    """How an answer is drawn. stop: texts that end it, and are no part of it. choices: what may be
    said, and nothing else; json_schema: what it has to be. Those two bind our own models; an
    endpoint is asked for the schema, and what it says of choices is read by whoever asks.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    choices: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None


class Speaker(Protocol):
    """Ours, or one behind an endpoint."""

    name: str

    def say(self, prompts: Sequence[Prompt], saying: Saying) -> list[str]:
        """[N] -> [N]; each is drawn for itself, the same prompt given twice too. Raises UserError
        for what cannot be answered.
        """
        ...


def ask_user(text: str) -> Message:
    return {"role": "user", "content": text}


def say_assistant(text: str) -> Message:
    """What it has said before: context, of which nobody asks whose tokens they were."""
    return {"role": "assistant", "content": text, "train": False}
