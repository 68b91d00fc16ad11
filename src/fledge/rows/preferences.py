"""One row of preferences: two answers to one prompt, the preferred and the rejected one; or one
answer with a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census, Unusable
from fledge.rows.conversations import (
    ANSWERS,
    LISTS,
    add_given_system,
    begins_with,
    check_answer,
    read_answer_turns,
    read_asked_turns,
    read_listed_turns,
)
from fledge.rows.fields import Fields, quote
from fledge.rows.turns import Conversation, Message, add_system, mark_as_context, read_turns

SIDES = ("chosen", "rejected")
OUTPUTS = ("preferred_output", "non_preferred_output")  # OpenAI's, to an `input`
LABELS = ("label", "kto_tag")  # TRL's, and LLaMA-Factory's

# The transcripts of HH-RLHF (Bai et al. 2022): "\n\nHuman: …\n\nAssistant: …"
_TURN = re.compile(r"\n\n(Human|Assistant): ?")


@dataclass(frozen=True)
class Preference:
    """Two answers, a turn of the assistant's each, to the same turns before them."""

    prompt: Conversation
    preferred: Message
    rejected: Message


@dataclass(frozen=True)
class JudgedAnswer:
    """One answer, and whether it is wanted."""

    prompt: Conversation
    answer: Message
    wanted: bool


def read_preference(row: Mapping[str, Any], where: str, census: Census) -> Preference:
    """The pair of one row, which has one of these shapes; each may have `system`, `tools` and
    `history` too:

        {"prompt": ..., "chosen": ..., "rejected": ...}       text or lists of turns each (TRL)
        {"chosen": [...], "rejected": [...]}                  lists that begin with the prompt
        {"prompt": ..., "chosen": [...], "rejected": [...]}   lists that repeat it (UltraFeedback)
        {"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", ...}   transcripts (HH-RLHF)
        {"instruction": ..., "input": ..., "chosen": ..., "rejected": ...}
        {"conversations" or "messages": [...],
         "chosen": {"from": "gpt", "value": ...}, "rejected": {...}}
        {"input": {"messages": [...], "tools": [...]},
         "preferred_output": [...], "non_preferred_output": [...]}      OpenAI

    Raises UserError for another shape, and Unusable for sides that do not compare two answers to
    one prompt.
    """
    fields = Fields(row, where, census)
    if any(name in fields for name in OUTPUTS):
        sides, system, tools = _read_outputs(fields)
    else:
        sides, system, tools = _read_sides(fields, row)
    fields.close()
    (prompt, preferred), (other, rejected) = (
        _split_last(add_system(side, system, tools, where)) for side in sides
    )
    if prompt != other:
        raise Unusable("two sides with different prompts")
    if preferred == rejected:
        raise Unusable("two equal answers")
    return Preference(prompt, preferred, rejected)


def _read_sides(fields: Fields, row: Mapping[str, Any]) -> tuple[list[Conversation], str, Any]:
    """The whole conversation of the preferred and of the rejected side, and the row's `system` and
    `tools`.
    """
    where = fields.where
    for name in SIDES:
        if name not in fields:
            if is_single(row):
                raise UserError(
                    f"{where} has no `{name}`, it is a single answer: only `fledge prefer "
                    "algorithm=kto` reads these, with a `label` and from a file of nothing else"
                )
            raise UserError(
                f"{where} has no `{name}`: a pair has `prompt`, `chosen` and `rejected`"
            )
    answers = [fields.peek(name) for name in SIDES]
    _drop_copy(fields, answers)
    asked = _read_prompt(fields)
    sides = [_read_side(fields, name, asked) for name in SIDES]
    return sides, fields.text_or("system", ""), fields.take("tools")


def _read_outputs(fields: Fields) -> tuple[list[Conversation], str, Any]:
    """The same of a row for OpenAI's preference tuning, whose `input` has the turns and the
    tools.
    """
    where = fields.where
    for name in ("input", *OUTPUTS):
        if name not in fields:
            raise UserError(
                f"{where} has no `{name}`: such a pair has `input`, `preferred_output` and "
                "`non_preferred_output`"
            )
    given = fields.take("input")
    if not isinstance(given, dict):
        raise UserError(
            f"the `input` of {where} is {quote(given)}: write "
            '{"messages": [{"role": ..., "content": ...}, ...]}'
        )
    asked = Fields(given, f"the `input` of {where}", fields.census)
    before = read_turns(asked.take("messages"), "messages", asked.where, asked.census)
    tools = asked.take("tools")
    asked.close()
    return [[*before, *read_answer_turns(fields, name)] for name in OUTPUTS], "", tools


