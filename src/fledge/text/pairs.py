"""Reads preferences from a .jsonl file: two answers to one prompt, the preferred and the rejected one; or single answers with a verdict."""

from __future__ import annotations

import json
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


def is_judged(path: str | Path) -> bool:
    """Whether the file's first row is one answer with a verdict. Raises UserError for a file whose first row cannot be read."""
    first = next(json_rows(Path(path).expanduser()), None)
    return first is not None and _is_single(first[1])


def judged_from_jsonl(path: str | Path, tokenizer: Tokenizer) -> list[tuple[Row, bool]]:
    """(row, wanted), one answer each, of TRL's format of unpaired preferences; prompt and completion are text or lists of turns:

        {"prompt": ..., "completion": ..., "label": true or false}

    Raises UserError, naming the line, for anything else, and for a file in which all answers have the same label.
    """
    answers = []
    for line, row in json_rows(Path(path).expanduser()):
        where = f"line {line} of {path}"
        for other in ("chosen", "rejected"):
            if other in row:
                raise UserError(
                    f"{where} has `{other}`, as in a pair, and the file begins with single answers: make two files"
                )
        for wanted in ("prompt", "completion", "label"):
            if wanted not in row:
                raise UserError(f"{where} has no `{wanted}`: a single answer has `prompt`, `completion` and `label`")
        if not isinstance(row["label"], bool):
            raise UserError(f"the `label` of {where} is {json.dumps(row['label'])}: write true (wanted) or false")
        prompt, completion = row["prompt"], row["completion"]
        if isinstance(prompt, list) and isinstance(completion, list):
            turns = conversation({"messages": [*prompt, *completion]}, where)
        else:
            turns = conversation({"prompt": prompt, "completion": completion}, where)
        answers.append((_last_answer(tokenizer, turns, where), row["label"]))
    if len({wanted for _, wanted in answers}) == 1:
        only = json.dumps(answers[0][1])
        raise UserError(f"all answers of {path} have the label {only}: give wanted (true) and unwanted ones (false)")
    return answers


def _is_single(row: dict[str, Any]) -> bool:
    return bool({"label", "completion"} & row.keys()) and not {"chosen", "rejected"} & row.keys()


def _side(row: dict[str, Any], field: str, where: str) -> Conversation:
    if _is_single(row):
        raise UserError(
            f"{where} has no `{field}`, it is a single answer: only `fledge prefer algorithm=kto` reads "
            "these, with a `label` and from a file of nothing else"
        )
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
        raise UserError(f"{where} ends with the {turns[-1]['role']}: what is judged ends with the assistant")
    prompt, _ = render(tokenizer, turns[:-1], reply=True)
    ids, _ = render(tokenizer, turns)
    return ids, [i >= len(prompt) for i in range(len(ids))]
