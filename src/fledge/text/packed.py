"""Many rows of token ids and masks in three flat arrays: five bytes a token, where lists of
Python's own numbers take forty.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

TokenRow = tuple[list[int], list[bool]]  # token ids, and which of them are trained
Pair = tuple[TokenRow, TokenRow]  # preferred, rejected
JudgedRow = tuple[TokenRow, bool]  # one answer, and whether it is wanted


class PackedRows(Sequence[TokenRow]):
    """Rows by number; each access makes the lists of one row anew. `take` gives some of them over
    the same arrays.
    """

    def __init__(self, rows: Iterable[TokenRow] = ()) -> None:
        self._ids, self._own = array("i"), bytearray()
        self._starts, self._ends = array("q"), array("q")
        for row in rows:
            self.append(row)

    def append(self, row: TokenRow) -> None:
        ids, own = row
        if len(ids) != len(own):
            raise ValueError(
                f"a row of {len(ids)} tokens has {len(own)} mask entries: they must be equal."
            )
        self._starts.append(len(self._ids))
        self._ids.extend(ids)
        self._own.extend(own)
        self._ends.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> TokenRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenRow]: ...
    def __getitem__(self, index: int | slice) -> TokenRow | list[TokenRow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start, end = self._starts[index], self._ends[index]
        return self._ids[start:end].tolist(), list(map(bool, self._own[start:end]))

    def lengths(self) -> np.ndarray:
        """Tokens of each row.  [N] int64"""
        return np.array(self._ends, dtype=np.int64) - np.array(self._starts, dtype=np.int64)

    def take(self, places: Iterable[int]) -> PackedRows:
        """The rows at these places, in their order, over the same arrays: neither side may be
        appended to afterwards.
        """
        some = PackedRows()
        some._ids, some._own = self._ids, self._own
        for place in places:
            some._starts.append(self._starts[place])
            some._ends.append(self._ends[place])
        return some


class PackedPairs(Sequence[Pair]):
    """Pairs of rows by number: the preferred and the rejected one."""

    def __init__(self, preferred: PackedRows, rejected: PackedRows) -> None:
        self.preferred, self.rejected = preferred, rejected

    def __len__(self) -> int:
        return len(self.preferred)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return list(zip(self.preferred[index], self.rejected[index], strict=True))
        return self.preferred[index], self.rejected[index]

    def take(self, places: Sequence[int]) -> PackedPairs:
        return PackedPairs(self.preferred.take(places), self.rejected.take(places))


class PackedAnswers(Sequence[JudgedRow]):
    """Single answers by number, each with whether it is wanted."""

    def __init__(self, rows: PackedRows, wanted: Sequence[bool]) -> None:
        self.rows, self.wanted = rows, wanted

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> JudgedRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[JudgedRow]: ...
    def __getitem__(self, index: int | slice) -> JudgedRow | list[JudgedRow]:
        if isinstance(index, slice):
            return list(zip(self.rows[index], self.wanted[index], strict=True))
        return self.rows[index], self.wanted[index]

    def take(self, places: Sequence[int]) -> PackedAnswers:
        return PackedAnswers(self.rows.take(places), [self.wanted[place] for place in places])
