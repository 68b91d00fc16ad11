"""One row of instruction data as a conversation, whichever of the known shapes it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census, Unusable
from fledge.rows.fields import Fields, quote
from fledge.rows.slots import read_slots, write_slots
from fledge.rows.turns import (
    SPEAKERS,
    Conversation,
    add_system,
    mark_as_context,
    read_turn,
    read_turns,
)

ANSWERS = ("completion", "answer", "response")
LISTS = ("messages", "conversations")
SHAPES = (
    "A row is `prompt` and `completion` (or `answer`, or `response`), `instruction` and `output`, "
    "`messages`, `conversations`, or `slots` and `text`."
)


def read_conversation(row: Mapping[str, Any], where: str, census: Census) -> Conversation:
    """The conversation of one row, which has one of these shapes; each may have `system` and
    `tools` too:

        {"messages": [{"role": ..., "content": ...}, ...]}             OpenAI, Mistral
        {"conversations": [{"from": "human", "value": ...}, ...]}      ShareGPT
        {"prompt": ..., "completion" or "answer" or "response": ...}   text or lists of turns (TRL)
        {"instruction": ..., "input": ..., "output": ...,
         "history": [[..., ...], ...]}                                 Alpaca
        {"slots": {...}, "text": ...}                                  a table and its text

    Trained is what the assistant says, without turns marked `weight` 0 or `train` false, and
    without those of a `prompt`. Raises UserError for another shape, and Unusable for a conversation
    that nothing can be learnt from.
    """
    fields = Fields(row, where, census)
    if any(name in fields for name in LISTS):
        turns = read_listed_turns(fields)
    elif "slots" in fields:
        asked = write_slots(read_slots(fields.take("slots"), where))
        turns = [{"role": "user", "content": asked}, *read_answer_turns(fields, "text")]
    elif "instruction" in fields:
        turns = [*read_asked_turns(fields), *read_answer_turns(fields, "output")]
        _drop_copy(fields, turns)
    else:
        present = [name for name in ANSWERS if name in fields]
        if "prompt" in fields and not present:
            raise UserError(
                f"{where} has a `prompt` and no `completion` (or `answer`, or `response`): add "
                "what is to be said"
            )
        if "prompt" not in fields:
            raise UserError(f"{where} has no `prompt`; it has {fields.names}. {SHAPES}")
        turns = [*mark_as_context(read_asked_turns(fields)), *read_answer_turns(fields, present[0])]
    turns = add_given_system(fields, turns)
    fields.close()
    check_trainable(turns)
    return turns


def read_listed_turns(fields: Fields) -> Conversation:
    """The turns of `messages` or `conversations`; a `prompt` beside them may only repeat how they
    begin.

    ShareGPT's turns alternate (LLaMA-Factory): human and observation on one side, gpt and
    function_call on the other.
    """
    field = LISTS[0] if LISTS[0] in fields else LISTS[1]
    turns = fields.take(field)
    messages = read_turns(turns, field, fields.where, fields.census)
    if "prompt" in fields:
        prompt = fields.take("prompt")
        if not begins_with(messages, prompt, fields):
            raise UserError(
                f"the `prompt` of {fields.where} is not what its `{field}` begin with: take one of "
                "them out"
            )
    if field == "conversations":
        _check_sides(turns)
    return messages


def begins_with(turns: Conversation, prompt: object, fields: Fields) -> bool:
    """Whether turns repeat a prompt: a text as what the user says first, a list of turns as their
    beginning.
    """
    if isinstance(prompt, str):
        first = next((turn for turn in turns if turn["role"] != "system"), None)
        return first is not None and first["role"] == "user" and first["content"] == prompt
    asked = read_turns(prompt, "prompt", fields.where, fields.census)
    return turns[: len(asked)] == asked


def read_asked_turns(fields: Fields) -> Conversation:
    """What comes before an answer: `prompt` as text or turns, or `instruction` and `input`;
    `history` before either.
    """
    turns = _read_history(fields)
    if "instruction" in fields:
        said = [fields.text("instruction")]
        given = fields.text_or("input", "")
        if given != "":
            said.append(given)
        return [*turns, {"role": "user", "content": "\n\n".join(said)}]
    if isinstance(fields.peek("prompt"), list):
        return [*turns, *read_turns(fields.take("prompt"), "prompt", fields.where, fields.census)]
    return [*turns, {"role": "user", "content": fields.text("prompt")}]


def read_answer_turns(fields: Fields, name: str) -> Conversation:
    """What is answered: a text, a turn, or a list of turns."""
    value = fields.peek(name)
    if isinstance(value, list):
        return read_turns(fields.take(name), name, fields.where, fields.census)
    if isinstance(value, dict):
        return [read_turn(fields.take(name), f"the `{name}` of {fields.where}", fields.census)]
    return [{"role": "assistant", "content": fields.text(name)}]


def add_given_system(fields: Fields, turns: Conversation) -> Conversation:
    """The turns under the row's `system` and `tools`."""
    return add_system(turns, fields.text_or("system", ""), fields.take("tools"), fields.where)


def check_trainable(turns: Conversation) -> None:
    """Raises Unusable for turns without the assistant's, and as `check_answer` does."""
    if not any(turn["role"] == "assistant" for turn in turns):
        raise Unusable("no turn of the assistant's")
    check_answer(turns)


def check_answer(turns: Conversation) -> None:
    """Raises Unusable for turns that do not end with the assistant's, or of which none is to be
    trained, or an empty one.
    """
    if turns[-1]["role"] != "assistant":
        raise Unusable(f"the last turn is the {turns[-1]['role']}'s")
    trained = [turn for turn in turns if turn["role"] == "assistant" and turn.get("train", True)]
    if not trained:
        raise Unusable("no turn that is to be trained")
    if not all(turn["content"].strip() or turn.get("tool_calls") for turn in trained):
        raise Unusable("an empty answer")


def _read_history(fields: Fields) -> Conversation:
    """Alpaca's `history`, pairs of what was asked and answered before (LLaMA-Factory); those
    answers are trained too.
    """
    history = fields.take("history")
    if history is None:
        return []
    if not isinstance(history, list):
        raise UserError(
            f"the `history` of {fields.where} is {quote(history)}: write [[asked, answered], ...]"
        )
    turns: Conversation = []
    for pair in history:
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(text, str) for text in pair)
        ):
            raise UserError(
                f"the `history` of {fields.where} has {quote(pair)}: write [asked, answered], two "
                "strings"
            )
        turns.append({"role": "user", "content": pair[0]})
        turns.append({"role": "assistant", "content": pair[1]})
    return turns


def _check_sides(turns: list[dict[str, Any]]) -> None:
    """Raises Unusable where two turns of one side follow each other, or the assistant's begins."""
    sides = [SPEAKERS[turn["from"] if "from" in turn else turn["role"]] for turn in turns]
    sides = sides[1:] if sides[0] == "system" else sides
    if any(side != ("user", "assistant")[place % 2] for place, side in enumerate(sides)):
        raise Unusable("turns that do not alternate, the user's first")


def _drop_copy(fields: Fields, turns: Conversation) -> None:
    """Alpaca's own file has the whole row once more, as `text`."""
    copy = fields.peek("text")
    if isinstance(copy, str) and turns[-1]["content"] in copy:
        fields.take("text")