def read_judged(row: Mapping[str, Any], where: str, census: Census) -> JudgedAnswer:
    """The answer of one row and its verdict, which has one of the shapes of `read_conversation` and
    beside it

        "label" (TRL) or "kto_tag" (LLaMA-Factory): true (wanted) or false; or 1 and 0, "true" and
        "false"

    Raises UserError for another shape, and Unusable for one that does not end with an answer.
    """
    fields = Fields(row, where, census)
    for name in (*SIDES, *OUTPUTS):
        if name in fields:
            raise UserError(
                f"{where} has `{name}`, as in a pair, and the file begins with single answers: "
                "make two files"
            )
    wanted = _read_verdict(fields)
    if any(name in fields for name in LISTS):
        turns = read_listed_turns(fields)
    elif "instruction" in fields:
        turns = [*read_asked_turns(fields), *read_answer_turns(fields, "output")]
    else:
        answer = next((name for name in ANSWERS if name in fields), ANSWERS[0])
        for name in ("prompt", answer):
            if name not in fields:
                raise UserError(
                    f"{where} has no `{name}`: a single answer has `prompt`, `completion` and "
                    "`label`"
                )
        turns = [*read_asked_turns(fields), *read_answer_turns(fields, answer)]
    turns = add_given_system(fields, turns)
    fields.close()
    prompt, said = _split_last(turns)
    return JudgedAnswer(prompt, said, wanted)


def is_single(row: Mapping[str, Any]) -> bool:
    """Whether a row is one answer with a verdict, or would be if it had one."""
    return bool({*LABELS, "completion"} & row.keys()) and not {*SIDES, *OUTPUTS} & row.keys()


def _read_prompt(fields: Fields) -> Conversation | str | None:
    """What both sides answer: turns; the text of a prompt, which turns may repeat; or None where
    the sides hold it.
    """
    if any(name in fields for name in LISTS):
        return read_listed_turns(fields)
    if "instruction" in fields or "history" in fields or isinstance(fields.peek("prompt"), list):
        return read_asked_turns(fields)
    return fields.text("prompt") if "prompt" in fields else None


def _read_side(fields: Fields, name: str, asked: Conversation | str | None) -> Conversation:
    """The whole conversation of one side."""
    before: Conversation = (
        [{"role": "user", "content": asked}] if isinstance(asked, str) else asked or []
    )
    answer = fields.peek(name)
    if asked is None and isinstance(answer, str):
        return _read_transcript(fields.text(name), name, fields.where)
    turns = read_answer_turns(fields, name)
    if not isinstance(answer, list) or turns[0]["role"] == "assistant":
        return [*before, *turns]
    if asked is None or (
        begins_with(turns, asked, fields)
        if isinstance(asked, str)
        else turns[: len(asked)] == asked
    ):
        return turns
    raise Unusable("a prompt that its own answers do not repeat")


def _split_last(turns: Conversation) -> tuple[Conversation, Message]:
    """(the turns before the last, of which none is trained; what the assistant says last)."""
    check_answer(turns[-1:])
    if len(turns) == 1:
        raise Unusable("an answer without a prompt")
    return mark_as_context(turns[:-1]), turns[-1]


def _read_transcript(text: str, name: str, where: str) -> Conversation:
    pieces = _TURN.split(text)
    if len(pieces) < 5:
        raise UserError(f"{where} has no `prompt`: a pair has `prompt`, `chosen` and `rejected`")
    if pieces[0].strip():
        raise UserError(
            f"the `{name}` of {where} begins with {quote(pieces[0])}, before its first Human or "
            "Assistant"
        )
    said = zip(pieces[1::2], pieces[2::2], strict=True)
    return [
        {"role": "user" if who == "Human" else "assistant", "content": what} for who, what in said
    ]


def _drop_copy(fields: Fields, answers: list[Any]) -> None:
    """UltraFeedback has the preferred conversation once more, as `messages`."""
    if isinstance(answers[0], list) and fields.peek("messages") in answers:
        fields.take("messages")


def _read_verdict(fields: Fields) -> bool:
    name = next((name for name in LABELS if name in fields), None)
    if name is None:
        raise UserError(
            f"{fields.where} has no `label`: a single answer has `prompt`, `completion` and `label`"
        )
    value = fields.take(name)
    plain = value.strip().lower() if isinstance(value, str) else value
    if plain in ("true", "false"):
        return plain == "true"
    if isinstance(plain, int | float) and plain in (0, 1):  # true and false are numbers too
        return bool(plain)
    raise UserError(
        f"the `{name}` of {fields.where} is {quote(value)}: write true (wanted) or false"
    )
