"""nanoGPT's CPU setting on Tiny Shakespeare: `fledge pretrain` against a plain hand-written PyTorch
loop of the same network.

4 layers, width 128, 4 heads, context 64, batch 12, 2,000 steps, characters
(github.com/karpathy/nanoGPT, README, "I only have a macbook": validation loss 1.88). Ours is the
whole recipe: run folder, logs, evaluations, checkpoints. Both are judged on the last 10% of the
characters, nanoGPT's validation set, every character once, in windows of 64; ours never sees them,
nor learns from them when to stop.

The text: FLEDGE_DATA/text/tinyshakespeare.txt.gz, else the same below ../shared/data. It is
https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt, gzipped.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from fledge.hub.folder import load_model
from fledge.recipes.language.pretrain import PretrainConfig, pretrain
from fledge.runs.show import Show
from fledge.sample.documents import text_rows
from side_by_side import finish, options, say, table

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 4, 128, 4, 64, 12
LEARNING_RATE, WARMUP, DECAY = 3e-3, 100, 0.1


def corpus() -> Path:
    folder = Path(
        os.environ.get("FLEDGE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    )
    path = folder / "text" / "tinyshakespeare.txt.gz"
    if not path.exists():
        sys.exit(
            f"{path} does not exist. Get the text with\n  mkdir -p {path.parent} && curl -L "
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
            f"input.txt | gzip > {path}\nor set FLEDGE_DATA to the folder that holds "
            "text/tinyshakespeare.txt.gz."
        )
    return path


# The plain loop, as a teaching script would write it
# ------------------------------------------------------------------


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight, 1e-5)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        hidden = 32 * math.ceil(WIDTH * 8 / 3 / 32)
        self.norm1, self.norm2 = Norm(WIDTH), Norm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate = nn.Linear(WIDTH, hidden, bias=False)
        self.up = nn.Linear(WIDTH, hidden, bias=False)
        self.down = nn.Linear(hidden, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (
            y.view(b, t, HEADS, -1).transpose(1, 2)
            for y in self.qkv(self.norm1(x)).split(WIDTH, dim=2)
        )
        q, k = (
            y * cos + torch.cat((-y[..., y.shape[-1] // 2 :], y[..., : y.shape[-1] // 2]), -1) * sin
            for y in (q, k)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, WIDTH))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Plain(nn.Module):
    cos: Tensor
    sin: Tensor

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = Norm(WIDTH)
        d = WIDTH // HEADS
        angle = torch.outer(
            torch.arange(CONTEXT).float(), 10_000.0 ** (-torch.arange(0, d, 2) / d)
        ).repeat(1, 2)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(
                    p, std=0.02 / (math.sqrt(2 * LAYERS) if "out" in name or "down" in name else 1)
                )

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]])
        return F.linear(self.norm(x), self.embedding.weight)


def plain(text: str, steps: int, seed: int) -> dict[str, float]:
    """Random windows of the first 90% of the text, AdamW, the same schedule as ours."""
    began = time.perf_counter()
    torch.manual_seed(seed)
    letters = {c: i for i, c in enumerate(sorted(set(text)))}
    data = torch.tensor([letters[c] for c in text])
    cut = len(data) * 9 // 10
    train, held_out = data[:cut], data[cut:]
    model = Plain(len(letters))
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)

    def rate(step: int) -> float:
        if step < WARMUP:
            return LEARNING_RATE * (step + 1) / (WARMUP + 1)
        done = (step - WARMUP) / max(1, steps - WARMUP)
        return LEARNING_RATE * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))

    started = time.perf_counter()
    for step in range(steps):
        start = torch.randint(len(train) - CONTEXT, (BATCH,))
        x = torch.stack([train[i : i + CONTEXT] for i in start])
        y = torch.stack([train[i + 1 : i + 1 + CONTEXT] for i in start])
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        if step % 100 == 0:
            loss.item()
    training = time.perf_counter() - started
    whole = time.perf_counter() - began
    nats = 0.0
    with torch.no_grad():
        for x, y in windows(held_out):
            nats += float(F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum"))
    return {"loss": nats / (len(held_out) - 1), "training_s": training, "whole_s": whole}


def windows(tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets that hold every token but the first as a target once, 256 windows at a
    time.
    """
    full = (len(tokens) - 1) // CONTEXT * CONTEXT
    x, y = tokens[:full].view(-1, CONTEXT), tokens[1 : full + 1].view(-1, CONTEXT)
    pairs = [(x[i : i + 256], y[i : i + 256]) for i in range(0, len(x), 256)]
    if full < len(tokens) - 1:
        pairs.append((tokens[None, full:-1], tokens[None, full + 1 :]))
    return pairs


