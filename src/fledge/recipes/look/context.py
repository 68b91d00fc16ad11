"""What a model reads before a page about it is drawn: a prompt in the chat template, or running
text.
"""

from __future__ import annotations

from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.text.asking import encode_prompt


def encode_context(model: Loaded, text: str, *, raw: bool) -> list[int]:
    """The ids of a prompt that waits for its answer, or (raw) of a text that goes on. Raises
    UserError for more than the model's context holds.
    """
    tokenizer, context = model.tokenizer, model.network.config.context
    if raw:
        begin = [] if tokenizer.begin is None else [tokenizer.begin]
        ids = [*begin, *tokenizer.encode(text)]
    else:
        ids = encode_prompt(tokenizer, text)
    if not ids:
        raise UserError("the text is empty, and there is nothing to read: give one.")
    if len(ids) > context:
        raise UserError(
            f"the text is {len(ids):,} tokens and {model.folder} reads {context:,} at most: give a "
            "shorter one."
        )
    return ids
