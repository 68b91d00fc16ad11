"""What labelling functions in a file of the user's say of rows of text: a table of votes."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.rows.points import Points
from fledge.splits import SPLITS, Split, divide
from fledge.user_code import call, load_module

MOST_LABELS = 100


@dataclass(frozen=True)
class Votes(Points):
    """x: [N, M], the number in `names` of the label that function m gave to row n, NaN where it
    abstained. label: the true one where the row says it, else −1. texts: the rows' own. expected:
    the share of a function's votes that its author expects to be right, where the file says it.
    """

    texts: tuple[str, ...] = ()
    expected: tuple[float | None, ...] = ()

    def take(self, index: Tensor | slice) -> Votes:
        place = torch.arange(len(self))[index].tolist()
        label = None if self.label is None else self.label[index]
        texts = tuple(self.texts[n] for n in place)
        return replace(self, x=self.x[index], label=label, texts=texts)

    @property
    def is_labelled(self) -> bool:
        return self.label is not None and bool((self.label >= 0).all())


@dataclass(frozen=True)
class Functions:
    """labels: every one that a vote may be. expected: by name."""

    path: Path
    functions: Mapping[str, Callable[[dict[str, Any]], Any]]
    labels: tuple[str, ...]
    expected: Mapping[str, float]


def load_functions(file: str) -> Functions:
    """Every function of the file whose name does not begin with `_`; LABELS; EXPECTED, if it has
    any.  Raises UserError for a file without them.
    """
    path = Path(file)
    module = load_module(path)
    functions = list_functions(module)
    if not functions:
        raise UserError(
            f"{file} has no function: write one for each rule, def rule(row), that returns a label "
            "or None."
        )
    labels = getattr(module, "LABELS", None)
    if not isinstance(labels, list | tuple) or not 2 <= len(set(map(str, labels))) <= MOST_LABELS:
        raise UserError(
            f"{file}: LABELS is {labels!r}; give the labels that there are, such as "
            'LABELS = ["negative", "positive"].'
        )
    expected: Any = getattr(module, "EXPECTED", {})
    ok = isinstance(expected, Mapping) and all(
        name in functions and isinstance(value, int | float) and 0 < value < 1
        for name, value in expected.items()
    )
    if not ok:
        raise UserError(
            f"{file}: EXPECTED is {expected!r}; give for names of functions the share of their "
            "votes that is right, between 0 and 1."
        )
    return Functions(path, functions, tuple(map(str, labels)), expected)


def list_functions(module: ModuleType) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Those that the file defines itself, in its order."""
    return {
        name: each
        for name, each in vars(module).items()
        if inspect.isfunction(each) and each.__module__ == module.__name__ and name[0] != "_"
    }


def read_votes(data: str, functions: Functions) -> Votes:
    """Rows of a .jsonl, each with a `text` and maybe a `label`, and what each function says of
    them.  Raises UserError for what cannot be read, and for a vote that is no label.
    """
    rows = read_rows(data)
    number = {label: n for n, label in enumerate(functions.labels)}
    x = torch.full((len(rows), len(functions.functions)), torch.nan, dtype=torch.float64)
    for m, (name, function) in enumerate(functions.functions.items()):
        for n, row in enumerate(rows):
            vote = call(functions.path, name, function, f"on row {n + 1} of {data}", dict(row))
            if vote is None:
                continue
            if str(vote) not in number:
                raise UserError(
                    f"{functions.path}: {name} returned {vote!r} on row {n + 1} of {data}: return "
                    f"one of {', '.join(functions.labels)}, or None."
                )
            x[n, m] = number[str(vote)]
    label = torch.tensor([_read_label(row, n, data, number) for n, row in enumerate(rows)])
    return Votes(
        x, tuple(functions.functions), None, label, functions.labels, data,
        texts=tuple(row["text"] for row in rows),
        expected=tuple(functions.expected.get(name) for name in functions.functions),
    )  # fmt: skip


def _read_label(row: Mapping[str, Any], n: int, data: str, number: Mapping[str, int]) -> int:
    given = row.get("label")
    if given is None:
        return -1
    if str(given) not in number:
        raise UserError(
            f"{data}, row {n + 1}: label {given!r} is not among LABELS, {', '.join(number)}: name "
            "it there, or mend the row."
        )
    return number[str(given)]


def read_rows(data: str) -> list[dict[str, Any]]:
    """Objects with a `text`, one a line."""
    try:
        lines = Path(data).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{data} cannot be read ({error}): give a .jsonl with one row a line."
        ) from error
    rows = []
    for n, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise UserError(
                f'{data}, line {n + 1} is no row: give {{"text": "…"}}, and "label" where it is '
                "known."
            )
        rows.append(row)
    if not rows:
        raise UserError(f"{data} has no rows: give one or more.")
    return rows


def split_votes(votes: Votes) -> dict[Split, Votes] | None:
    """Train, validation and test by what a row's text is; None where too few differ."""
    contents = [hashlib.sha256(text.encode()).hexdigest() for text in votes.texts]
    sides = divide(contents)
    if sides is None:
        return None
    side = torch.tensor([SPLITS.index(sides[content]) for content in contents])
    return {split: votes.take(side == number) for number, split in enumerate(SPLITS)}
