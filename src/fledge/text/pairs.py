"""Reads preferences from a .jsonl file: two answers to one prompt, the preferred one and the rejected one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.text.chat import Conversation, render
from fledge.text.conversations import conversation
from fledge.text.files import json_rows
from fledge.text.tokenizer import Tokenizer

Row = tuple[list[int], list[bool]]  # token ids, and which of them are the answer's

# The transcripts of HH-RLHF (Bai et al. 2022): "\n\nHuman: …\n\nAssistant: …"
_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLE = {"Human": "user", "Assistant": "assistant"}


def pairs_from_jsonl(path: str | Path, tokenizer: Tokenizer) -> list[tuple[Row, Row]]:
    """(preferred, rejected) rows of ids and masks; the mask is on the last answer only. A row has one of these shapes:

        {"prompt": ..., "chosen": ..., "rejected": ...}             `instruction` and `input` may stand for `prompt`
        {"chosen": [{"role": ..., "content": ...}, ...], "rejected": [...]}
        {"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", "rejected": "…"}
        {"conversations": [...], "chosen": {"from": "gpt", "value": ...}, "rejected": {...}}

    Raises UserError, naming the line, for anything else, and for a file without rows.
    """
    pairs = []
    for line, row in json_rows(Path(path).expanduser()):
        where = f"line {line} of {path}"
        preferred, rejected = (
            _last_answer(tokenizer, _side(row, field, where), where) for field in ("chosen", "rejected")
        )
        pairs.append((preferred, rejected))
    if not pairs:
        raise UserError(f"{path} is empty: it holds no pairs")
    return pairs


def _side(row: dict[str, Any], field: str, where: str) -> Conversation:
    if field not in row:
        raise UserError(f"{where} has no `{field}`: a pair has `prompt`, `chosen` and `rejected`")
    answer = row[field]
    if isinstance(answer, list):
        return conversation({"messages": answer}, where)
    if isinstance(answer, dict):
        return conversation({"conversations": [*row.get("conversations", []), answer]}, where)
    if not isinstance(answer, str):
        raise UserError(f"the `{field}` of {where} is {type(answer).__name__}: it must be text or a list of turns")
    if "instruction" in row:
        return conversation({"instruction": row["instruction"], "input": row.get("input"), "output": answer}, where)
    if "prompt" in row:
        return conversation({"prompt": row["prompt"], "completion": answer}, where)
    pieces = _TURN.split(answer)
    if len(pieces) < 5:
        raise UserError(f"{where} has no `prompt`: a pair has `prompt`, `chosen` and `rejected`")
    turns = zip(pieces[1::2], pieces[2::2], strict=True)
    return conversation({"messages": [{"role": _ROLE[who], "content": what} for who, what in turns]}, where)


def _last_answer(tokenizer: Tokenizer, turns: Conversation, where: str) -> tuple[list[int], list[bool]]:
    if turns[-1]["role"] != "assistant":
        raise UserError(f"{where} ends with the {turns[-1]['role']}: both sides of a pair end with the assistant")
    prompt, _ = render(tokenizer, turns[:-1], reply=True)
    ids, _ = render(tokenizer, turns)
    return ids, [i >= len(prompt) for i in range(len(ids))]
