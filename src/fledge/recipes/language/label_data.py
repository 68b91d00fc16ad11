"""Rows that an encoder learns to label, in their parts: read, divided by what they are of, and as
ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.evaluate.labels import order_labels
from fledge.recipes.language.label_fields import EncoderTuneConfig
from fledge.recipes.language.rows import tell
from fledge.rows.census import Census
from fledge.rows.labels import (
    LabelledText,
    LabelRow,
    LabelTask,
    Likeness,
    TaggedWords,
    content_of,
    read_of,
)
from fledge.runs.show import Show
from fledge.sample.label_examples import Example, ExampleMaker, make_examples
from fledge.splits import HELD_OUT, SPLITS, HeldOut, Split, divide, prompt_key, say_few
from fledge.text.frames import Frame
from fledge.text.labelled_files import read_labelled
from fledge.text.tokenizer import Tokenizer

FEWEST = 8  # rows that are worth learning from
MOST_NAMED = 5  # labels that a sentence lists


@dataclass(frozen=True)
class LabelData:
    """Examples by part; the labels in their order, ("",) of choices, none of embeddings."""

    parts: Mapping[Split, Sequence[Example[Any]]]
    labels: tuple[str, ...]
    censuses: Sequence[Census]

    @property
    def held_out(self) -> dict[HeldOut, Sequence[Example[Any]]]:
        return {"validation": self.parts["validation"], "test": self.parts["test"]}


def read_label_data(
    config: EncoderTuneConfig,
    task: LabelTask,
    tokenizer: Tokenizer,
    context: int,
    show: Show,
    labels: Sequence[str] = (),
    frame: Frame | None = None,
) -> LabelData:
    """All parts. labels: in their order, where they were given. frame: of a decoder. Raises
    UserError for a file that cannot be read or learned from, and for labels that the training rows
    have and the order has not.
    """
    whole: dict[Split, list[LabelRow]] = {}
    censuses: dict[Split, list[Census]] = {}
    for part, path in _list_files(config):
        whole[part], censuses[part] = read_labelled(path, task, config.reading)
    rows = _divide(config, whole, show)
    if len(rows["train"]) < FEWEST:
        raise UserError(
            f"{config.data} has {len(rows['train'])} rows to learn from: {FEWEST} or more are "
            "needed."
        )
    if task == "embed":
        _check_scores(rows, config.data)
    order = choose_labels(task, rows["train"], labels, config.data)
    parts: dict[Split, Sequence[Example[Any]]] = {}
    for part in SPLITS:
        parts[part] = make_examples(
            rows[part], ExampleMaker(tokenizer, order, context, censuses["train"][0], frame)
        )
        if part != "train" and order:
            _tell_unseen(rows[part], order, part, show)
    read = list(chain.from_iterable(censuses.values()))
    tell(read, show)
    return LabelData(parts, order, read)


def _list_files(config: EncoderTuneConfig) -> Iterator[tuple[Split, Path]]:
    """The parts that have a file."""
    yield "train", config.data
    if config.validation is not None:
        yield "validation", config.validation
    if config.test is not None:
        yield "test", config.test


def _divide(
    config: EncoderTuneConfig, read: Mapping[Split, list[LabelRow]], show: Show
) -> dict[Split, list[LabelRow]]:
    """Files that were given are their parts, whole; a part without one is held out of data, by what
    its rows are of. What is held out is not trained on, though it stands in both files.
    """
    keys = [prompt_key(content_of(row)) for row in read["train"]]
    open_: list[HeldOut] = [part for part in HELD_OUT if part not in read]
    sides = divide(keys) if open_ else {}
    if sides is None and len(open_) == 1:
        other = next(part for part in SPLITS[1:] if part not in open_)
        raise UserError(
            f"{config.data} has too few different texts to hold some out for the {open_[0]} part: "
            f"give {open_[0]}=FILE beside {other}=."
        )
    if sides is None:
        show.line(
            f"{config.data}: its rows are of {len(set(keys))} different texts, too few to hold "
            "some out, so what is learned is not measured."
        )
        open_, sides = [], {}
    elsewhere = {read_of(row) for part in SPLITS[1:] for row in read.get(part, [])}
    parts: dict[Split, list[LabelRow]] = {part: list(read.get(part, [])) for part in SPLITS[1:]}
    parts["train"] = []
    twice = 0
    for row, key in zip(read["train"], keys, strict=True):
        side = sides.get(key, "train")
        if read_of(row) in elsewhere:
            twice += 1
        elif side in open_:
            parts[side].append(row)
        else:
            parts["train"].append(row)
    if twice:
        show.line(
            f"{twice} rows of {config.data} stand in a held-out file too, and are not trained on."
        )
    if open_:
        few = say_few(str(config.data), {part: len(parts[part]) for part in open_})
        if few:
            show.line(few)
    return parts


def choose_labels(
    task: LabelTask, rows: Sequence[LabelRow], given: Sequence[str], data: Path
) -> tuple[str, ...]:
    """Those of the training rows, sorted, or in the order that was given. Raises UserError for one
    that the order leaves out, and where there are fewer than two.
    """
    if task == "choose":
        return ("",)
    if task == "embed":
        return ()
    seen = count_labels(rows)
    if len(set(given)) != len(given):
        raise UserError(f"labels={','.join(given)} has one label twice: give each once.")
    left_out = sorted(seen.keys() - set(given)) if given else []
    if left_out:
        raise UserError(
            f"{data} has the label {_list_some(left_out)}, which labels= does not name: add it, or "
            "leave labels out to take all that there are."
        )
    if len(seen) < 2:
        raise UserError(
            f"all rows of {data} have the label {', '.join(seen)}: give rows of two labels or more."
        )
    return tuple(given) or order_labels(seen)


def count_labels(rows: Sequence[LabelRow]) -> Counter[str]:
    """How often each label, or tag, stands in rows."""
    seen: Counter[str] = Counter()
    for row in rows:
        if isinstance(row, LabelledText):
            seen[row.label] += 1
        elif isinstance(row, TaggedWords):
            seen.update(row.tags)
    return seen


def _tell_unseen(rows: Sequence[LabelRow], labels: Sequence[str], part: str, show: Show) -> None:
    """A line where held-out rows have labels that no training row has."""
    unseen = {label: n for label, n in count_labels(rows).items() if label not in labels}
    if unseen:
        show.line(
            f"{sum(unseen.values())} of the {part} part are labelled {_list_some(sorted(unseen))}, "
            "which no training row is: such an answer is never right."
        )


def _check_scores(rows: Mapping[Split, Sequence[LabelRow]], data: Path) -> None:
    """Raises UserError for degrees of likeness to learn from, since the loss knows partners alone,
    and where they are in one held-out part and not in all of both.
    """
    scored = {
        part: [isinstance(row, Likeness) and row.score is not None for row in rows[part]]
        for part in SPLITS
    }
    if any(scored["train"]):
        raise UserError(
            f"{data} has rows with a `score`, and rows to learn from are two texts that mean the "
            "same: take the others out, or give the file as validation= and test=."
        )
    held_out = [*scored["validation"], *scored["test"]]
    if any(held_out) and not all(held_out):
        raise UserError(
            "some held-out rows have a `score` and some have none: give files with scores as both "
            "validation= and test=, or as neither."
        )
    for part in HELD_OUT:
        scores = {row.score for row in rows[part] if isinstance(row, Likeness)}
        if any(held_out) and len(scores) < 2:
            raise UserError(
                f"all rows of the {part} part have the same `score`, which orders nothing: give a "
                "file of several."
            )


def _list_some(names: Sequence[str]) -> str:
    some = ", ".join(names[:MOST_NAMED])
    return some if len(names) <= MOST_NAMED else f"{some} and {len(names) - MOST_NAMED} more"
