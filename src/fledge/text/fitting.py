"""Makes rows of tokens fit the context: refused, or cut on one side, and never so that nothing is
left to train on.

truncate=right   the end of the row goes (TRL's keep_start); what is left of an answer has no
<|end|> to learn from
truncate=left    the beginning goes, after <|begin|> where there is one (TRL's keep_end); of a pair
                 or a single answer the prompt's only, equally much on both sides
"""

from __future__ import annotations

from collections.abc import Sequence

from fledge.rows.census import Census, Unusable
from fledge.text.packed import TokenRow


def count_opening(ids: Sequence[int], begin: int | None) -> int:
    """How many tokens at the beginning of a row stay when it is cut there. A chat template without
    a token of its own for it opens with a turn's first token, which would head the middle of a text
    as if a turn began there.
    """
    return int(begin is not None and list(ids[:1]) == [begin])


def fit(
    row: TokenRow, context: int, census: Census, begin: int | None, start: int | None = None
) -> TokenRow:
    """The row, cut if it must be. begin: the token that opens a row, if the tokenizer has one.
    start: the one from which a decoder begins, which stays, if the model is an encoder–decoder.

    Raises Unusable where it is too long and may not be cut, or where that leaves nothing.
    """
    ids, own = row
    if len(ids) <= context:
        return row
    if census.reading.truncate in (None, "no"):
        raise Unusable(say_too_long(context))
    if census.reading.truncate == "right":
        ids, own = ids[:context], own[:context]
    else:
        opening = count_opening(ids, begin)
        cut = len(ids) - context + opening
        ids, own = ids[:opening] + ids[cut:], own[:opening] + own[cut:]
    if not any(own):
        raise Unusable(say_no_room(context))
    if start is not None and start not in ids:
        raise Unusable(say_long_answer(context))
    census.truncated += 1
    return ids, own


def fit_answers(
    rows: Sequence[TokenRow], context: int, census: Census, begin: int | None
) -> list[TokenRow]:
    """One answer, or two to the same prompt, whose masks are on the answers: cut together. Raises
    Unusable as `fit` does.
    """
    longest = max(len(ids) for ids, _ in rows)
    if longest <= context:
        return list(rows)
    if census.reading.truncate in (None, "no"):
        raise Unusable(say_too_long(context))
    asked = rows[0][1].index(True)  # where the prompt ends
    if census.reading.truncate == "right":
        if asked >= context:
            raise Unusable(say_no_room(context))
        cut = [(ids[:context], own[:context]) for ids, own in rows]
        if len(cut) == 2 and cut[0] == cut[1]:
            raise Unusable("two answers that are equal where they are cut")
    else:
        opening = count_opening(rows[0][0], begin)
        start = longest - context + opening
        if start >= asked:
            raise Unusable(say_long_answer(context))
        cut = [(ids[:opening] + ids[start:], own[:opening] + own[start:]) for ids, own in rows]
    census.truncated += 1
    return cut


def say_too_long(context: int) -> str:
    return f"longer than the context of {context} tokens"


def say_long_answer(context: int) -> str:
    return f"an answer that alone is longer than the context of {context} tokens"


def say_no_room(context: int) -> str:
    return f"a prompt that leaves no room for an answer in the context of {context} tokens"
