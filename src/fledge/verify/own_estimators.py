"""What a user's Python file brings to the table of `fledge verify`: its algorithms, and its
loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from pydantic.fields import FieldInfo
from torch import Tensor

from fledge.algorithms.own import read_settings, write_settings
from fledge.algorithms.settings import fields_of
from fledge.errors import Diverged, UserError
from fledge.fit import total
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.trajectories import Trajectories
from fledge.user_code import call, load_module
from fledge.verify.family import own_entries
from fledge.verify.laboratory import Hardware, Make
from fledge.verify.rows import TableRow

WANTED = "a class with update(batch), or a function loss(logp, batch) that returns a tensor [B, T]"


class OwnLoss:
    """One optimizer step along a loss per step of the user's own: summed over the chosen steps, a
    mean over rows.
    """

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Any,
        *,
        loss: Callable[[Tensor, Trajectories], Tensor],
    ) -> None:
        self.policy, self.learner, self.loss = policy, learner, loss

    def update(self, batch: Trajectories) -> dict[str, float]:
        rows = self.learner.count_rows(batch)

        def loss(part: Trajectories) -> tuple[Tensor, dict[str, Tensor]]:
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)  # [B, T]
            per_step = self.loss(logp, part)
            if not isinstance(per_step, Tensor) or per_step.shape != logp.shape:
                given = (
                    tuple(per_step.shape)
                    if isinstance(per_step, Tensor)
                    else type(per_step).__name__
                )
                raise ValueError(
                    f"loss(logp, batch) returned {given}: it must be a tensor [B, T], here "
                    f"{tuple(logp.shape)}"
                )
            return total(per_step, part.chosen, rows), {}

        return self.learner.step(loss, batch)


def own_rows(
    path: Path, hardware: Hardware, updates: int, given: Mapping[str, Any] = MappingProxyType({})
) -> list[tuple[str, Callable[[], TableRow]]]:
    """The rows to measure, by name. given: settings, for each algorithm that has them. Raises
    UserError for a file that cannot be read, is wrong, or brings nothing to verify.

    What goes wrong in the user's code while a row is measured becomes a UserError with the file and
    the line.
    """
    module = open_own(path)
    makers = call(
        path, "the file", lambda: list(_makes(path, module, given)),
        "as it was searched for algorithms",
    )  # fmt: skip
    if not makers:
        raise UserError(f"{path} has nothing to verify: it needs {WANTED}.")
    entries = [(name, entry) for name, make in makers for entry in own_entries(name, make)]
    return [
        (
            entry.subject,
            partial(own_row, path, name, partial(entry.row, f"F{number}", hardware, updates)),
        )
        for number, (name, entry) in enumerate(entries, 1)
    ]


def own_settings(path: Path) -> dict[str, tuple[Any, FieldInfo]]:
    """What the algorithms of the file can be told, of several with the same field the first's.
    Raises UserError as `own_rows` does.
    """
    fields: dict[str, tuple[Any, FieldInfo]] = {}
    for _, kind in _algorithms(open_own(path)):
        fields = dict(fields_of(read_settings(path, kind))) | fields
    return fields


def open_own(path: Path) -> ModuleType:
    """The file as a module; it runs once, and again when it was changed. Raises UserError for one
    that cannot be read, is empty or is wrong.
    """
    if path.suffix != ".py":
        raise UserError(f"{path} is no Python file: give a .py file with {WANTED}.")
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of a .py file with {WANTED}.")
    if not path.read_bytes().strip():
        raise UserError(f"{path} is empty: it needs {WANTED}.")
    return _load(path, path.resolve(), path.stat().st_mtime_ns)


@cache
def _load(path: Path, place: Path, written: int) -> ModuleType:
    return load_module(path)


def own_row(path: Path, name: str, measure: Callable[[], TableRow]) -> TableRow:
    """Raises UserError where it goes wrong, a loss that is no number among it: here that is the
    file's mistake.
    """
    try:
        return call(path, name, measure, "while it was verified")
    except Diverged as error:
        raise UserError(f"{path}, {name}: {error}") from error


def _algorithms(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and inspect.isclass(value) and callable(getattr(value, "update", None)):
            yield name, value


def _makes(path: Path, module: ModuleType, given: Mapping[str, Any]) -> Iterator[tuple[str, Make]]:
    for name, kind in _algorithms(module):
        settings = read_settings(path, kind)
        told = {field: given[field] for field in fields_of(settings).keys() & given.keys()}
        if "settings" in inspect.signature(kind).parameters:
            yield name, partial(kind, settings=write_settings(kind, settings.replace(**told)))
        else:
            yield name, kind
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and name == "loss" and inspect.isfunction(value):
            make: Any = partial(OwnLoss, loss=value)
            make.gradient_claim = getattr(
                value, "gradient_claim", getattr(module, "gradient_claim", None)
            )
            yield name, make
