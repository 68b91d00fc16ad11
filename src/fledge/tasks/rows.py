"""Examples in a file's order, by the split of their prompts, dealt out in shuffled passes.

Rows are finite, so a task made of them cycles: each pass over a split visits every row once, in an
order that depends on the seed and the number of the pass. A row is held out by a hash of its
prompt, so the split does not move when rows are added; where there are too few to split, all serve
for training and for testing, and `note` says so.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from fledge.rows.census import Census, Unusable
from fledge.splits import (
    FEWEST_TO_SPLIT,
    HELD_OUT,
    SPLITS,
    HeldOut,
    Split,
    checked,
    digest_of,
    divide,
    prompt_key,
    say_few,
    split_of_digest,
)
from fledge.tasks.examples import Example, draw_integer

Admit = Callable[[Example], None]  # raises Unusable for an example that its user has no use for
Entry = TypeVar("Entry")


@dataclass
class ExampleRows:
    """`places` are those of each split's examples, which may be read only when they are asked
    for. name: of what they are from, as it was given.
    """

    name: str
    examples: Sequence[Example]
    places: Mapping[Split, Sequence[int] | np.ndarray]
    note: str | None
    seed: int
    censuses: Sequence[Census]  # of the files that the examples are from
    _orders: dict[tuple[Split, int], np.ndarray] = field(default_factory=dict, repr=False)

    def count(self, split: Split) -> int:
        return len(self.places[split])

    def at(self, index: int, split: Split) -> Example:
        """Row `index % n` of pass `index // n`."""
        places = self.places[checked(split)]
        turn, place = divmod(index, len(places))
        if (split, turn) not in self._orders:
            # Raw Philox words: their stream is fixed, whereas numpy may change how it shuffles from
            # version to version.
            words = np.random.Philox(
                key=draw_integer(f"{self.seed} rows {split} {turn}", 64) % 2**128
            ).random_raw(len(places))
            # one pass of each split is enough
            self._orders = {k: v for k, v in self._orders.items() if k[0] != split}
            self._orders[split, turn] = np.argsort(words, kind="stable")
        return self.examples[int(places[self._orders[split, turn][place]])]


class OfRows:
    """What every task made of rows says of its examples."""

    rows: ExampleRows

    @property
    def note(self) -> str | None:
        held_out: dict[HeldOut, int] = {part: self.rows.count(part) for part in HELD_OUT}
        return self.rows.note or say_few(self.rows.name, held_out)

    @property
    def holds_out(self) -> bool:
        return self.rows.note is None

    def example(self, index: int, split: Split) -> Example:
        return self.rows.at(index, split)


class PromptSides:
    """The side of each prompt, in the order they come: nine bytes a row, whatever its length."""

    def __init__(self) -> None:
        self._sides, self._digests = bytearray(), array("Q")

    def append(self, prompt: str) -> None:
        digest = digest_of(prompt_key(prompt))
        self._sides.append(SPLITS.index(split_of_digest(digest)))
        self._digests.append(int.from_bytes(digest[:8], "big"))

    def deal(
        self, name: str, examples: Sequence[Example], seed: int, censuses: Sequence[Census]
    ) -> ExampleRows:
        """The rows of the task `name`. examples: those of the prompts, in their order."""
        # Of 2⁶⁴ digests two of a million prompts are the same once in 40 million files.
        different = len(np.unique(np.frombuffer(self._digests, dtype=np.uint64)))
        if different < FEWEST_TO_SPLIT:
            note = (
                f"{name} has only {different} different prompts, so all are used for training and "
                "for testing, and its test score says nothing about new prompts (give "
                f"{FEWEST_TO_SPLIT} or more to hold some out)."
            )
            every: Mapping[Split, Sequence[int]] = dict.fromkeys(SPLITS, range(len(examples)))
            return ExampleRows(name, examples, every, note, seed, censuses)
        sides = np.frombuffer(self._sides, dtype=np.uint8)  # [N]
        if len(np.unique(sides)) < len(SPLITS):  # of few prompts, which may all be held at once
            moved = divide(prompt_key(each.prompt) for each in examples)
            assert moved is not None
            named = (moved[prompt_key(each.prompt)] for each in examples)
            sides = np.fromiter((SPLITS.index(side) for side in named), np.uint8, len(examples))
        places: dict[Split, Sequence[int] | np.ndarray] = {
            split: np.flatnonzero(sides == i) for i, split in enumerate(SPLITS)
        }
        return ExampleRows(name, examples, places, None, seed, censuses)


def list_usable(
    census: Census, entries: Iterable[tuple[int, Entry]], make: Callable[[Entry, int], Example]
) -> Iterator[tuple[Entry, Example]]:
    """Each of the numbered entries that can be used, with its example; the others are counted.

    Raises UserError at the end if there are any of these and they are not to be skipped, or if
    there is none but these.
    """
    for number, entry in entries:
        census.read += 1
        try:
            example = make(entry, number)
        except Unusable as fault:
            census.leave_out(fault.reason, number)
            continue
        yield entry, example
    census.settle()
