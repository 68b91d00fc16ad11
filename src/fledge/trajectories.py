"""The one thing that flows: B rows of T steps, what was seen, what was done, and what it was
worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trajectories:
    """B rows, T steps; O and A stand for the shapes of one observation and one action.

    In language, `obs` is the row of token ids and `action` is `obs[:, 1:]`. `None` means "not known
    yet", which is not zero. Steps where `chosen` is False (prompt, padding, an auto-reset step)
    hold arbitrary values everywhere and never count.
    """

    obs: Tensor  # [B, T+1, *O]: one more than the actions, so that every bootstrap is a slice
    action: Tensor  # [B, T, *A]
    chosen: Tensor  # [B, T] bool: the policy's own steps
    reward: Tensor  # [B, T]
    terminated: Tensor  # [B, T] bool: the world (or the stop token) ended the row here
    truncated: Tensor  # [B, T] bool: we stopped looking here
    logp: Tensor | None = (
        None  # [B, T]: under whoever acted, on the support that was really sampled
    )
    group: Tensor | None = None  # [B]: the same number means the same prompt or start
    weight: Tensor | None = None  # [B, T]
    target: Tensor | None = None  # [B, T]

    def __post_init__(self) -> None:
        shape = self.chosen.shape
        if self.chosen.dtype != torch.bool or self.chosen.ndim != 2:
            raise ValueError(
                f"`chosen` is {self.chosen.dtype} {tuple(shape)}: it must be bool [B, T]."
            )
        if self.obs.shape[:2] != (shape[0], shape[1] + 1):
            raise ValueError(
                f"`obs` is {tuple(self.obs.shape)}: it must be [B, T+1, …] beside chosen "
                f"{tuple(shape)}."
            )
        for name in ("action", "reward", "terminated", "truncated", "logp", "weight", "target"):
            value = getattr(self, name)
            if value is not None and value.shape[:2] != shape:
                raise ValueError(
                    f"`{name}` is {tuple(value.shape)}: it must be [B, T, …] beside chosen "
                    f"{tuple(shape)}."
                )
        if self.group is not None and self.group.shape != shape[:1]:
            raise ValueError(
                f"`group` is {tuple(self.group.shape)}: it must be [B] with B = {shape[0]}."
            )

    def __len__(self) -> int:
        return self.chosen.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Trajectories:
        """The same fields for some of the rows (a slice, an index tensor or a boolean mask over
        B).
        """
        cut: dict[str, Any] = {
            name: None if value is None else value[rows] for name, value in self.items()
        }
        return type(self)(**cut)

    def items(self) -> list[tuple[str, Any]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self)]

    def with_(self, **changes: Tensor | None) -> Trajectories:
        return replace(self, **changes)

    def to(self, device: torch.device) -> Trajectories:
        if self.obs.device == device:
            return self
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device) for name, value in self.items()
        }
        return type(self)(**moved)

    def trim(self) -> Trajectories:
        """Without the trailing steps that no row has chosen: nothing that counts is lost."""
        if self.chosen.shape[1] == 1:
            return self
        used = self.chosen.any(dim=0).nonzero()
        steps = int(used[-1]) + 1 if len(used) else 1
        if steps >= self.chosen.shape[1]:
            return self
        cut = {
            name: value[:, :steps]
            for name, value in self.items()
            if value is not None and name not in ("obs", "group")
        }
        return replace(self, obs=self.obs[:, : steps + 1], **cut)

    def as_steps(self) -> Self:
        """Every chosen step as a row of its own, [N, 1], what it saw and what came of it in `obs`
        [N, 2, *O]; no groups.

        Where nothing was chosen one row remains, which nobody chose: an optimizer step has
        something to be made on.
        """
        rows = self.chosen if self.chosen.any() else self._first_step()
        cut: dict[str, Any] = {
            name: None if value is None else value[rows][:, None]
            for name, value in self.items()
            if name not in ("obs", "group")
        }
        obs = torch.stack([self.obs[:, :-1][rows], self.obs[:, 1:][rows]], 1)
        return replace(self, obs=obs, group=None, **cut)

    def _first_step(self) -> Tensor:
        """[B, T] bool, True in one place."""
        one = torch.zeros_like(self.chosen)
        one[0, 0] = True
        return one

    def last(self) -> Tensor:
        """The place in `obs` of what each row's last chosen action led to: its last real token.
        [B]
        """
        place = torch.arange(1, self.chosen.shape[1] + 1, device=self.chosen.device)
        return (self.chosen * place).amax(dim=1)

    def state_dict(self) -> dict[str, Tensor | None]:
        return dict(self.items())


@dataclass(frozen=True)
class Pairs:
    """Two answers to the same prompt, row by row: the preferred and the rejected one."""

    preferred: Trajectories
    rejected: Trajectories

    def __len__(self) -> int:
        return len(self.preferred)

    def __getitem__(self, rows: slice | Tensor) -> Pairs:
        return Pairs(self.preferred[rows], self.rejected[rows])

    def to(self, device: torch.device) -> Pairs:
        return Pairs(self.preferred.to(device), self.rejected.to(device))

    def trim(self) -> Pairs:
        return Pairs(self.preferred.trim(), self.rejected.trim())


def from_rows(
    rows: Sequence[Sequence[int]], chosen: Sequence[Sequence[bool]], pad: int = 0
) -> Trajectories:
    """Token rows of unequal length, padded on the right.

    `chosen[i][t]` says whether token t of row i is one the policy is to be trained on; the first
    token of a row never is (nothing comes before it). Masks come from lengths: the value of `pad`
    never decides anything.
    """
    if not rows:
        raise ValueError("no rows were given: Trajectories need one or more.")
    longest = max(2, max(len(row) for row in rows))
    obs = torch.full((len(rows), longest), pad, dtype=torch.long)  # [B, T+1]
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    last = torch.zeros((len(rows), longest), dtype=torch.bool)
    for i, (row, own) in enumerate(zip(rows, chosen, strict=True)):
        if len(row) != len(own):
            raise ValueError(
                f"row {i} has {len(row)} tokens but {len(own)} mask entries: they must be equal."
            )
        obs[i, : len(row)] = torch.as_tensor(row)
        mask[i, : len(row)] = torch.as_tensor(own)
        last[i, len(row) - 1] = True
    zeros = torch.zeros(len(rows), longest - 1)
    no = torch.zeros(len(rows), longest - 1, dtype=torch.bool)
    return Trajectories(obs, obs[:, 1:], mask[:, 1:], zeros, last[:, 1:], no)
