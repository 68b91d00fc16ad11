"""Rows of a file by the split of the prompt they answer: what is held out, and whether anything
is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from fledge.splits import FEWEST_TO_SPLIT, SPLITS, HeldOut, Split, divide, place_of, prompt_key
from fledge.text.packed import PackedAnswers, PackedPairs, PackedRows, TokenRow
from fledge.text.tokenizer import Tokenizer

T = TypeVar("T")


@dataclass(frozen=True)
class Divided(Generic[T]):
    """Rows to learn from, rows that steer, rows for the end; a row held out stands there once,
    however often it came.

    note: what the user should be told where nothing is held out; then validation and test are
        empty.
    """

    train: Sequence[T]
    validation: Sequence[T]
    test: Sequence[T]
    note: str | None = None

    @property
    def held_out(self) -> dict[HeldOut, Sequence[T]]:
        return {"validation": self.validation, "test": self.test}


def divide_rows(
    rows: Sequence[T],
    ids: Callable[[T], Sequence[Sequence[int]]],
    tokenizer: Tokenizer,
    kind: Callable[[T], Hashable] = lambda row: None,
) -> Divided[T]:
    """Prompt by prompt: all answers to one prompt stand on its side, and each side has rows of
    every kind.

    ids: all that tells a row from others, as integers; the first sequence begins with the prompt's
        tokens.
    """
    keys = [key_of_opening(tokenizer, ids(row)[0]) for row in rows]
    sides = divide(keys)
    if sides is None or not spread_kinds(sides, keys, [kind(row) for row in rows]):
        prompts = "one prompt" if len(set(keys)) == 1 else f"{len(set(keys))} different prompts"
        why = (
            f"its rows answer {prompts}, too few to hold some out ({FEWEST_TO_SPLIT} are usually "
            "enough), so what is learned is not measured"
        )
        return Divided(rows, [], [], why)
    places: dict[Split, list[int]] = {split: [] for split in SPLITS}
    seen: set[tuple[tuple[int, ...], ...]] = set()
    for place, (row, key) in enumerate(zip(rows, keys, strict=True)):
        side = sides[key]
        if side != "train":
            content = tuple(tuple(map(int, each)) for each in ids(row))
            if content in seen:
                continue
            seen.add(content)
        places[side].append(place)
    train, validation, test = (take(rows, places[split]) for split in SPLITS)
    return Divided(train, validation, test)


def take(rows: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """The rows at these places; packed ones stay packed."""
    if isinstance(rows, PackedRows | PackedPairs | PackedAnswers):
        return cast(Sequence[T], rows.take(places))
    return [rows[place] for place in places]


def sort_by_length(rows: Sequence[TokenRow]) -> Sequence[TokenRow]:
    """The shortest first."""
    return take(rows, sorted(range(len(rows)), key=lambda place: len(rows[place][0])))


def spread_kinds(sides: dict[str, Split], keys: Sequence[str], kinds: Sequence[Hashable]) -> bool:
    """Move prompts out of training until each side has rows of every kind; False where there are
    not enough.
    """
    prompts = defaultdict(set)  # of each kind
    for key, kind in zip(keys, kinds, strict=True):
        prompts[kind].add(key)
    for wanted in prompts.values():
        for split in SPLITS[1:]:
            left = [key for key in wanted if sides[key] == "train"]
            if left and not any(sides[key] == split for key in wanted):
                sides[max(left, key=place_of)] = split
    return all({sides[key] for key in wanted} == set(SPLITS) for wanted in prompts.values())


def key_of_opening(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """What was said before the assistant first spoke: whatever grew from it stays together, and
    with it a task's prompt.
    """
    return prompt_key(tokenizer.decode(ids[: tokenizer.find_reply(ids)]))
