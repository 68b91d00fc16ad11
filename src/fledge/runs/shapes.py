"""The shapes of the JSON files in a run folder: what is promised of each. Names beyond these are
kept as they are.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, PlainValidator, with_config
from typing_extensions import TypedDict

_OPEN = ConfigDict(extra="allow")


def _text(value: Any) -> str:
    # Pydantic's own `str` refuses half of a surrogate pair, which a file name that is not UTF-8
    # gives a command line.
    if not isinstance(value, str):
        raise ValueError("should be text")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("should be an object")
    return value


def _place(value: Any) -> str:
    if "\0" in _text(value):
        raise ValueError("should be a path, which has no zero byte")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise ValueError("should be a path, which has no half of a surrogate pair") from None
    return value


def _moment(value: Any) -> str:
    try:
        zoned = datetime.fromisoformat(_text(value)).tzinfo is not None
    except ValueError:
        zoned = False
    if not zoned:
        raise ValueError("should be a time with its zone, such as 2026-01-31T12:00:00+00:00")
    return value


Text = Annotated[str, PlainValidator(_text)]
Object = Annotated[dict[str, Any], PlainValidator(_object)]
PathText = Annotated[str, PlainValidator(_place)]
Moment = Annotated[str, PlainValidator(_moment)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Threads = Annotated[int, Field(ge=1, le=2**16)]
_Positive = Annotated[int, Field(ge=1, lt=2**63)]
ThreadChange = Annotated[list[_Positive], Field(min_length=2, max_length=2)]
Amount = Annotated[int | float, Field(ge=0, le=1e18)]


@with_config(_OPEN)
class VerbRecord(TypedDict):
    """What tells a run's config.json from a model's."""

    verb: Text


@with_config(_OPEN)
class Written(VerbRecord):
    """config.json."""

    config: NotRequired[Object]


@with_config(_OPEN)
class Parent(TypedDict):
    """One of lineage.json's `parents`; `path` from the run's own folder."""

    path: PathText
    verb: NotRequired[Text | None]
    model_sha256: NotRequired[Text | None]


@with_config(_OPEN)
class Data(TypedDict):
    """One of lineage.json's `data`: a file, or the prose of a Python."""

    path: Text
    bytes: NotRequired[Count]
    sha256: NotRequired[Text]
    python: NotRequired[Text]


@with_config(_OPEN)
class ModelGiven(TypedDict):
    """One of lineage.json's `inputs`: a run or model folder by the name it was given, and the
    hashes of its files.

    initial: the run begins from its weights, and reads them no more once it has a checkpoint.
    """

    model: PathText
    files: dict[str, Text]
    initial: NotRequired[bool]


@with_config(_OPEN)
class DataGiven(TypedDict):
    """One of lineage.json's `inputs`: a name, and how many of the entries of `data` are its files.

    copied: what is behind it was taken into the run's shards/ when it began, and is read no more.
    """

    data: PathText
    files: Count
    copied: NotRequired[bool]


@with_config(_OPEN)
class Lineage(TypedDict, total=False):
    """lineage.json, as `runs.lineage.describe` makes it."""

    id: Text
    started_in: PathText
    threads: Threads
    inputs: list[ModelGiven | DataGiven]
    accepted: list[Object]
    not_read: list[Object]
    verb: Text
    command: Text
    seed: int
    started: Moment
    parents: list[Parent]
    data: list[Data]
    fledge: Text | None
    torch: Text | None
    python: Text
    platform: Text
    git_commit: Text


@with_config(_OPEN)
class StageRecord(TypedDict, total=False):
    """One of the stages of a road, in its summary.json."""

    name: Text
    run: Text
    seconds: Amount
    before: Object | None
    after: Object | None


def _compared(value: Any) -> dict[str, Any]:
    """Each algorithm's four curves, of one length."""
    for name, one in _object(value).items():
        curves = [_object(one).get(part) for part in ("world_steps", "return", "low", "high")]
        lengths = {len(curve) for curve in curves if isinstance(curve, list)}
        numbers = all(
            isinstance(point, int | float) and not isinstance(point, bool)
            for curve in curves
            for point in (curve if isinstance(curve, list) else [None])
        )
        if not numbers or len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                f"should hold `world_steps`, `return`, `low` and `high` of {name!r}, of one length"
            )
    return value


@with_config(_OPEN)
class SummaryRecord(TypedDict, total=False):
    """summary.json: what the run came to."""

    before: Object | None
    after: Object | None
    stages: list[StageRecord]
    compared: Annotated[dict[str, Any], PlainValidator(_compared)]


@with_config(_OPEN)
class FiguresRecord(TypedDict, total=False):
    """A row of metrics.jsonl or samples.jsonl."""

    step: Count | None
    world_steps: Amount


Seconds = dict[str, Amount | list[Amount] | None]
"""A row of timings.jsonl. A list holds a number for each rank."""


@with_config(_OPEN)
class Machine(TypedDict):
    """machine.json: how the run computes, as it was measured at its beginning.

    threads: of the first step. thread_changes: the steps from which on there are others, each with
    how many.
    """

    precision: Literal["fp32", "bf16"]
    compile: bool
    threads: NotRequired[Threads]
    thread_changes: NotRequired[list[ThreadChange]]


@with_config(_OPEN)
class FileRecord(TypedDict):
    """A file of a checkpoint, in its manifest.json."""

    bytes: Count
    sha256: Text


@with_config(_OPEN)
class Manifest(TypedDict):
    """manifest.json of a checkpoint; `score`: higher is better; `run`: the `id` in the lineage of
    the run that made it.
    """

    files: dict[str, FileRecord]
    score: NotRequired[float | None]
    run: NotRequired[Text | None]
