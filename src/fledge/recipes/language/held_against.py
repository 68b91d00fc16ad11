"""What a smaller model is made with and held against the whole one on: rows of text or of
conversations, to calibrate with and held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import nn

from fledge.evaluate.likelihood import read_windows
from fledge.micro_batches import cut_in_order
from fledge.models.language.calibration import longest_row
from fledge.models.language.rounded_network import Rows
from fledge.recipes.language.rows import ReadingFields, divide_conversations
from fledge.recipes.language.text_data import TextFields, keep_text
from fledge.rows.census import Census
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import Shuffled, token_rows
from fledge.splits import Split
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Trajectories

LONGEST = 512  # tokens of a row: longer ones say little more of what matrices are given to read


class MaterialFields(ReadingFields, TextFields):
    """Where rows come from, and how many."""

    data: str | None = Field(
        default=None,
        description=(
            "text (a .txt, .md, a folder, or python) or conversations (a .jsonl): its training "
            "part calibrates, its test part measures what was lost"
        ),
    )
    calibration_rows: int = Field(
        default=32,
        ge=1,
        description=f"windows of up to {LONGEST} tokens, or conversations; all are read together",
    )
    evaluation_rows: int = Field(default=32, ge=1, description="of the test part, likewise")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of which conversations calibrate")


@dataclass(frozen=True)
class Material:
    """calibration: of the training part. held_out: pieces of the test part. what: one of its
    rows.
    """

    calibration: Rows
    held_out: Sequence[Trajectories]
    what: str
    censuses: Sequence[Census] = ()

    @property
    def rows(self) -> int:
        return sum(len(piece.obs) for piece in self.held_out)


def is_of_conversations(data: str) -> bool:
    return data.lower().removesuffix(".gz").endswith(".jsonl")


def read_conversation_material(
    config: MaterialFields, network: nn.Module, tokenizer: Tokenizer, show: Show
) -> Material:
    """The assistant's tokens are measured on, all are calibrated with. Raises UserError."""
    assert config.data is not None
    sizes: Any = network.config
    divided, censuses = divide_conversations(
        Path(config.data), tokenizer, sizes.context, config.reading, show
    )
    drawn = Shuffled(divided.train, config.seed)
    number = min(config.calibration_rows, len(divided.train))
    longest = min(LONGEST, longest_row(network))
    ids = [drawn(i)[0][:longest] for i in range(number)]
    test = divided.held_out["test"][: config.evaluation_rows]
    pieces = [token_rows(test[part]) for part in cut_in_order(len(row) for row, _ in test)]
    return Material(pad_rows(ids), pieces, "conversation", censuses)


def read_text_material(
    config: MaterialFields, network: nn.Module, tokenizer: Tokenizer, run: Run, show: Show
) -> Material:
    """Windows of text, evenly apart, every token of them. Raises UserError."""
    data = config.data
    assert data is not None
    text = keep_text(run, lambda: config.read(data, show.line), tokenizer, show.line)
    context = min(LONGEST, longest_row(network))

    def read(part: Split, rows: int) -> list[Trajectories]:
        return list(read_windows(text[part], context, rows, tokenizer.begin))

    calibration = read("train", config.calibration_rows)
    held_out = read("test", config.evaluation_rows)
    ids = [row[:-1].tolist() for piece in calibration for row in piece.obs]
    return Material(pad_rows(ids), held_out, "window")


def pad_rows(rows: Sequence[Sequence[int]]) -> Rows:
    """Rows of token ids as one rectangle."""
    longest = max(map(len, rows))
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    real = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(row)
        real[number, : len(row)] = True
    return Rows(tokens, real)
