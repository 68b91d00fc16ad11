"""Autoregressive models of pictures: drawing with what was computed kept, beside a whole pass for
each number, and beside transformers' GPT-2 with its own cache; nats on binarised MNIST.

Drawing: 16 pictures of 28 × 28 of two levels, each model as `fledge imagine` makes it, its weights
fresh. A naive drawing is 784 whole passes; as they all cost the same, a few are timed and counted
up. GPT-2 has as many layers, heads and channels as our transformer, and is asked for as many tokens
by `generate` with its cache.

Nats: `--pictures` is MNIST's t10k-images-idx3-ubyte.gz, drawn to two levels by content
(binarise=hash): some 9,000 to learn from, 500 to steer, 500 to test. Those are not the published
split of 50,000. Every rung of `fledge ladder density` learns for `--seconds` (60), one thread.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import fledge
from fledge.algorithms.registry import find_entry
from fledge.images.pictures import PictureShape
from fledge.models.images.autoregressive import Autoregressive
from side_by_side import alternate, finish, options, say, seconds, speed_up, table

MODELS = ("wavenet", "pixelcnn", "pixel_transformer")
PICTURES, SIDE, QUICK_SIDE = 16, 28, 8
PASSES = 4  # of a naive drawing that are timed
AIM_CACHED, AIM_PEER = "≥ 20", "≥ 1.5"
BEST = ("pixelcnn", "pixel_transformer")


def build(name: str, side: int) -> Autoregressive:
    entry = find_entry("images", name)
    torch.manual_seed(0)
    return entry.algorithm.build(entry.settings("images"), PictureShape(1, side, side, 2)).eval()


def time_naively(model: Autoregressive) -> float:
    row = torch.zeros(PICTURES, model.length, dtype=torch.long)
    with torch.no_grad():
        taken = seconds(lambda: [model.conditionals(row, None) for _ in range(PASSES)])
    return taken * model.length / PASSES


def make_gpt2(model: Any) -> Callable[[], Any]:
    """As many layers, heads and channels, and one token to begin with."""
    from transformers import GPT2Config, GPT2LMHeadModel

    given = model.settings
    config = GPT2Config(
        vocab_size=3, n_positions=model.length + 1, n_embd=given["width"], n_layer=given["layers"],
        n_head=given["heads"], bos_token_id=2, eos_token_id=None, pad_token_id=2,
    )  # fmt: skip
    peer = GPT2LMHeadModel(config).eval()
    start = torch.full((PICTURES, 1), 2)

    def draw() -> None:
        drawn = peer.generate(
            start, attention_mask=torch.ones_like(start), do_sample=True, use_cache=True,
            max_new_tokens=model.length, min_new_tokens=model.length,
        )  # fmt: skip
        assert drawn.shape[1] == model.length + 1

    return draw


def compare_drawing(side: int, rounds: int) -> tuple[dict[str, float], dict[str, str], Any, Any]:
    sides: dict[str, Callable[[], Any]] = {}
    lacking: list[dict[str, Any]] = []
    ratios, targets = {}, {}
    for name in MODELS:
        model = build(name, side)
        uniform = torch.rand(PICTURES, model.length)
        sides[f"{name}, kept"] = lambda m=model, u=uniform: (m.draw(u), None)[1]
        sides[f"{name}, naive"] = lambda m=model: time_naively(m)
        if name == "pixel_transformer":
            if importlib.util.find_spec("transformers") is None:
                lacking.append(
                    {
                        "name": "drawing, transformers' GPT-2 / ours: it is not installed",
                        "figure": 0.0, "aim": AIM_PEER, "holds": False,
                    }
                )  # fmt: skip
            else:
                sides["GPT-2, its cache"] = make_gpt2(model)
    times = alternate(sides, rounds)
    for name in MODELS:
        ratio = f"drawing with {name}, naive / kept"
        ratios[ratio] = speed_up(times, f"{name}, kept", f"{name}, naive")
        targets[ratio] = AIM_CACHED
    if "GPT-2, its cache" in times:
        ratio = "drawing, transformers' GPT-2 / our pixel_transformer"
        ratios[ratio] = speed_up(times, "pixel_transformer, kept", "GPT-2, its cache")
        targets[ratio] = AIM_PEER
    return ratios, targets, times, lacking


def climb(data: str, each: float) -> list[dict[str, Any]]:
    """Every rung, in folders that are then removed."""
    with tempfile.TemporaryDirectory() as folder:
        done = fledge.ladder_density(
            data=data, binarise="hash", seconds=each, samples=4, runs=Path(folder) / "runs",
            out=Path(folder) / "ladder.html",
        )  # fmt: skip
    return done["rungs"]


def judge_best(rungs: list[dict[str, Any]]) -> dict[str, Any]:
    """How far behind the best of all the better of the two is, in nats that are exact."""
    exact = {one["rung"]: one["nats"] for one in rungs if one["measure"] == "exact"}
    behind = min(exact[name] for name in BEST) - min(exact.values())
    return {
        "name": "nats of PixelCNN or the pixel transformer behind the best exact rung",
        "figure": behind, "aim": "≤ 0", "holds": behind <= 0,
    }  # fmt: skip


def main() -> None:
    given = options(
        __doc__,
        pictures="MNIST's t10k-images-idx3-ubyte.gz; without it no nats are measured",
        seconds="for which each rung learns, 60 unless given",
        rounds="drawings of each side, 3 unless given",
    )
    torch.set_num_threads(1)
    side = QUICK_SIDE if given.quick else SIDE
    rounds = int(given.rounds or (1 if given.quick else 3))
    ratios, targets, times, aims = compare_drawing(side, rounds)
    rows = [(name, f"{sorted(each)[len(each) // 2]:.3f}") for name, each in times.items()]
    text = table((f"seconds of {PICTURES} pictures of {side} × {side}", "median"), rows)
    figures: dict[str, Any] = {"drawing": times}
    data = "digits" if given.quick else given.pictures
    if data is None:
        aims.append(
            {
                "name": "nats on binarised MNIST: give --pictures", "figure": 0.0, "aim": "≤ 0",
                "holds": False,
            }
        )  # fmt: skip
    else:
        each = float(given.seconds or (0.2 if given.quick else 60))
        say(f"every rung for {each:g} s")
        rungs = climb(data, each)
        figures["ladder"] = {"seconds_each": each, "data": data, "rungs": rungs}
        cells = [
            (one["rung"], f"{one['nats']:.2f}", one["measure"], f"{one['parameters']:,}",
             f"{one['steps']:,}", f"{one['seconds']:.1f}") for one in rungs
        ]  # fmt: skip
        header = (f"nats, {each:g} s each", "nats", "measure", "parameters", "steps", "seconds")
        text += "\n\n" + table(header, cells)
        aims.append(judge_best(rungs))
    finish(given.json, text, ratios, figures, targets, aims)


if __name__ == "__main__":
    main()
