"""An algorithm in a file of the user's: found by FILE.py:Class, with its `Settings`, and what it
leaves out added.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ValidationError, create_model
from pydantic_core import PydanticSerializationError

from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.learner import Learner
from fledge.score.scoring import kl_to
from fledge.user_code import call, load_module


@dataclass(frozen=True)
class OwnClass:
    """A class of the user's, where it stands, and its settings with their defaults."""

    kind: Any
    path: Path
    settings: AlgorithmSettings

    def build(self, *parts: Any, settings: AlgorithmSettings, **named: Any) -> Any:
        """Class(*parts), with those of the keywords that it takes, `settings` as its own class has
        them.

        Raises UserError for what goes wrong in it.
        """

        def make() -> Any:
            given = named | {"settings": write_settings(kind, settings)}
            accepted = inspect.signature(kind).parameters
            return kind(*parts, **{name: each for name, each in given.items() if name in accepted})

        # Run anew, after the generators that a process shares were seeded: what the file draws, and
        # what it keeps, belongs to this run alone.
        kind = getattr(load_module(self.path), self.kind.__name__)
        return call(self.path, self.kind.__name__, make, "while it was made")


def find_own_algorithm(name: str) -> OwnClass:
    """FILE.py:Class; the file runs once, and again when it was changed. Raises UserError for a file
    or a class that is not there, and for what goes wrong in it.
    """
    file, _, wanted = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UserError(
            f"there is no file {path}: give algorithm=FILE.py:Class for one of your own."
        )
    return _load(path, wanted, path.resolve(), path.stat().st_mtime_ns)


@cache
def _load(path: Path, wanted: str, place: Path, written: int) -> OwnClass:
    module = load_module(path)
    kind: Any = getattr(module, wanted, None)
    if not can_learn(kind):
        classes = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__ and can_learn(value)
        ]
        raise UserError(
            f"{path} has no class {wanted} with update(batch), or loss(x) of pictures"
            + (f": it has {', '.join(classes)}." if classes else ".")
        )
    return OwnClass(kind, path, read_settings(path, kind))


def can_learn(kind: Any) -> bool:
    """By its own update(batch), or as a model of pictures by its loss(x)."""
    return any(callable(getattr(kind, name, None)) for name in ("update", "loss"))


def read_settings(path: Path, kind: Any) -> AlgorithmSettings:
    """The defaults of a class's `Settings`: a dataclass, or AlgorithmSettings with bounds and help;
    none where it has none.

    Raises UserError for anything else, and for a field without a default.
    """
    own = getattr(kind, "Settings", None)
    if own is None:
        return AlgorithmSettings()
    return call(path, f"{kind.__name__}.Settings", lambda: _read(path, kind, own), "as it was read")


def _read(path: Path, kind: Any, own: Any) -> AlgorithmSettings:
    where = f"{path}: {kind.__name__}.Settings"
    if inspect.isclass(own) and issubclass(own, AlgorithmSettings):
        model: type[AlgorithmSettings] = own
    elif dataclasses.is_dataclass(own):
        hints = get_type_hints(own)
        for name in hints:
            if hasattr(AlgorithmSettings, name):
                raise UserError(f"{where}: the name `{name}` is taken: give it another.")
        fields: dict[str, Any] = {
            field.name: (hints[field.name], _default_of(field))
            for field in dataclasses.fields(own)
            if field.init
        }
        model = create_model(f"{kind.__name__}Settings", __base__=AlgorithmSettings, **fields)
    else:
        raise UserError(f"{where} is no dataclass: write @dataclass(frozen=True) above it.")
    try:
        settings = model()
        settings.model_dump(mode="json")
        return settings
    except PydanticSerializationError as error:
        raise UserError(
            f"{where} holds what no JSON can ({error}): a run keeps its settings as numbers, texts "
            "and lists of them."
        ) from error
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UserError(
            f"{where}: {'.'.join(map(str, wrong['loc']))}: {wrong['msg'].lower()}. Every setting "
            "needs a default."
        ) from error


def write_settings(kind: Any, settings: AlgorithmSettings) -> Any:
    """An instance of the class's own `Settings`, where it has one."""
    own = getattr(kind, "Settings", None)
    return settings if own is None else own(**dict(settings))


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return ... if field.default_factory is dataclasses.MISSING else field.default_factory()


class Own:
    """A user's algorithm in a run: what it leaves out (the KL to the base, its state) is added."""

    unfinished = None  # it makes one step, or all of them, between two saves

    def __init__(
        self, algorithm: Any, learner: Learner, path: Path, reference: Any = None, kl: Any = None
    ) -> None:
        """reference, kl: in texts, where the distance from the base is a figure of every step."""
        self.algorithm, self.learner, self.path = algorithm, learner, path
        self.reference, self.kl = reference, kl

    def update(
        self, batch: Any, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        batch = batch.to(self.learner.device)
        distance = {}
        if self.reference is not None:
            distance = kl_to(self.reference, batch, self.learner)[1]
        figures = call(self.path, "update", self.algorithm.update, "on a batch of samples", batch)
        if not isinstance(figures, Mapping):
            given = type(figures).__name__
            raise UserError(
                f"{self.path}: update(batch) returned {given}: return a dict of figures, as "
                "learner.step does."
            )

        def plain() -> dict[str, float]:
            return {str(name): float(value) for name, value in figures.items()}

        return distance | call(self.path, "update", plain, "as its figures were read")

    def state_dict(self) -> dict[str, Any]:
        keeps = getattr(self.algorithm, "state_dict", None)
        own = call(self.path, "state_dict", keeps, "as it was saved") if keeps else None
        kl = None if self.kl is None else self.kl.state_dict()
        return {"learner": self.learner.state_dict(), "kl": kl, "own": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        if self.kl is not None:
            self.kl.load_state_dict(state["kl"])
        if state["own"] is not None:
            load = self.algorithm.load_state_dict
            call(self.path, "load_state_dict", load, "as the run was continued", state["own"])
