"""Recurrent language models: training beside a loop of torch's own around nn.LSTM, and writing at
the end of a long text beside a transformer of as many parameters.

Training: tokens a second of the optimizer step that `fledge pretrain architecture=lstm` makes, and
of nn.Embedding, nn.LSTM and cross-entropy with the same sizes, rows, clipping and AdamW. Writing:
tokens a second of the engine behind a prompt, which all rows share, up to the END-th token: for the
LSTM a state of fixed size, for the transformer keys and values of all that was read, for one row
and for several side by side, which share the weights and not these.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.learner import Learner, Schedule
from fledge.models.language.presets import recurrent_config, transformer_config
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.transformer import Transformer
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories, from_rows
from side_by_side import Times, alternate, finish, options, say, speed_up, table

VOCAB, LAYERS, WIDTH = 4096, 2, 512
ROWS, STEPS = 16, 128  # of an optimizer step
END, PART = 2_000, 100  # where the writing ends, and how many tokens of it are timed
SIDE_BY_SIDE = (1, 16)  # rows


def main() -> None:
    given = options(__doc__)
    quick = given.quick
    width, steps, end = (64, 16, 200) if quick else (WIDTH, STEPS, END)
    rows = torch.randint(1, VOCAB, (ROWS, steps + 1), generator=torch.Generator().manual_seed(0))
    say(f"an LSTM of {LAYERS} layers, {width} wide: training")
    times = alternate(
        {"fledge": make_ours(rows, width), "torch": make_theirs(rows, width)},
        rounds=2 if quick else 9,
    )
    figures: dict[str, Any] = {"tokens/s trained": take_medians(times, ROWS * steps)}
    ratios = {"training, fledge / torch": speed_up(times, "fledge", "torch")}
    lstm, peer = make_writers(width, end)
    for number in SIDE_BY_SIDE:
        say(f"{number} rows: {count(lstm):,} parameters beside {count(peer):,}")
        written = alternate(
            {
                "lstm": lambda number=number: write(lstm, number, end),
                "transformer": lambda number=number: write(peer, number, end),
            },
            rounds=2 if quick else 5,
        )
        figures[f"tokens/s written, {number} rows"] = take_medians(written, number * PART)
        ratios[f"writing, {number} rows, lstm / transformer"] = speed_up(
            written, "lstm", "transformer"
        )
    rows_of_table = [
        (f"{name}, {side}", f"{value:,.0f}")
        for name, sides in figures.items() for side, value in sides.items()
    ]  # fmt: skip
    targets = {
        "training, fledge / torch": "≥ 0.95",
        f"writing, {SIDE_BY_SIDE[-1]} rows, lstm / transformer": "≥ 3",
    }
    finish(given.json, table(("", ""), rows_of_table), ratios, figures, targets, [])


def make_ours(rows: torch.Tensor, width: int) -> Callable[[], object]:
    """One optimizer step of ours on these rows."""
    sizes = recurrent_config("tiny", VOCAB, "lstm", layers=LAYERS, width=width, tied=True)
    policy = TokenPolicy(Recurrent(sizes, None, torch.Generator().manual_seed(0)))
    learner = Learner(policy, Schedule(1e-3, 1000), optimizer=adamw(weight_decay=0.0))
    algorithm = Supervised(policy, learner, Stopwatch())
    batch: Trajectories = from_rows(
        rows.tolist(), [[False, *[True] * (rows.shape[1] - 1)] for _ in rows]
    )
    return lambda: algorithm.update(batch)


class Theirs(nn.Module):
    """What one would write with torch alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, width)
        self.lstm = nn.LSTM(width, width, LAYERS, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.lstm(self.embedding(tokens))[0] @ self.embedding.weight.T


def make_theirs(rows: torch.Tensor, width: int) -> Callable[[], object]:
    """One optimizer step of torch's own on these rows."""
    torch.manual_seed(0)
    model = Theirs(width)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )

    def step() -> None:
        logits = model(rows[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())  # as whoever logs it does

    return step


def make_writers(width: int, tokens: int) -> tuple[TokenPolicy, TokenPolicy]:
    """An LSTM and a transformer of about as many parameters, both with random weights."""
    cells = recurrent_config(
        "tiny", VOCAB, "lstm", layers=LAYERS, width=width, tied=True, context=tokens + 2
    )
    lstm = Recurrent(cells, None, torch.Generator().manual_seed(0))
    layers = 1
    while True:
        sizes = transformer_config(
            "tiny", VOCAB, layers=layers, width=width, heads=max(1, width // 64),
            context=tokens + 2, tied=True,
        )  # fmt: skip
        if sizes.parameters >= cells.parameters:
            break
        layers += 1
    peer = Transformer(sizes, generator=torch.Generator().manual_seed(0))
    return TokenPolicy(lstm.eval()), TokenPolicy(peer.eval())


def count(policy: TokenPolicy) -> int:
    return sum(weight.numel() for weight in policy.parameters())


def write(policy: TokenPolicy, rows: int, end: int) -> float:
    """Seconds of the last PART tokens of so many rows, none of which has a stop token: what the
    first token behind the prompt takes, the prompt's with it, is taken away.
    """
    prompt = [1 + i % (VOCAB - 1) for i in range(end - PART - 1)]
    engine = Engine(policy, slots=rows)

    def run(tokens: int) -> float:
        asked = [Request(prompt, tokens, sample=i) for i in range(rows)]
        began = time.perf_counter()
        done = engine.run(asked)
        assert all(len(row.tokens) == tokens for row in done)
        return time.perf_counter() - began

    run(1)  # from now on the prompt's beginning is in a slot
    first, whole = run(1), run(1 + PART)
    return max(whole - first, 1e-9)


def take_medians(times: Times, tokens: int) -> dict[str, float]:
    """Tokens a second of each side."""
    return {name: tokens / statistics.median(each) for name, each in times.items()}


if __name__ == "__main__":
    main()
