"""What packing could save a step of `fledge tune`: its tokens and operations with rows grouped by
length, as they are, beside rows packed by best fit; counted, not timed.

  python benchmarks/packing.py FILE.jsonl.gz [--rows 16]

The steps are those of the verb: rows at random, so many a step, cut for 512 tokens at a time with
their padding. Packed are the same steps into rows of 512 tokens, the longest first, each where the
least room is left (best fit decreasing; Ding et al. 2024). Attention reads of a packed row either
all pairs, masked, as one call of the fused kernel does, or each document's alone, as only kernels
for rows of unequal length do, of which torch has none on a CPU. Operations are those of
SmolLM2-135M's blocks (2 a weight and token, 4 a number of the width for each pair that is read),
forward; a token of the unembedding is the same on all sides.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tempfile
from bisect import bisect_left, insort
from collections.abc import Sequence
from pathlib import Path

import torch

from fledge.hub.folder import load_model
from fledge.micro_batches import group_by_length
from fledge.models.language.transformer import Transformer
from fledge.recipes.training import MICRO_BATCH
from fledge.rows.census import Reading
from fledge.sample.conversations import Shuffled
from fledge.text.conversations import read_conversations
from real_model import find_model
from side_by_side import table

SIDES = ("grouped", "packed, masked", "packed, each alone")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="conversations, one a line")
    parser.add_argument("--rows", type=int, default=16, help="a step")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    loaded = load_model(find_model())
    network = loaded.network
    assert isinstance(network, Transformer)
    with tempfile.TemporaryDirectory() as folder:
        plain = unpack(given.file, Path(folder) / "rows.jsonl")
        rows, _ = read_conversations(
            plain, loaded.tokenizer, network.config.context, Reading("skip", truncate="right")
        )
    lengths = rows.lengths()
    order, steps = Shuffled(lengths.tolist(), seed=0), len(lengths) // given.rows
    counts = [
        count_step([order(step * given.rows + i) for i in range(given.rows)])
        for step in range(steps)
    ]
    weights = sum(p.numel() for p in network.blocks.parameters() if p.ndim == 2)
    pair = 4 * network.config.layers * network.config.heads * network.config.head_width
    figures = {side: describe([count[side] for count in counts], weights, pair) for side in SIDES}
    for each in figures.values():
        each["of grouped"] = each["operations"] / figures["grouped"]["operations"]
    if given.json:
        print(json.dumps({"rows": len(lengths), "steps": steps, "figures": figures}))
        return
    print(f"{len(lengths)} rows of {lengths.min()} to {lengths.max()} tokens, {steps} steps\n")
    head = ("", "padding", "micro-batches a step", "of which attention", "operations")
    keys = ("padding", "micro_batches", "attention", "of grouped")
    lines = [
        (side, *(f"{each[key]:.1f}" if "micro" in key else f"{each[key]:.1%}" for key in keys))
        for side, each in figures.items()
    ]
    print(table(head, lines))


def unpack(file: Path, plain: Path) -> Path:
    with gzip.open(file, "rb") as packed, plain.open("wb") as out:
        shutil.copyfileobj(packed, out)
    return plain


Count = tuple[int, int, int, int]  # tokens, of them padding; pairs that attention reads; calls


def count_step(lengths: Sequence[int]) -> dict[str, Count]:
    """Of one step, by side."""
    real = sum(lengths)
    groups = group_by_length(torch.tensor(lengths)[:, None], MICRO_BATCH)
    shapes = [(len(own), max(lengths[i] for i in own.tolist())) for own in groups]
    grouped = sum(rows * longest for rows, longest in shapes)
    packs = pack_by_best_fit(lengths, MICRO_BATCH)
    # a pack is as long as what is in it: one a call, there is nothing to pad
    return {
        "grouped": (
            grouped, grouped - real, sum(rows * longest**2 for rows, longest in shapes),
            len(groups),
        ),
        "packed, masked": (real, 0, sum(sum(pack) ** 2 for pack in packs), len(packs)),
        "packed, each alone": (real, 0, sum(length**2 for length in lengths), len(packs)),
    }  # fmt: skip


def pack_by_best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """The longest first, each into the pack that it fills best; longer than the room: alone."""
    packs: list[list[int]] = []
    left: list[tuple[int, int]] = []  # room of a pack, and its number; sorted
    for length in sorted(lengths, reverse=True):
        place = bisect_left(left, (length, -1))
        if place == len(left):
            packs.append([])
            space, number = max(room, length), len(packs) - 1
        else:
            space, number = left.pop(place)
        packs[number].append(length)
        insort(left, (space - length, number))
    return packs


def describe(counts: Sequence[Count], weights: int, pair: int) -> dict[str, float]:
    tokens, padding, pairs, calls = (sum(each) for each in zip(*counts, strict=True))
    operations = 2 * weights * tokens + pair * pairs
    return {
        "padding": padding / (tokens - padding), "micro_batches": calls / len(counts),
        "attention": pair * pairs / operations, "operations": operations,
    }  # fmt: skip


if __name__ == "__main__":
    main()
