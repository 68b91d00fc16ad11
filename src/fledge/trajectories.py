"""The one thing that flows: B rows of T steps, what was seen, what was done, and what it was
worth.

What somebody adds to rows (a log-probability, a weight, a target) makes a type of its own out of
them, complete when it is made: `Weighed.of(batch, weight=advantage)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """B rows side by side: every field is a tensor that begins with B, or Rows of its own; None
    where a field may be unknown, which its default says.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is None and field.default is not None:
                raise ValueError(
                    f"`{field.name}` is not known: {type(self).__name__} are complete when they "
                    "are made."
                )

    @classmethod
    def of(cls, rows: Rows, **added: Tensor | Rows) -> Self:
        """Such rows out of others: what these say, of the fields there are here, and what is
        added. Raises TypeError for a field that nobody gave.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        said = {name: value for name, value in rows.items() if name in known}
        return cls(**{**said, **added})

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What `state_dict` said of rows without rows in them. Raises TypeError for other
        fields.
        """
        return cls(**state)

    def __len__(self) -> int:
        return len(self.items()[0][1])

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """The same fields for some of the rows (a slice, an index tensor or a boolean mask over
        B).
        """
        return self._each(lambda value: value[rows])

    @property
    def lengths(self) -> Tensor:
        """How many steps of each row `trim` would leave if it stood alone, of each of the K
        trajectories that it holds; 1 where it holds none.  [B, K] long
        """
        inner = [value.lengths for _, value in self.items() if isinstance(value, Rows)]
        return torch.cat(inner, 1) if inner else torch.ones(len(self), 1, dtype=torch.long)

    @property
    def prompts(self) -> Tensor | None:
        """Of each row which prompt it begins with, and how many of its `lengths` are that: rows
        that begin with the same may be computed with it once. None where that is not known.  [B, 2]
        long
        """
        return None

    def items(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__dataclass_fields__]

    def replace(self, **changes: Any) -> Self:
        """The same rows with other values in some fields."""
        return dataclasses.replace(self, **changes)

    def to(self, device: torch.device) -> Self:
        return self._each(lambda value: value.to(device))

    def spread(self, most: int) -> Self:
        """At most so many of the rows, from all over them."""
        return self[spread_evenly(len(self), most)]

    def trim(self) -> Self:
        """Without the trailing steps that no row has chosen: nothing that counts is lost."""
        return self._each(lambda value: value.trim() if isinstance(value, Rows) else value)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.items())

    def _each(self, change: Callable[[Any], Any]) -> Self:
        """Every known field changed alike; these very rows where nothing changes."""
        changed: dict[str, Any] = {}
        for name, value in self.items():
            other = None if value is None else change(value)
            if other is not value:
                changed[name] = other
        return self.replace(**changed) if changed else self


