"""What `fledge continual` learns in turn: digits whose pixels are permuted anew for each task, or
texts, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fledge.errors import UserError
from fledge.images.digits import load_digits
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.seeds import generator_for
from fledge.text.documents import read_documents
from fledge.text.tokenizer import train_tokenizer

SMALLEST_TEXT = 40  # rows of a text, a tenth of them held out


@dataclass(frozen=True)
class Task:
    """x, y: what is learned. held_x, held_y: what is judged.  [n, …]"""

    name: str
    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor


class Subject(Protocol):
    """measure: accuracy, or bits per byte. better: which of two figures is."""

    figure: str
    better: Literal["higher", "lower"]

    def make_tasks(self, seed: int) -> list[Task]: ...
    def make_network(self, seed: int) -> nn.Module: ...
    def measure(self, network: nn.Module, task: Task) -> float: ...


def log_prob(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """log p(y | x) of each example, the mean over its tokens where y is a row of them.  [B]"""
    logits = functional.log_softmax(network(x).float(), -1)
    said = logits.gather(-1, y[..., None])[..., 0]
    return said if said.dim() == 1 else said.mean(-1)


class PermutedDigits:
    """One permutation of the 64 pixels a task, the first in their order; ten labels in all."""

    figure: str = "accuracy"
    better: Literal["higher", "lower"] = "higher"
    HELD_OUT = 397

    def __init__(self, tasks: int, width: int) -> None:
        self.tasks, self.width = tasks, width
        rows = load_digits().rows
        self.x, self.y = rows.x.float().flatten(1) / 16, rows.label.long()

    def make_tasks(self, seed: int) -> list[Task]:
        random = generator_for(seed, "data")
        order = torch.randperm(len(self.x), generator=random)
        held, train = order[: self.HELD_OUT], order[self.HELD_OUT :]
        tasks = []
        for number in range(self.tasks):
            pixels = torch.randperm(64, generator=random) if number else torch.arange(64)
            x = self.x[:, pixels]
            tasks.append(Task(f"permutation {number + 1}", x[train], self.y[train],
                              x[held], self.y[held]))  # fmt: skip
        return tasks

    def make_network(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Linear(64, self.width), nn.ReLU(), nn.Linear(self.width, self.width), nn.ReLU(),
                nn.Linear(self.width, 10),
            )  # fmt: skip

    @torch.no_grad()
    def measure(self, network: nn.Module, task: Task) -> float:
        return float((network(task.held_x).argmax(-1) == task.held_y).float().mean())


class TextsInTurn:
    """A transformer over bytes; a text a task, every tenth row of it held out."""

    figure: str = "bits per byte"
    better: Literal["higher", "lower"] = "lower"

    def __init__(self, names: Sequence[str], context: int, width: int, layers: int) -> None:
        self.names, self.context, self.width, self.layers = names, context, width, layers
        self.tokenizer = train_tokenizer("bytes", (), None, lambda _: None)
        self.tasks = [self._read(name) for name in names]

    def _read(self, name: str) -> Task:
        content = b"\n".join(each.text.encode() for each in read_documents(name))
        ids = torch.tensor(self.tokenizer.encode(content.decode()), dtype=torch.int64)
        number = (len(ids) - 1) // self.context
        if number < SMALLEST_TEXT:
            raise UserError(
                f"{name} has {number} rows of {self.context} bytes, and {SMALLEST_TEXT} are "
                "wanted: give more text."
            )
        end = number * self.context
        x, y = (ids[at : at + end].reshape(number, self.context) for at in (0, 1))
        held = torch.arange(number) % 10 == 9
        return Task(name, x[~held], y[~held], x[held], y[held])

    def make_tasks(self, seed: int) -> list[Task]:
        """The same for each seed, the rows learned in another order."""
        tasks = []
        for each in self.tasks:
            order = torch.randperm(len(each.x), generator=generator_for(seed, "data", each.name))
            tasks.append(Task(each.name, each.x[order], each.y[order], each.held_x, each.held_y))
        return tasks

    def make_network(self, seed: int) -> nn.Module:
        sizes = transformer_config(
            "tiny", self.tokenizer.vocab_size, context=self.context, layers=self.layers,
            width=self.width, heads=max(1, self.width // 32),
        )  # fmt: skip
        return _Saying(Transformer(sizes, border=None, generator=generator_for(seed, "weights")))

    @torch.no_grad()
    def measure(self, network: nn.Module, task: Task) -> float:
        """Over at most 200 held-out rows."""
        x, y = task.held_x[:200], task.held_y[:200]
        parts = [log_prob(network, x[a : a + 50], y[a : a + 50]) for a in range(0, len(x), 50)]
        return -float(torch.cat(parts).mean()) / math.log(2)


class _Saying(nn.Module):
    """A network that answers with logits.  [B, T] -> [B, T, V]"""

    def __init__(self, network: Transformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        return self.network(tokens) @ self.network.unembedding.T
