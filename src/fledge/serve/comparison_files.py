"""The files of comparisons: pairs of answers, or prompts, that a person is to be asked about; and
what an earlier server has kept of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census, Reading, Unusable
from fledge.rows.conversations import add_given_system, read_asked_turns, read_listed_turns
from fledge.rows.fields import Fields
from fledge.rows.preferences import OUTPUTS, SIDES, read_preference
from fledge.rows.turns import Conversation
from fledge.runs.metrics import read_log
from fledge.serve.votes import Messages
from fledge.text.files import json_rows


@dataclass(frozen=True)
class Candidate:
    """Two answers to one prompt, in the order in which they are shown."""

    key: str
    prompt: Messages
    answers: tuple[str, str]
    models: tuple[str, str] | None = None
    seeds: tuple[int, int] | None = None

    @property
    def row(self) -> dict[str, Any]:
        return {
            "prompt": self.prompt, "answers": list(self.answers),
            "models": None if self.models is None else list(self.models),
            "seeds": None if self.seeds is None else list(self.seeds),
        }  # fmt: skip


def name_pair(prompt: Messages, answers: Sequence[str]) -> str:
    """The same whichever answer comes first."""
    content = json.dumps([prompt, sorted(answers)], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:32]


def make_candidate(prompt: Messages, first: str, second: str, **origin: Any) -> Candidate:
    """In an order that the pair's own name decides: a file may have the better one always first."""
    key = name_pair(prompt, (first, second))
    turned = int(key[0], 16) % 2 == (first < second)
    order = [second, first] if turned else [first, second]
    if turned:
        origin = {name: None if own is None else own[::-1] for name, own in origin.items()}
    return Candidate(key, prompt, (order[0], order[1]), **origin)


def read_kept(path: Path) -> list[dict[str, Any]]:
    """What a server has written there, without a last line that a kill has torn."""
    return list(read_log(path))


def read_candidate(row: dict[str, Any]) -> Candidate:
    """One that the served model wrote. Raises UserError for a row that somebody has changed."""
    try:
        prompt, (first, second) = row["prompt"], row["answers"]
        return make_candidate(prompt, first, second, models=row["models"], seeds=row["seeds"])
    except (KeyError, TypeError, ValueError):
        raise UserError(
            "a row beside the votes, in their file that ends with .asked.jsonl, is no pair: put "
            "the file back as the server wrote it, or remove it."
        ) from None


def read_source(path: Path) -> tuple[list[Candidate], list[Messages]]:
    """Pairs, or prompts. Raises UserError."""
    pairs: list[Candidate] = []
    prompts: list[Messages] = []
    census = Census(str(path), Reading(), rows="rows")
    for line, row in json_rows(path):
        where = f"line {line} of {path}"
        census.read += 1
        if any(name in row for name in (*SIDES, *OUTPUTS)):
            try:
                pair = read_preference(row, where, census)
            except Unusable as fault:
                census.leave_out(fault.reason, line)
                continue
            turns = [*pair.prompt, pair.preferred, pair.rejected]
            if not is_plain(turns):
                census.leave_out("tools, which the page does not show", line)
                continue
            *prompt, first, second = [strip(turn) for turn in turns]
            pairs.append(make_candidate(prompt, first["content"], second["content"]))
        else:
            prompts.append([strip(turn) for turn in read_prompt(row, where, census)])
    if not pairs and not prompts:
        raise UserError(f"{path} has no pair and no prompt that can be shown: give one or more.")
    return list({pair.key: pair for pair in pairs}.values()), prompts


def read_prompt(row: dict[str, Any], where: str, census: Census) -> Conversation:
    """Raises UserError for a row without one."""
    fields = Fields(row, where, census)
    if "messages" in fields or "conversations" in fields:
        turns = read_listed_turns(fields)
    elif "prompt" in fields or "instruction" in fields:
        turns = read_asked_turns(fields)
    else:
        raise UserError(
            f"{where} has no `prompt`: a row of compare= is a prompt, or a pair with `prompt`, "
            "`chosen` and `rejected`."
        )
    turns = add_given_system(fields, turns)
    while turns and turns[-1]["role"] == "assistant":  # what is there already is not judged
        turns = turns[:-1]
    if not turns or not is_plain(turns):
        raise UserError(f"{where} asks nothing that the page can show: give a `prompt` of text.")
    return turns


def is_plain(turns: Conversation) -> bool:
    """Whether texts are all that they have."""
    plain = {"role", "content", "train"}
    return all(turn.keys() <= plain and turn["role"] != "tool" for turn in turns)


def strip(turn: Any) -> dict[str, Any]:
    return {"role": turn["role"], "content": turn["content"]}