# Ours
# --------------------------------------------------------------------------------------------------


def ours(path: Path, text: str, steps: int, seed: int, folder: Path) -> dict[str, float]:
    config = PretrainConfig(
        data=str(path),
        tokenizer="characters",
        layers=LAYERS,
        width=WIDTH,
        heads=HEADS,
        context=CONTEXT,
        row_tokens=CONTEXT,
        tokens_per_step=BATCH * CONTEXT,
        steps=steps,
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP,
        weight_decay=DECAY,
        seed=seed,
        out=folder,
    )
    began = time.perf_counter()
    pretrain(config, Show(Console(file=io.StringIO())))
    whole = time.perf_counter() - began
    training = sum(
        json.loads(line)["total"] for line in (folder / "timings.jsonl").read_text().splitlines()
    )
    loaded = load_model(folder / "model")
    held_out = torch.tensor(loaded.tokenizer.encode(text[len(text) * 9 // 10 :]))
    policy, nats = loaded.policy(), 0.0
    with torch.no_grad():
        for x, y in windows(held_out):
            batch = text_rows(torch.cat([x, y[:, -1:]], 1), loaded.tokenizer.begin)
            nats -= float(policy.log_prob(batch.obs, batch.action).double().sum())
    return {"loss": nats / (len(held_out) - 1), "training_s": training, "whole_s": whole}


def main() -> None:
    given = options(__doc__)
    path = corpus()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        text = file.read()
    steps, rounds = (60, 1) if given.quick else (2000, 3)
    measured: dict[str, list[dict[str, float]]] = {"fledge pretrain": [], "plain loop": []}
    for number in range(rounds):
        folder = Path(tempfile.mkdtemp()) / "run"
        measured["fledge pretrain"].append(ours(path, text, steps, number, folder))
        shutil.rmtree(folder.parent)
        measured["plain loop"].append(plain(text, steps, number))
        say(
            f"round {number + 1} of {rounds}: {measured['fledge pretrain'][-1]} against "
            f"{measured['plain loop'][-1]}"
        )
    middle = {
        side: {key: statistics.median(each[key] for each in values) for key in values[0]}
        for side, values in measured.items()
    }

    def slower(key: str) -> float:
        both = zip(measured["fledge pretrain"], measured["plain loop"], strict=True)
        return statistics.median(a[key] / b[key] for a, b in both)

    text_table = table(
        ("side", "held-out loss", "training s", "whole s"),
        [
            (side, f"{m['loss']:.4f}", f"{m['training_s']:.1f}", f"{m['whole_s']:.1f}")
            for side, m in middle.items()
        ],
    )
    ratios = {
        "loss / 1.88": middle["fledge pretrain"]["loss"] / 1.88,
        "training time: ours / plain loop": slower("training_s"),
        "whole time: ours / plain loop": slower("whole_s"),
    }
    targets = {
        "loss / 1.88": "≤ 1",
        "training time: ours / plain loop": "≤ 1.10",
        "whole time: ours / plain loop": "≤ 1.10",
    }
    figures = {"median": middle, "rounds": measured, "steps": steps}
    finish(given.json, text_table, ratios, figures, targets)


if __name__ == "__main__":
    main()
