"""Tiny Shakespeare by characters to a validation loss of 1.60: seconds of `fledge pretrain` beside
those of nanoGPT's own train.py, compiled, at its own settings for this text.

--nanogpt FOLDER is a checkout of github.com/karpathy/nanoGPT; a copy of it is run. Both train as
many parameters (6 layers × 192 unless --width says another, context 128, 32 rows a step), nanoGPT
without dropout, as its README advises for a CPU, and learn from the first nine tenths of the
characters. nanoGPT is judged on draws from the last tenth, ours on the whole first half of it, its
validation set (the other half is its test set). Seconds are the median step's times the steps to
the first evaluation that reached the loss: neither evaluations nor compiling count. Ours takes Muon
and WSD, and measures precision and compiling itself as every long run does. The text:
benchmarks/shakespeare.py says where it is.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from fledge.hub.folder import load_model
from fledge.recipes.language.pretrain import PretrainConfig, pretrain
from fledge.runs.show import Show
from shakespeare import corpus
from side_by_side import finish, options, say, table

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 6, 192, 6, 128, 32
WANTED = 1.60  # nats a character
EVERY = 50  # steps from evaluation to evaluation
STEPS = {"fledge": 600, "nanoGPT": 2000}  # planned: each side's schedule ends there
RATE = 4e-3


def ours(data: Path, width: int, steps: int, seed: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp()) / "run"
    config = PretrainConfig(
        data=str(data),
        tokenizer="characters",
        layers=LAYERS,
        width=width,
        heads=HEADS,
        context=CONTEXT,
        row_tokens=CONTEXT,
        tokens_per_step=BATCH * CONTEXT,
        steps=steps,
        warmup_steps=max(1, steps // 20),
        learning_rate=RATE,
        optimizer="muon",
        schedule="wsd",
        seed=seed,
        out=folder,
        evaluate_every=EVERY,
        evaluation_rows=640,
    )
    pretrain(config, Show(Console(file=io.StringIO())))

    def read(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    losses = [
        (row["step"], row["validation_loss"])
        for row in read("metrics.jsonl")
        if "validation_loss" in row
    ]
    parameters = load_model(folder / "model").network.config.parameters
    step_s = statistics.median(row["total"] for row in read("timings.jsonl"))
    shutil.rmtree(folder.parent)
    return report(losses, step_s, parameters)


def report(losses: list[tuple[int, float]], step_s: float, parameters: float) -> dict[str, Any]:
    """Steps to the loss, None where it was not reached; the best loss; millions of parameters."""
    reached = next((step for step, loss in losses if loss <= WANTED), None)
    best = min((loss for _, loss in losses), default=float("nan"))
    return {"reached": reached, "best": best, "step_s": step_s, "parameters": parameters / 1e6}


def theirs(checkout: Path, text: Path, width: int, steps: int) -> dict[str, Any]:
    """Until the loss is reached or the planned steps have ended."""
    place = Path(tempfile.mkdtemp())
    folder = place / "nanogpt"
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns(".git"))
    data = folder / "data" / "shakespeare_char"
    shutil.copyfile(text, data / "input.txt")
    subprocess.run([sys.executable, data / "prepare.py"], check=True, stdout=subprocess.DEVNULL)
    sizes = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": width, "block_size": CONTEXT}
    plan = {"batch_size": BATCH, "max_iters": steps, "lr_decay_iters": steps, "dropout": 0.0}
    # 20 batches of 32 rows are 82,000 characters; ours are all 56,000 of its validation set.
    often = {"eval_interval": EVERY, "eval_iters": 20, "log_interval": 1, "out_dir": place / "out"}
    words = [f"--{name}={value!s}" for name, value in (sizes | plan | often).items()]
    command = [sys.executable, "-u", "train.py", "config/train_shakespeare_char.py"]
    command += ["--device=cpu", "--compile=True", *words]
    losses: list[tuple[int, float]] = []
    seconds: list[float] = []
    parameters, said = 0.0, ""
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            said = (said + line)[-2000:]
            if judged := re.match(r"step (\d+): .* val loss ([\d.]+)", line):
                losses.append((int(judged[1]), float(judged[2])))
                if losses[-1][1] <= WANTED:
                    child.kill()
            elif timed := re.match(r"iter \d+: .* time ([\d.]+)ms", line):
                seconds.append(float(timed[1]) / 1000)
            elif sized := re.match(r"number of parameters: ([\d.]+)M", line):
                parameters = 1e6 * float(sized[1])
    shutil.rmtree(place)
    if not losses or not seconds:
        sys.exit(f"nanoGPT's train.py ended before its first evaluation. It said:\n{said}")
    return report(losses, statistics.median(seconds), parameters)


def main() -> None:
    given = options(
        __doc__, nanogpt="its checkout", width=f"of both, {WIDTH}", seeds="of ours, 3; theirs has 1"
    )
    if given.nanogpt is None or not (Path(given.nanogpt) / "train.py").exists():
        sys.exit("--nanogpt FOLDER is wanted: a checkout of github.com/karpathy/nanoGPT.")
    width, seeds = int(given.width or WIDTH), int(given.seeds or (1 if given.quick else 3))
    short = {side: min(steps, 60) if given.quick else steps for side, steps in STEPS.items()}
    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / "input.txt"
        text.write_bytes(gzip.decompress(corpus().read_bytes()))
        peer = theirs(Path(given.nanogpt), text, width, short["nanoGPT"])
        say(f"nanoGPT: {peer}")
        made = []
        for seed in range(seeds):
            made.append(ours(text, width, short["fledge"], seed))
            say(f"fledge, seed {seed}: {made[-1]}")
    ratios: dict[str, float] = {}
    if peer["reached"] and all(one["reached"] for one in made):
        own = statistics.median(one["reached"] * one["step_s"] for one in made)
        ratios["seconds to 1.60: fledge / nanoGPT"] = own / (peer["reached"] * peer["step_s"])
    rows = [
        (
            name,
            f"{one['parameters']:.2f}",
            one["reached"] or "never",
            f"{1000 * one['step_s']:.0f}",
            f"{one['reached'] * one['step_s']:.0f}" if one["reached"] else "",
            f"{one['best']:.3f}",
        )
        for name, one in [
            ("nanoGPT, compiled", peer),
            *((f"fledge, seed {seed}", one) for seed, one in enumerate(made)),
        ]
    ]
    header = ("side", "M parameters", f"steps to {WANTED}", "ms a step", "seconds", "best loss")
    figures = {"nanoGPT": peer, "fledge": made}
    targets = {"seconds to 1.60: fledge / nanoGPT": "≤ 0.5"}
    finish(given.json, table(header, rows), ratios, figures, targets)


if __name__ == "__main__":
    main()
