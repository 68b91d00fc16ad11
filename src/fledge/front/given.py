"""What is given in Python in place of a file: written by its content where the run will lie, so
that lineage, resume and hashes hold as for any file.

    rows, a list of dicts               given/data-HASH.jsonl
    texts, a list of strings            given/data-HASH/texts.jsonl, a folder of running text
    points, an array or a DataFrame     given/data-HASH.npy or .csv
    pictures, an array                  given/data-HASH.safetensors
    prompts with a function             given/prompts-HASH.jsonl, and a `GivenTask`
    a model that its folder differs from, a tokenizer      given/base-HASH/, given/tokenizer-HASH/
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.front.encoder_model import EncoderModel
from fledge.front.model import Model
from fledge.front.points import encode_pictures, encode_points
from fledge.front.reward_model import RewardModel
from fledge.front.trained_run import TrainedRun
from fledge.runs.atomic import sha256, write_bytes
from fledge.runs.folder import is_run
from fledge.runs.place import GIVEN, free_folder, given_folder
from fledge.tasks.given import GivenTask
from fledge.text.tokenizer import Tokenizer

OF_ROWS = ("tune", "reward", "prefer")  # learn from rows, never from running text


@dataclass(frozen=True)
class Task:
    """Prompts and a function that judges what is said to them: for `task=` of any verb.

    prompts: strings, or dicts with `prompt` and perhaps `answer`; or a .jsonl of such. reward:
    (prompt, completion), and `answer` if it has a parameter of that name, -> a finite number, or a
    pair of it and whether the completion is right (without one: from a score of 1 on).
    """

    prompts: Iterable[str | Mapping[str, Any]] | str | Path
    reward: Callable[..., Any]


class GivenFolder:
    """Where what is given in one call is written: the folder of the run to be, made when the first
    of it is; `out` is that folder then.
    """

    def __init__(self, verb: str, out: Any) -> None:
        self.verb, self.out = verb, out
        self.made_folder = False
        self.folder: Path | None = None
        self.written: dict[str, str] = {}  # path: what it stands for
        self.new: list[Path] = []  # of them those that were not there

    def settle(self, field: str, value: Any) -> Any:
        """The value with which a recipe is asked. Raises UserError for what cannot be written."""
        if field == "base" and isinstance(value, list | tuple):
            return tuple(self.settle(field, each) for each in value)
        if isinstance(value, TrainedRun | RewardModel):
            return str(value.folder)
        if isinstance(value, Model | EncoderModel):
            return str(value.folder if value.is_as_saved() else self._keep(field, value.save))
        if isinstance(value, Tokenizer):
            return str(self._keep(field, value.save))
        if isinstance(value, Task):
            return GivenTask(self._prompts(value.prompts), value.reward)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if self.verb == "fit" and field == "data" and not isinstance(value, str):
            return str(self._write(field, *encode_points(value)))
        pictures = self.verb == "imagine" and field == "data" and not isinstance(value, str)
        if pictures and not is_texts(value):
            return str(self._write(field, *encode_pictures(value)))
        if field in ("data", "task") and value is not None and not isinstance(value, str):
            return str(self._rows(field, value))
        return value

    def take_back(self) -> None:
        """Remove what was written, where no run came of it."""
        if self.folder is None or is_run(self.folder):
            return
        for path in self.new:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(True)
        with suppress(OSError):  # not empty: what is in it is not of this call
            (self.folder / GIVEN).rmdir()
            if self.made_folder:
                self.folder.rmdir()

    def name_plainly(self, sentence: str) -> str:
        """A mistake in something given, said of that and not of its copy."""
        for path, what in self.written.items():
            sentence = sentence.replace(path, what)
        return sentence

    def _prompts(self, prompts: Any) -> Path:
        if isinstance(prompts, str | os.PathLike):
            return Path(prompts)
        rows = [{"prompt": each} if isinstance(each, str) else each for each in prompts]
        return self._rows("prompts", rows)

    def _rows(self, field: str, value: Any) -> Path:
        """A .jsonl of dicts, or a folder with one of texts."""
        rows = value.to_dict("records") if hasattr(value, "iterrows") else value
        if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
            raise UserError(
                f"{field}={type(value).__name__} was given: give a list of rows (dicts), or the "
                "name of a file."
            )
        rows = list(rows)
        if not rows:
            raise UserError(f"{field} is an empty list: give one row or more.")
        if not all(isinstance(row, str) for row in rows):
            return self._write(field, encode_rows(field, rows), ".jsonl")
        if self.verb in OF_ROWS or field == "task":
            raise UserError(
                f"{field} is a list of strings, and {self.verb} learns from rows: give dicts, such "
                'as {"prompt": "…", "completion": "…"}.'
            )
        content = encode_rows(field, [{"text": text} for text in rows])
        return self._write(field, content, "", "texts.jsonl")

    def _write(self, field: str, content: bytes, suffix: str, inside: str = "") -> Path:
        name = f"{field}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
        path = self._make() / name
        self._note(path, f"the given {field}")
        file = path / inside if inside else path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            write_bytes(file, content)
        return path

    def _keep(self, field: str, save: Callable[[Path], object]) -> Path:
        """What writes itself into a folder, under a name by its content."""
        beside = self._make() / f".{field}.{os.getpid()}.partial"
        save(beside)
        digest = hashlib.sha256()
        for file in sorted(beside.iterdir()):
            digest.update(f"{file.name} {sha256(file)}\n".encode())
        path = self._make() / f"{field}-{digest.hexdigest()[:12]}"
        self._note(path, f"the given {field}")
        if path.exists():
            shutil.rmtree(beside)
        else:
            beside.rename(path)
        return path

    def _note(self, path: Path, what: str) -> None:
        self.written[str(path)] = what
        if not path.exists():
            self.new.append(path)

    def _make(self) -> Path:
        """The folder of the run, and in it the one for what is given."""
        if self.folder is None:
            if self.out is None:
                self.folder, self.made_folder = free_folder(self.verb), True
            else:
                self.folder = Path(self.out)
                self.made_folder = given_folder(self.folder)
            self.out = self.folder
        inside = self.folder / GIVEN
        inside.mkdir(exist_ok=True)
        return inside


def is_texts(value: Any) -> bool:
    """Whether it is a list of strings, one or more."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(each, str) for each in value)
    )


def encode_rows(field: str, rows: list[Any]) -> bytes:
    """A JSON object a line. Raises UserError, with the row's number, for one that is no dict of
    what JSON knows.
    """
    lines = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise UserError(
                f"row {number} of {field} is of type {type(row).__name__}: give dicts, or strings, "
                "all of one kind."
            )
        try:
            lines.append(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n")
        except (TypeError, ValueError) as error:
            raise UserError(
                f"row {number} of {field} holds what JSON cannot ({error}): give text, numbers, "
                "lists and dicts."
            ) from None
    try:
        return "".join(lines).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{field} holds half of a surrogate pair, which is no character "
            f"({error.object[error.start]!r}): repair or remove it."
        ) from None


def name_class(algorithm: type) -> str:
    """FILE.py:Class, as a run finds an algorithm again. Raises UserError for a class of no file."""
    try:
        file = inspect.getsourcefile(algorithm)
    except (OSError, TypeError):
        file = None
    if file is None or not Path(file).is_file() or "." in algorithm.__qualname__:
        raise UserError(
            f"algorithm={algorithm.__qualname__} is a class that stands in no file of its own, and "
            "a run could not be resumed: write it into one, at the top level, and give "
            "algorithm='./FILE.py:CLASS'."
        )
    return f"{os.path.relpath(file)}:{algorithm.__qualname__}"
