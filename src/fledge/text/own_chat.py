"""Our own chat template: a conversation as token ids, and which of them a tuned model is to write
itself.

<|begin|> <|user|> Hello <|end|> <|assistant|> Hello. <|end|>
                                               ~~~~~~~~~~~~~  chosen
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fledge.errors import UserError
from fledge.rows.turns import ROLES

if TYPE_CHECKING:
    from fledge.text.own_tokenizers import OwnTokenizer

CHAT_TEMPLATE = (
    "<|begin|>"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The same as `render_own`, in jinja for tokenizer_config.json. It is only as safe as its reader: a
program that renders to text and then looks for special tokens in it can be deceived by a user who
types them; `render_own` cannot."""


def render_own(
    tokenizer: OwnTokenizer, messages: Sequence[Mapping[str, Any]], *, reply: bool
) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and for each whether the assistant chose it.

    Chosen are the tokens of the assistant's contents and the <|end|> that closes them: stopping is
    an action too; of a turn whose `train` is False none is. With `reply` the ids end in
    <|assistant|>, a prompt that waits for its completion. Raises UserError for an unknown role, or
    a text without ids.
    """
    role_id = dict(zip(ROLES, (tokenizer.system, tokenizer.user, tokenizer.assistant), strict=True))
    ids, chosen = [tokenizer.begin], [False]
    for message in messages:
        if message["role"] not in role_id:
            raise UserError(
                f"the role {message['role']!r} of a message is unknown: it is one of "
                f"{', '.join(ROLES)}"
            )
        content = [*tokenizer.encode(message["content"]), tokenizer.end]
        ids += [role_id[message["role"]], *content]
        trained = message["role"] == "assistant" and message.get("train", True)
        chosen += [False] + [trained] * len(content)
    if reply:
        ids.append(tokenizer.assistant)
        chosen.append(False)
    return ids, chosen
