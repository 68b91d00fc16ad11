"""Rows of running text for an encoder to learn from: windows with tokens masked, and pairs of texts
of which the second follows the first or is another's.

Every row is a function of (seed, number), so that what is masked is the same after a kill, and
however rows are divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.sample.documents import Windows
from fledge.seeds import seed_for
from fledge.text.frames import Frame
from fledge.text.masking import Ints, Masking
from fledge.text.shards import TokenStream
from fledge.trajectories import Rows

SHORT_PAIRS = 0.1  # of the pairs are of a random length (the authors' create_pretraining_data.py)


@dataclass(frozen=True)
class MaskedRows(Rows):
    """tokens: what is read. target: what stands there. chosen: which of it is foretold. another:
    whether the second text is another's (1), follows the first (0), or there is none (−1). draw:
    a number in [0, 1) for each token, by which whoever samples samples.
    """

    tokens: Tensor  # [B, T] long
    target: Tensor  # [B, T] long
    chosen: Tensor  # [B, T] bool
    types: Tensor  # [B, T] long
    size: Tensor  # [B] long: tokens of the row, the rest is padding
    another: Tensor  # [B] long
    draw: Tensor  # [B, T] float64

    @property
    def lengths(self) -> Tensor:
        return self.size[:, None]

    def trim(self) -> MaskedRows:
        longest = int(self.size.max())
        if longest == self.tokens.shape[1]:
            return self
        cut = {
            name: value[:, :longest] for name, value in self.items()
            if name not in ("size", "another")
        }  # fmt: skip
        return self.replace(**cut)

    def count_actions(self) -> int:
        """How much of a run they are: the tokens that are read."""
        return int(self.size.sum())


class _Numbered:
    """Endless batches; the whole position is one integer: rows given so far."""

    def __init__(self, rows_per_step: int) -> None:
        self.rows, self.position = rows_per_step, 0
        self.figures: dict[str, float] = {}

    def __iter__(self) -> _Numbered:
        return self

    def read(self, number: int) -> MaskedRows:
        """Row `number`, as one of B = 1."""
        raise NotImplementedError

    def count_passes(self) -> dict[str, float]:
        return {}

    def __next__(self) -> MaskedRows:
        rows = [self.read(self.position + i) for i in range(self.rows)]
        self.position += self.rows
        self.figures = self.count_passes()
        return join_rows(rows)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


class MaskedWindows(_Numbered):
    """Windows of the stream, each opened and closed as the encoder's texts are: the token at either
    end gives its place to that. Documents in a window do not see each other.
    """

    def __init__(
        self,
        stream: TokenStream,
        frame: Frame,
        masking: Masking,
        *,
        rows_per_step: int,
        context: int,
        seed: int,
    ) -> None:
        super().__init__(rows_per_step)
        self.frame, self.masking = frame, masking
        # A window's last token is the next one's first: none is at an end in every pass.
        self.text = Windows(stream, context=context - 1, seed=seed, index="documents")
        self.key = seed_for(seed, "noise", "masks")

    def read(self, number: int) -> MaskedRows:
        row = frame_window(self.text.read(number), self.frame)
        return mask_one(row, self.masking, generator_of(self.key, number))

    def count_passes(self) -> dict[str, float]:
        return {"epoch": self.position / self.text.windows}


class MaskedPairs(_Numbered):
    """Pairs of texts of one document, and of two, half and half (Devlin et al. 2019, §3.1, task 2),
    of at most `context` tokens with what stands around them; their tokens are masked too.
    """

    def __init__(
        self,
        stream: TokenStream,
        frame: Frame,
        masking: Masking,
        *,
        rows_per_step: int,
        context: int,
        seed: int,
    ) -> None:
        """Raises UserError for a text that has no two documents to take from."""
        super().__init__(rows_per_step)
        self.stream, self.frame, self.masking = stream, frame, masking
        self.room = context - frame.count(pair=True)
        starts = np.concatenate([stream.documents, [len(stream)]])
        # Without what opens and closes each; a pair takes two tokens.
        begins, ends = starts[:-1] + len(frame.before), starts[1:] - len(frame.after)
        usable = ends - begins >= 2
        self.begins, self.ends = begins[usable], ends[usable]
        if len(self.begins) < 2 or self.room < 2:
            raise UserError(
                f"a part of the text (training, validation or test) has {len(self.begins)} "
                "documents of two tokens or more: objective=nsp takes a second text from another "
                "one. Give more, or objective=mlm."
            )
        self.weights = (self.ends - self.begins).cumsum()
        self.key = seed_for(seed, "noise", "pairs")

    def read(self, number: int) -> MaskedRows:
        random = generator_of(self.key, number)
        document = self._draw(random)
        most = min(self.room, int(self.ends[document] - self.begins[document]))
        if random.random() < SHORT_PAIRS:
            most = int(random.integers(2, most + 1))
        begin = int(random.integers(self.begins[document], self.ends[document] - most + 1))
        cut = int(random.integers(1, most))
        first = self.stream[begin : begin + cut]
        another = int(random.integers(0, 2))
        if another:
            second = self._read_other(document, most - cut, random)
        else:
            second = self.stream[begin + cut : begin + most]
        ids, types = self.frame.frame(first.tolist(), second.tolist())
        row = mask_one(np.array(ids), self.masking, random)
        return row.replace(types=torch.tensor([types]), another=torch.tensor([another]))

    def _draw(self, random: np.random.Generator) -> int:
        """A document, the likelier the longer it is."""
        place = int(random.integers(0, self.weights[-1]))
        return int(np.searchsorted(self.weights, place, side="right"))

    def _read_other(self, document: int, length: int, random: np.random.Generator) -> Ints:
        other = int(random.integers(0, len(self.begins) - 1))
        other += other >= document
        begin, end = int(self.begins[other]), int(self.ends[other])
        length = min(length, end - begin)
        start = int(random.integers(begin, end - length + 1))
        return self.stream[start : start + length]


def generator_of(key: int, number: int) -> np.random.Generator:
    """What row `number` draws by."""
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number]))


def frame_window(window: Ints, frame: Frame) -> Ints:
    """With what opens a text at its beginning and what closes one at its end, in the place of what
    stood there.
    """
    row = window.copy()
    row[: len(frame.before)] = frame.before
    row[len(row) - len(frame.after) :] = frame.after
    return row


def mask_one(row: Ints, masking: Masking, random: np.random.Generator) -> MaskedRows:
    """[T] -> B = 1"""
    read, chosen = masking.mask_row(row, random)
    target = torch.from_numpy(row)[None]
    return MaskedRows(
        torch.from_numpy(read)[None], target, torch.from_numpy(chosen)[None],
        torch.zeros_like(target), torch.tensor([len(row)]), torch.tensor([-1]),
        torch.from_numpy(random.random(len(row)))[None],
    )  # fmt: skip


def join_rows(rows: list[MaskedRows]) -> MaskedRows:
    """Side by side, padded behind each to the longest."""
    longest = max(int(row.size) for row in rows)

    def pad(name: str) -> Tensor:
        parts = [getattr(row, name)[0] for row in rows]
        return torch.stack([
            torch.nn.functional.pad(part, (0, longest - len(part))) for part in parts
        ])  # fmt: skip

    steps = {name: pad(name) for name in ("tokens", "target", "chosen", "types", "draw")}
    size, another = (torch.cat([getattr(r, name) for r in rows]) for name in ("size", "another"))
    return MaskedRows(**steps, size=size, another=another)
