"""Several names of data in one word: `a.txt,books/`, or a mixture of sources, each with its weight:
`books/:2,code/:1`.
"""

from __future__ import annotations

import glob
import math
import re
from dataclasses import dataclass
from pathlib import Path

from fledge.errors import UserError

_WEIGHED = re.compile(r"(?P<name>.+):(?P<weight>\d*\.?\d+)")


@dataclass(frozen=True)
class Source:
    """What has a share of its own in what is trained on. share: of all rows, in (0, 1]."""

    names: tuple[str, ...]
    share: float


def split_sources(data: str) -> list[Source]:
    """The sources of a mixture; names without weights are one source together.

    What exists under a name with a colon in it is meant by the whole name. Raises UserError where
    some names have weights and some have none, or a weight is 0.
    """
    names = _split(data)
    weights: list[float | None] = []
    bare: list[str] = []
    for name in names:
        weighed = None if Path(name).expanduser().exists() else _WEIGHED.fullmatch(name)
        bare.append(name if weighed is None else weighed["name"])
        weights.append(None if weighed is None else float(weighed["weight"]))
    if all(weight is None for weight in weights):
        return [Source(tuple(bare), 1.0)] if bare else []
    whole = math.fsum(weight or 0.0 for weight in weights)
    sources: list[Source] = []
    for name, weight in zip(bare, weights, strict=True):
        if not weight:
            given = "no weight" if weight is None else "weight 0"
            raise UserError(
                f"{name} has {given} in data={data}: of a mixture every source has one above 0, as "
                "in books/:2,code/:1, and without weights all that there is is read alike."
            )
        sources.append(Source((name,), weight / whole))
    return sources


def split_names(data: str) -> list[str]:
    """The names alone, in their order."""
    return [name for source in split_sources(data) for name in source.names]


def list_fitting(pattern: str | Path) -> list[Path]:
    """The files that a name with `*`, `?` or `[…]` fits, in the order of their names; none for a
    name without, and for one that exists as it stands.
    """
    path = Path(pattern).expanduser()
    if path.exists() or not glob.has_magic(str(path)):
        return []
    return [file for name in sorted(glob.glob(str(path))) if (file := Path(name)).is_file()]


def list_named(name: str | Path) -> list[Path]:
    """The files that a name means: all that it fits as a pattern, else the one that is called so,
    there or not.
    """
    return list_fitting(name) or [Path(name).expanduser()]


def _split(data: str) -> list[str]:
    if Path(data).exists():
        return [data]
    return [name.strip() for name in data.split(",") if name.strip()]
