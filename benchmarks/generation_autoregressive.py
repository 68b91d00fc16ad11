"""Autoregressive models of pictures: drawing with what was computed kept, beside a whole pass for
each number, and beside transformers' GPT-2 with its own cache.

16 pictures of 28 × 28 of two levels, each model as `fledge imagine` makes it, its weights
fresh. A naive drawing is 784 whole passes; as they all cost the same, a few are timed and counted
up. GPT-2 has as many layers, heads and channels as our transformer, and is asked for as many tokens
by `generate` with its cache. The nats of these models: generation_mnist.py.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch

from fledge.algorithms.registry import find_entry
from fledge.images.pictures import PictureShape
from fledge.models.images.autoregressive import Autoregressive
from side_by_side import alternate, finish, options, seconds, speed_up, table

MODELS = ("wavenet", "pixelcnn", "pixel_transformer")
PICTURES, SIDE, QUICK_SIDE = 16, 28, 8
PASSES = 4  # of a naive drawing that are timed
AIM_CACHED, AIM_PEER = "≥ 20", "≥ 1.5"


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
    peer: Any = GPT2LMHeadModel(config).eval()
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


def main() -> None:
    given = options(__doc__, rounds="drawings of each side, 3 unless given")
    torch.set_num_threads(1)
    side = QUICK_SIDE if given.quick else SIDE
    rounds = int(given.rounds or (1 if given.quick else 3))
    ratios, targets, times, aims = compare_drawing(side, rounds)
    rows = [(name, f"{sorted(each)[len(each) // 2]:.3f}") for name, each in times.items()]
    text = table((f"seconds of {PICTURES} pictures of {side} × {side}", "median"), rows)
    finish(given.json, text, ratios, {"drawing": times}, targets, aims)


if __name__ == "__main__":
    main()
