"""Rows that objectives make of a text: what goes on after a pause, and what a row never holds."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from fledge.sample.objective_rows import (
    InfillingWriter,
    ObjectiveRows,
    PairWriter,
    draw_for,
    find_longest_piece,
    read_held_out,
)
from fledge.text.infilling import INFILLING, find_infilling
from fledge.text.objectives import PAIRED, SENTINELS, PairedObjective
from fledge.text.paired import PairedTokenizer
from fledge.text.tokenizer import train_tokenizer

WORDS = [f"{a}{b}" for a in "abcdefgh" for b in "uvwxyz"]
PLAIN = train_tokenizer("bytes", ())
SPEAKS = PairedTokenizer(PLAIN.extend(SENTINELS), 0, joined=False)


def stream(documents: int = 40) -> Any:
    """Documents of which each has letters of its own, so that a row shows where it comes from."""
    rows: list[int] = []
    for i in range(documents):
        rows += [1, *PLAIN.encode("".join(WORDS[(i + k) % 48] for k in range(20 + i))), 2]
    return np.array(rows)


@pytest.mark.parametrize("objective", PAIRED)
def test_rows_go_on_after_a_pause_and_fit(objective: PairedObjective) -> None:
    def sampler() -> ObjectiveRows:
        write = PairWriter(SPEAKS, objective, 48)
        return ObjectiveRows(stream(), write, rows_per_step=5, seed=3)

    whole, paused = sampler(), sampler()
    batches = [next(whole) for _ in range(6)]
    for batch in batches:
        assert batch.obs.shape[1] <= 48
        assert bool(batch.chosen.any(1).all())
        for row, own in zip(batch.obs.tolist(), batch.chosen.tolist(), strict=True):
            begin = SPEAKS.find_reply(row)
            assert own.index(True) == begin - 1  # the first target is foretold from the start token
            assert row[: begin - 2].count(1) == 1  # the text of one document, opened once
            last = len(own) - own[::-1].index(True)
            assert row[last] == SPEAKS.stop
            assert row[begin:last].count(SPEAKS.stop) == 0
    for _ in range(2):
        next(paused)
    resumed = sampler()
    resumed.load_state_dict(paused.state_dict())
    for batch in batches[2:]:
        assert torch.equal(next(resumed).obs, batch.obs)
    assert not torch.equal(batches[0].obs, batches[1].obs[:, : batches[0].obs.shape[1]])


def test_held_out_rows_are_the_same_at_every_reading() -> None:
    write = PairWriter(SPEAKS, "spans", 48)
    first, again = (torch.cat([b.obs[:, :30] for b in read_held_out(stream(), write, 9)])
                    for _ in range(2))  # fmt: skip
    assert torch.equal(first, again)
    assert len(first) == 9


def test_no_noise_reaches_across_a_border() -> None:
    assert find_longest_piece(np.array([7, 2, 1, 8, 9, 2, 1, 5]), np.array([1, 2])).tolist() == [
        8,
        9,
    ]
    assert find_longest_piece(np.array([2, 1]), np.array([1, 2])).tolist() == []
    write = PairWriter(SPEAKS, "spans", 48)
    row, own = write(np.array([2, 1]), draw_for(0, 0))
    assert not any(own)
    assert row == SPEAKS.open_input([])


@pytest.mark.parametrize("spm", [0.0, 1.0])
def test_a_middle_is_moved_within_its_document(spm: float) -> None:
    """Every row of fill-in-the-middle, put together again, is the text; no mark is a target."""
    tokenizer = PLAIN.extend(INFILLING)
    marks = find_infilling(tokenizer.special_tokens)
    write = InfillingWriter(marks, 1, 2, 300, 1.0, spm)
    text = stream(6)[:160]
    row, own = write(text, draw_for(0, 1))
    assert len(row) <= 301
    assert [own[i] for i, token in enumerate(row) if token in {*marks, 1}] == [False] * (
        sum(token in {*marks, 1} for token in row)
    )
    assert all(own[i] for i, token in enumerate(row) if token not in {*marks, 1})
    again: list[int] = []
    ends = [i for i, token in enumerate(row) if token == 2]
    for start, end in itertools.pairwise([0, *(i + 1 for i in ends)]):
        ids = row[start : end - 1]
        opening, ids = ids[: ids.index(marks.prefix)], ids[ids.index(marks.prefix) + 1 :]
        at, last = ids.index(marks.suffix), ids.index(marks.middle)
        before, after, middle = ids[:at], ids[at + 1 : last], ids[last + 1 :]
        assert not (before and spm)
        again += [*opening, *before, *middle, *after, 2]
    assert len(again) > 100
    assert again == text.tolist()[: len(again)]
