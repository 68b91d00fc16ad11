"""What is put before a model that is to answer: a prompt, and what follows an answer when the
conversation goes on.
"""

from __future__ import annotations

from fledge.errors import UserError
from fledge.text.chat import render
from fledge.text.tokenizer import Tokenizer


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The prompt as a user's turn, waiting for the assistant."""
    return render(tokenizer, [{"role": "user", "content": prompt}], reply=True)[0]


def encode_reply(tokenizer: Tokenizer, reply: str) -> list[int]:
    """What stands between the token that ended an answer and the next answer. The answer itself is
    not encoded again: its tokens stay those that were sampled, which its text need not come to.

    It is what the chat template writes behind a turn that stands for the answer. Raises UserError
    for a template that writes earlier turns otherwise once something follows them.
    """
    asked = {"role": "user", "content": "a"}
    answered = {"role": "assistant", "content": "b"}
    first, own = render(tokenizer, [asked, answered])
    end = max((place for place, chosen in enumerate(own) if chosen), default=-1) + 1
    both, _ = render(tokenizer, [asked, answered, {"role": "user", "content": reply}], reply=True)
    if not end or both[:end] != first[:end]:
        raise UserError(
            "the chat template writes an answer otherwise once something follows it, so that a "
            "conversation cannot go on from the tokens that were said: use a model whose template "
            "leaves earlier turns as they are."
        )
    return both[end:]