@dataclass(frozen=True)
class Trajectories(Rows):
    """B rows, T steps; O and A stand for the shapes of one observation and one action.

    In language, `obs` is the row of token ids and `action` is `obs[:, 1:]`. `None` means "not
    known", which is not zero. Steps where `chosen` is False (prompt, padding, an auto-reset step)
    hold arbitrary values everywhere and never count. What a type made of these adds is [B, T, …].
    """

    obs: Tensor  # [B, T+1, *O]: one more than the actions, so that every bootstrap is a slice
    action: Tensor  # [B, T, *A]
    chosen: Tensor  # [B, T] bool: the policy's own steps
    reward: Tensor  # [B, T]
    terminated: Tensor  # [B, T] bool: the world (or the stop token) ended the row here
    truncated: Tensor  # [B, T] bool: we stopped looking here
    # [B, T]: under whoever acted, on the support that was really sampled
    logp: Tensor | None = None
    group: Tensor | None = None  # [B]: the same number means the same prompt or start

    def __post_init__(self) -> None:
        super().__post_init__()
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
        for name, value in self._by_step():
            if value.shape[:2] != shape:
                raise ValueError(
                    f"`{name}` is {tuple(value.shape)}: it must be [B, T, …] beside chosen "
                    f"{tuple(shape)}."
                )
        if self.group is not None and self.group.shape != shape[:1]:
            raise ValueError(
                f"`group` is {tuple(self.group.shape)}: it must be [B] with B = {shape[0]}."
            )

    def _by_step(self) -> list[tuple[str, Tensor]]:
        """All that is known of every step, [B, T, …] each: every field but `obs` and `group`."""
        return [
            (name, value)
            for name, value in self.items()
            if value is not None and name not in ("obs", "group")
        ]

    @property
    def lengths(self) -> Tensor:
        return self.last().clamp(min=1)[:, None]

    @property
    def prompts(self) -> Tensor | None:
        first = torch.where(self.chosen.any(1), self.chosen.int().argmax(1) + 1, 1)
        each = torch.arange(len(self), device=first.device) if self.group is None else self.group
        return torch.stack([each, first], 1)

    def trim(self) -> Self:
        if self.chosen.shape[1] == 1:
            return self
        used = self.chosen.any(dim=0).nonzero()
        return self.cut(int(used[-1]) + 1 if len(used) else 1)

    def cut(self, steps: int) -> Self:
        """The first steps of every row, and what the last of them led to."""
        if steps >= self.chosen.shape[1]:
            return self
        kept = {name: value[:, :steps] for name, value in self._by_step()}
        return self.replace(obs=self.obs[:, : steps + 1], **kept)

    def as_steps(self) -> Self:
        """Every chosen step as a row of its own, [N, 1], what it saw and what came of it in `obs`
        [N, 2, *O]; no groups.

        Where nothing was chosen one row remains, which nobody chose: an optimizer step has
        something to be made on.
        """
        rows = self.chosen if self.chosen.any() else self._first_step()
        cut = {name: value[rows][:, None] for name, value in self._by_step()}
        obs = torch.stack([self.obs[:, :-1][rows], self.obs[:, 1:][rows]], 1)
        return self.replace(obs=obs, group=None, **cut)

    def _first_step(self) -> Tensor:
        """[B, T] bool, True in one place."""
        one = torch.zeros_like(self.chosen)
        one[0, 0] = True
        return one

    def count_actions(self) -> int:
        """How much of a run these rows are: tokens in language, steps in worlds."""
        return int(self.chosen.sum())

    def last(self) -> Tensor:
        """The place in `obs` of what each row's last chosen action led to: its last real token.
        [B]
        """
        place = torch.arange(1, self.chosen.shape[1] + 1, device=self.chosen.device)
        return (self.chosen * place).amax(dim=1)


@dataclass(frozen=True, kw_only=True)
class Sampled(Trajectories):
    """Of which is known what a policy thought of them: that of whoever acted, or the trainer's."""

    logp: Tensor = dataclasses.field()  # [B, T]; no default, in place of the inherited one


@dataclass(frozen=True, kw_only=True)
class Weighed(Trajectories):
    """With how much each step counts, whatever made that: an advantage, a posterior."""

    weight: Tensor  # [B, T]


@dataclass(frozen=True, kw_only=True)
class WeighedSamples(Sampled, Weighed):
    """Both: what is learned from while the policy moves away from whoever sampled."""


@dataclass(frozen=True)
class Pairs(Rows):
    """Two answers to the same prompt, row by row: the preferred and the rejected one."""

    preferred: Trajectories
    rejected: Trajectories

    def count_actions(self) -> int:
        return self.preferred.count_actions() + self.rejected.count_actions()


def spread_evenly(number: int, most: int) -> Tensor:
    """Places of at most so many of `number` things: folders come label by label, and the first of
    them are of a few labels alone.  -> [min(number, most)] long, rising
    """
    return torch.linspace(0, number - 1, min(number, most), dtype=torch.float64).round().long()


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
