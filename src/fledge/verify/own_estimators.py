"""What a user's Python file brings to the table of `fledge verify`: its algorithms, and its
loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from fledge.errors import Diverged, UserError
from fledge.fit import total
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.trajectories import Trajectories
from fledge.user_code import call, load_module
from fledge.verify.family import own_entries
from fledge.verify.laboratory import Hardware, Make
from fledge.verify.rows import Row

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


def own_rows(path: Path, hardware: Hardware, updates: int) -> list[tuple[str, Callable[[], Row]]]:
    """The rows to measure, by name. Raises UserError for a file that cannot be read, is wrong, or
    brings nothing to verify.

    What goes wrong in the user's code while a row is measured becomes a UserError with the file and
    the line.
    """
    if path.suffix != ".py":
        raise UserError(f"{path} is no Python file: give a .py file with {WANTED}.")
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of a .py file with {WANTED}.")
    if not path.read_bytes().strip():
        raise UserError(f"{path} is empty: it needs {WANTED}.")
    module = load_module(path)
    makers = call(
        path, "the file", lambda: list(_makes(module)), "as it was searched for algorithms"
    )
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


def own_row(path: Path, name: str, measure: Callable[[], Row]) -> Row:
    """Raises UserError where it goes wrong, a loss that is no number among it: here that is the
    file's mistake.
    """
    try:
        return call(path, name, measure, "while it was verified")
    except Diverged as error:
        raise UserError(f"{path}, {name}: {error}") from error


def _makes(module: ModuleType) -> Iterator[tuple[str, Make]]:
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and inspect.isclass(value) and callable(getattr(value, "update", None)):
            yield name, value
        elif own and name == "loss" and inspect.isfunction(value):
            make: Any = partial(OwnLoss, loss=value)
            make.gradient_claim = getattr(
                value, "gradient_claim", getattr(module, "gradient_claim", None)
            )
            yield name, make
