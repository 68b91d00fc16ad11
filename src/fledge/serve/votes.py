"""What people think of answers, appended to files: of two the better one, in the rows that `fledge
prefer` reads, and single ones with a verdict, in those that its `algorithm=kto` reads.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fledge.errors import UserError
from fledge.runs.metrics import Log
from fledge.serve.api_errors import ApiError
from fledge.serve.wire import Body, Name

Messages = list[dict[str, Any]]

MOST_BYTES = 1_000_000_000  # of a file: whoever may ask could fill the disk with votes


class VoteBody(Body):
    """messages: the prompt. answers: the two; preferred: the place of the better one."""

    messages: Messages = Field(min_length=1, max_length=10_000)
    answers: list[str] = Field(min_length=2, max_length=2)
    preferred: Literal[0, 1]
    models: list[Name] | None = Field(None, min_length=2, max_length=2)
    seeds: list[int] | None = Field(None, min_length=2, max_length=2)


class ThumbBody(Body):
    """messages: the prompt, and the answer as the last one. label: whether it is wanted."""

    messages: Messages = Field(min_length=2, max_length=10_000)
    label: bool


class VoteFile:
    """A file of JSON lines that was named when the server started; a row is one write."""

    def __init__(self, path: Path | None, field: str) -> None:
        """field: which one names it."""
        self.field = field
        self._log = None if path is None else Log(path)
        self._lock = threading.Lock()

    @property
    def open(self) -> bool:
        return self._log is not None

    def add(self, row: dict[str, Any]) -> None:
        """Raises ApiError where no file was named, UserError where it cannot be written."""
        if self._log is None:
            raise ApiError(
                403,
                f"nothing is kept: start the server with {self.field}={self.field}.jsonl.",
                code="not_kept",
            )
        try:
            with self._lock:
                if self._log.offset() >= MOST_BYTES:
                    raise ApiError(
                        507,
                        f"the file of {self.field} has {MOST_BYTES:,} bytes, and takes no more: "
                        "start the server with another one.",
                        code="file_full",
                    )
                self._log.write(row)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(
                f"{self._log.path} cannot be written ({reason}): nothing was kept."
            ) from None


def make_preference(body: VoteBody) -> dict[str, Any]:
    """The pair of a vote. Raises ApiError for answers that do not differ, and for an empty one."""
    chosen, rejected = body.answers[body.preferred], body.answers[1 - body.preferred]
    if chosen == rejected:
        raise ApiError(400, "both answers are the same: there is nothing to prefer.")
    if not (chosen and rejected):
        raise ApiError(400, "an answer is empty: it cannot be preferred, nor another to it.")
    row = {
        "prompt": list_turns(body.messages),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }
    order = (body.preferred, 1 - body.preferred)
    origin = {
        name: [given[i] for i in order]
        for name, given in (("models", body.models), ("seeds", body.seeds))
        if given is not None
    }
    return row | ({"metadata": origin} if origin else {})


def make_judged_answer(body: ThumbBody) -> dict[str, Any]:
    """Raises ApiError for messages that do not end with an answer."""
    *asked, answer = list_turns(body.messages)
    if answer["role"] != "assistant" or not answer["content"]:
        raise ApiError(400, "the last message is no answer of the assistant's.", param="messages")
    return {"prompt": asked, "completion": [answer], "label": body.label} | (
        {"model": body.model} if body.model else {}
    )


def list_turns(messages: Messages) -> list[dict[str, str]]:
    """Raises ApiError for what is more than a role and a text."""
    turns: list[dict[str, str]] = []
    for place, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str) or len(message) != 2:
            where = f"messages[{place}]"
            raise ApiError(400, f"{where} is no `role` with a text as `content`.", param=where)
        if role not in ("system", "user", "assistant"):
            raise ApiError(
                400, f"messages[{place}] is of the role {role[:40]!r}.", param="messages"
            )
        turns.append({"role": role, "content": content})
    return turns
