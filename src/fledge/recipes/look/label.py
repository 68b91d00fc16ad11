"""`fledge label`: what an encoder that was taught to label says of a text, or of the rows of a
file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field
from torch import Tensor

from fledge.errors import UserError
from fledge.evaluate.labelling import mark_words, score_rows
from fledge.hub.folder import Loaded, load_labeller
from fledge.recipes.constraint_fields import Texts
from fledge.recipes.family_field import FamilyField
from fledge.recipes.language.label_task import find_frame, find_task
from fledge.recipes.language.rows import ReadingFields, tell
from fledge.rows.census import Census, Reading
from fledge.rows.entities import name_entities
from fledge.rows.labels import (
    UNKNOWN,
    Choices,
    LabelledText,
    LabelRow,
    LabelTask,
    TaggedWords,
    spell_row,
)
from fledge.runs.atomic import write_text
from fledge.runs.show import Show
from fledge.sample.label_examples import Example, ExampleMaker, make_examples, name_words
from fledge.text.labelled_files import read_labelled

SHOWN = 3  # labels of a text, the likeliest
_WORD = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")


class LabelConfig(FamilyField, ReadingFields):
    """Ask an encoder for labels: of a text or a pair with how likely they are, of each word, or
    which of several choices is right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(description="the run or model folder that labels")
    text: str | None = Field(default=None, description="what is to be labelled; the question")
    second: str | None = Field(default=None, description="the second text of a pair")
    choices: Texts | None = Field(default=None, description='["red", "blue"], of the question')
    data: Path | None = Field(
        default=None,
        description="in place of text: rows as `fledge tune` reads them, of one file or "
        "of all that 'rows-*.jsonl' fits",
    )
    out: Path | None = Field(
        default=None, description="a .jsonl for what is said of the rows; by default it is shown"
    )


def label(config: LabelConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a model that labels nothing, and for what it cannot read."""
    if (config.text is None) == (config.data is None):
        raise UserError("label needs either text=… or data=FILE: give one of them.")
    config.use_family()
    model = load_labeller(config.run)
    task = find_task(model, config.run)
    if config.data is not None:
        reading = replace(config.reading, truncate="right")
        rows, censuses = read_labelled(config.data, task, reading, labelled=False)
    else:
        row = make_row(task, config.text or "", config.second, config.choices)
        rows, censuses = [row], [Census("text=", Reading(truncate="right"))]
    answers = label_rows(model, task, rows, censuses[0])
    tell(censuses, show)
    if config.out is not None:
        lines = (json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
        write_text(config.out, "".join(lines))
        show.line(f"{len(answers)} rows, labelled → {config.out}")
        return {"run": str(config.run), "task": task, "rows": len(answers), "out": str(config.out)}
    for answer in answers:
        show.line(spell_answer(answer, task))
    return {"run": str(config.run), "task": task, "answers": answers}


def label_rows(
    model: Loaded, task: LabelTask, rows: Sequence[LabelRow], census: Census
) -> list[dict[str, Any]]:
    """What is said of each row. Raises UserError for rows that cannot be used."""
    network = model.network
    census.read = max(census.read, len(rows))
    maker = ExampleMaker(
        model.tokenizer, network.config.labels, network.config.context, census, find_frame(model)
    )
    examples = make_examples(rows, maker)
    scores = score_rows(network, examples, task)
    return [
        describe_answer(example, row, network.config.labels)
        for example, row in zip(examples, scores, strict=True)
    ]


def make_row(
    task: LabelTask, text: str, second: str | None = None, choices: Sequence[str] | None = None
) -> LabelRow:
    """Of what a person gives. Raises UserError for what this task does not read."""
    wanted = {"pair": "second", "choose": "choices"}.get(task)
    for name, given in (("second", second), ("choices", choices)):
        if (given is not None) != (name == wanted):
            raise UserError(
                f"this model labels by task={task}, which has {'no' if given else 'a'} {name}=: "
                f"{'leave it out' if given else 'give it too'}."
            )
    if not text.strip():
        raise UserError("text= is empty: give what is to be labelled.")
    if task == "tag":
        words = tuple(_WORD.findall(text))
        return TaggedWords(words, (UNKNOWN,) * len(words))
    if choices is not None:
        if len(set(choices)) < 2:
            raise UserError('choices= needs two or more that differ, such as ["red", "blue"].')
        return Choices(text, tuple(choices), -1)
    return LabelledText((text,) if second is None else (text, second), UNKNOWN)


def describe_answer(example: Example[Any], scores: Tensor, labels: Sequence[str]) -> dict[str, Any]:
    """What was read, what it is labelled and how likely; `true`: what the row itself says."""
    row: LabelRow = example.row
    chance = scores.softmax(-1)
    if isinstance(row, TaggedWords):
        said = name_words(example, scores.argmax(-1).tolist(), labels)
        sure = [
            0.0 if place is None else round(float(chance[place].max()), 6)
            for place in example.places
        ]
        marked = mark_words(row.words, said, entities=name_entities(labels))
        true = {} if UNKNOWN in row.tags else {"true": list(row.tags)}
        return {
            "words": list(row.words), "tags": said, "chance": sure, "marked": marked, **true,
        }  # fmt: skip
    names = row.choices if isinstance(row, Choices) else labels
    chances = {name: round(p, 6) for name, p in zip(names, chance.tolist(), strict=True)}
    said = {"text": spell_row(row), "label": max(chances, key=chances.__getitem__)}
    own = row.label if isinstance(row, LabelledText) else None
    if isinstance(row, Choices) and row.answer >= 0:
        own = row.choices[row.answer]
    return {**said, "chance": chances, **({"true": own} if own else {})}


def spell_answer(answer: dict[str, Any], task: LabelTask) -> str:
    """A line for a person."""
    if task == "tag":
        return answer["marked"]
    likeliest = sorted(answer["chance"].items(), key=lambda pair: -pair[1])[:SHOWN]
    said = ", ".join(f"{name} {chance:.1%}" for name, chance in likeliest)
    true = answer.get("true")
    wrong = f" (it is {true})" if true not in (None, answer["label"]) else ""
    text = answer["text"].splitlines()[0]
    return f"{said}{wrong}: {text if len(text) <= 80 else text[:79] + '…'}"
