"""What is put before a model that is to answer: a prompt, and what follows an answer when the
conversation goes on.
"""

from __future__ import annotations

from fledge.errors import UserError
from fledge.text.chat import Message, render
from fledge.text.tokenizer import Tokenizer


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The prompt as a user's turn, waiting for the assistant."""
    return render(tokenizer, [{"role": "user", "content": prompt}], reply=True)[0]


def encode_reply(tokenizer: Tokenizer, reply: str) -> list[int]:
    """What stands between the token that ended an answer and the next answer. The answer itself is
    not encoded again: its tokens stay those that were sampled, which its text need not come to.

    It is what the chat template writes behind a turn that stands for the answer. Raises UserError
    for a template in which no answer has an end.
    """
    talk: list[Message] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": reply},
    ]
    ids, own = render(tokenizer, talk, reply=True)
    if not any(own):
        raise UserError(
            "the chat template shows no end of an answer that something follows, so that a "
            "conversation cannot go on: use a model with another template."
        )
    return ids[max(place for place, chosen in enumerate(own) if chosen) + 1 :]
