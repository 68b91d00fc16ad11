"""Texts and token ids of a request, as prompts of running text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fledge.errors import UserError
from fledge.serve.api_errors import ApiError
from fledge.serve.encoders import ServedEncoder
from fledge.serve.served import Served


def list_inputs(
    given: str | list[str] | list[int] | list[list[int]],
    served: Served | ServedEncoder,
    field: str,
    most: int,
) -> list[str | list[int]]:
    """One input or several, each a text or ids. Raises ApiError for none, too many, and for ids
    that are no tokens.
    """
    if isinstance(given, str):
        return [given]
    if not given:
        raise ApiError(400, f"`{field}` is an empty list: give one or more.", param=field)
    listed: Sequence[str | list[int]]
    if isinstance(given[0], int):
        listed = [cast(list[int], given)]
    else:
        listed = cast(list[str] | list[list[int]], given)
    if len(listed) > most:
        raise ApiError(
            400, f"`{field}` has {len(listed):,} inputs, and {most:,} are taken.", param=field
        )
    for ids in listed:
        if isinstance(ids, list) and any(not 0 <= token < served.vocab_size for token in ids):
            raise ApiError(
                400,
                f"`{field}` has a token beyond the {served.vocab_size:,} of {served.name}.",
                param=field,
            )
    return list(listed)


def check_size(served: Served | ServedEncoder, characters: int, param: str) -> None:
    """Raises ApiError for more than fits, whatever its tokens."""
    if characters > served.most_characters:
        raise ApiError(
            400,
            f"`{param}` has {characters:,} characters, and a text of {served.name} has "
            f"{served.positions:,} tokens at the most: shorten it.",
            param=param,
            code="context_length_exceeded",
        )


def check_messages(
    served: Served, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None
) -> None:
    """Raises ApiError for more than fits: calls, thoughts and tools are said too."""
    check_size(served, count_characters([list(messages), tools]), "messages")


def count_characters(value: Any) -> int:
    """Of all texts in a value of JSON, names included."""
    count, left = 0, [value]
    while left:
        match left.pop():
            case str(text):
                count += len(text)
            case dict(fields):
                left += [*fields.keys(), *fields.values()]
            case list(items):
                left += items
            case _:
                pass
    return count


def encode_text(served: Served, given: str | list[int]) -> list[int]:
    """Ids as they are; a text behind what opens one. Raises ApiError for a text without ids."""
    if isinstance(given, list):
        return given
    check_size(served, len(given), "prompt")
    try:
        return served.tokenizer.open_text(given)
    except UserError as error:
        raise ApiError(400, str(error)) from None
