"""Whether the best learning rate of a narrow transformer is that of one four times as wide: the
loss over a grid of rates at widths 64 and 256, or --wide, under parameterization=standard and =mup.

Three layers with heads of 16 learn the bytes of Python's own help topics (pydoc_data), 96 steps of
512 bytes; the loss is of the last tenth of the text, which is held out.
"""

from __future__ import annotations

from pydoc_data import topics

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fledge.models.language.parameterization import choose_rates, widen_
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.optimizers import RATE, adamw, same
from fledge.schedule import Schedule
from side_by_side import finish, options, say, table

NARROW, WIDE = 64, 256
RATES = (2e-3, 4e-3, 8e-3, 16e-3, 32e-3)
STEPS, ROWS, CONTEXT = 96, 8, 64
HELD_OUT_ROWS = 256


def read_text() -> Tensor:
    """Bytes, int64."""
    content = "\n".join(text for _, text in sorted(topics.topics.items())).encode()
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).astype(np.int64))


def take(text: Tensor, starts: Tensor) -> Tensor:
    """-> [rows, CONTEXT + 1]"""
    return text[starts[:, None] + torch.arange(CONTEXT + 1)]


def measure_loss(network: Transformer, rows: Tensor) -> Tensor:
    """Nats a byte."""
    logits = network(rows[:, :-1]) @ network.unembedding.T
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def train(width: int, rate: float, text: Tensor, steps: int, *, mup: bool) -> float:
    """-> loss on held-out text"""
    heads = width // 16
    sizes = TransformerConfig(256, CONTEXT, 3, width, heads=heads, kv_heads=heads)
    network = Transformer(sizes, generator=torch.Generator().manual_seed(0))
    if mup:
        widen_(network)
    rates = choose_rates(sizes) if mup else same
    optimizer = adamw(rates=rates)(list(network.named_parameters()), rate)
    schedule = Schedule(rate, steps, steps // 10, "cosine")
    random, end = torch.Generator().manual_seed(1), len(text) * 9 // 10
    for step in range(steps):
        rows = take(text, torch.randint(end - CONTEXT - 1, (ROWS,), generator=random))
        measure_loss(network, rows).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step) * group.get(RATE, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    starts = torch.linspace(end, len(text) - CONTEXT - 2, HELD_OUT_ROWS).long()
    with torch.no_grad():
        return float(measure_loss(network, take(text, starts)))


def main() -> None:
    given = options(__doc__, wide=f"the other width, {WIDE}", only="standard or mup alone")
    text, steps = read_text(), 4 if given.quick else STEPS
    wide = int(given.wide or WIDE)
    losses: dict[str, list[float]] = {}
    for name in (given.only,) if given.only else ("standard", "mup"):
        for width in (NARROW, wide):
            losses[f"{name} {width}"] = [
                train(width, rate, text, steps, mup=name == "mup") for rate in RATES
            ]
            say(f"{name}, width {width}: {[round(loss, 4) for loss in losses[f'{name} {width}']]}")
    best = {name: RATES[int(np.argmin(each))] for name, each in losses.items()}
    rows = [
        (f"{rate:g}", *(f"{each[n]:.4f}" for each in losses.values()))
        for n, rate in enumerate(RATES)
    ]
    rows.append(("best", *(f"{rate:g}" for rate in best.values())))
    ratio = best.get(f"mup {wide}", float("nan")) / best.get(f"mup {NARROW}", float("nan"))
    aims = [
        {"name": f"under µP the best rate at width {NARROW} is the best at {wide}",
         "figure": ratio, "aim": "their ratio is 1", "holds": ratio == 1}
    ]  # fmt: skip
    if given.only == "standard":
        aims = []
    shown = table(("learning rate", *losses), rows)
    finish(given.json, shown, {}, {"losses": losses, "best": best, "rates": RATES}, {}, aims)


if __name__ == "__main__":
    main()
