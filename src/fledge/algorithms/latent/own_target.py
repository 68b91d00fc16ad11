"""log p(x, z) in a file of the user's: `log_joint(z, data)` and `dim`, checked at every call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.latent.targets import Terms
from fledge.rows.points import Points
from fledge.user_code import call, load_module

MOST = 10_000


class OwnTarget:
    """dim: how many numbers z has, or a function of the data that says so. names: of them, where
    the file has any. terms(z, data): where it has such a function, ([n, T], [T, d] of bool).
    """

    def __init__(self, file: str, points: Points) -> None:
        """Raises UserError for a file that is none, or lacks one of the two."""
        self.path = Path(file)
        self.module = load_module(self.path)
        self.function: Any = getattr(self.module, "log_joint", None)
        if not callable(self.function):
            raise UserError(f"{file} has no function log_joint(z, data): add one, [n, dim] -> [n].")
        dim: Any = getattr(self.module, "dim", None)
        if callable(dim):
            dim = call(self.path, "dim", dim, "of the data", points)
        if not isinstance(dim, int) or isinstance(dim, bool) or not 0 < dim <= MOST:
            raise UserError(
                f"{file}: dim is {dim!r}; give how many numbers z has, 1 to {MOST:,}, or a "
                "function of the data that says so."
            )
        self.width = dim
        names = tuple(map(str, getattr(self.module, "names", ())))
        self.names = names if len(names) == dim else tuple(f"z{i + 1}" for i in range(dim))

    def log_joint(self, z: Tensor, points: Points) -> Tensor:
        value = call(self.path, "log_joint", self.function, f"of z {list(z.shape)}", z, points)
        if not isinstance(value, Tensor) or value.shape != (len(z),):
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UserError(
                f"{self.path}: log_joint returned {got} for z of {list(z.shape)}: return one "
                f"number for each row of z, [{len(z)}]."
            )
        if not bool(value.isfinite().all()):
            wrong = int((~value.isfinite()).nonzero()[0])
            raise UserError(
                f"{self.path}: log_joint is {float(value[wrong].detach())} at z = "
                f"{[round(each, 4) for each in z[wrong].tolist()][:8]}: it must be finite for "
                "every z; map what must be positive by exp."
            )
        if torch.is_grad_enabled() and z.requires_grad and not value.requires_grad:
            raise UserError(
                f"{self.path}: log_joint has no gradient in z: compute it with torch alone, or "
                "give estimator=score, which needs none."
            )
        return value.double()

    def terms(self, z: Tensor, points: Points) -> Terms:
        function: Any = getattr(self.module, "terms", None)
        if not callable(function):
            raise UserError(
                f"{self.path} has no function terms(z, data), which rao_blackwell=true needs: add "
                "one that returns ([n, T], [T, dim] of bool), or leave rao_blackwell out."
            )
        made: Any = call(self.path, "terms", function, f"of z {list(z.shape)}", z, points)
        values, touches = (torch.as_tensor(each) for each in made)
        if values.shape != (len(z), len(touches)) or touches.shape[1:] != (self.width,):
            raise UserError(
                f"{self.path}: terms returned {list(values.shape)} and {list(touches.shape)}: give "
                f"[{len(z)}, T] and [T, {self.width}]."
            )
        return Terms(values.double(), touches.bool())
