"""A real model aligned, SmolLM2-135M-Instruct, which `make real` fetches: GRPO and DPO with a LoRA
adapter, ours against TRL with PEFT, each side in a process of its own.

- grpo: 8 prompts × 8 completions of 64 tokens a step, no row may stop early, no KL; sampling,
  reward and the optimizer step together. Ours computed in bf16, with the frozen base in bf16 and in
  NF4. TRL in bf16 by autocast, with the base in fp32 and in bf16, sampling by transformers, its
  rows in eights, which is as many as it holds at a time; also with gradient checkpointing.
- dpo: 8 pairs a step of log-normal lengths (prompts of median 40, answers of median 60, to 256
  tokens); the reference's log-probabilities are counted, once a pair: ours beside each step, TRL's
  beside each step or before training. TRL has its rows as they come and sorted by length.
- exact: 4 short pairs a step in fp32, and no speed: do both sides learn the same? In bf16 rounding
  alone moves the loss of the second step by some hundredths.
Both sides begin with the same adapter, and make the same first step, which is not timed; the norms
of its gradients, and the loss after it, say whether they do the same work. Both cores' threads on
every side: torch's number of them. A peer that cannot run is an aim that does not hold.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.hub.folder import load_model, save_model
from fledge.models.language.adapters import LoRA
from fledge.tasks.named import load_task
from fledge.text.asking import encode_prompt
from real_model import Figures, draw, find_model, run_in_turn, why
from side_by_side import finish, judge, options, say, table

TASK = "reverse"  # only its prompts are used, in the model's chat template
SEED = 1
AIMS = {
    "grpo, completions/s, ours best / TRL best": "≥ 3",
    "grpo, peak memory, ours bf16 / TRL fastest": "≤ 0.3",
    "dpo, pairs/s, ours best / TRL best": "≥ 2",
    **{
        f"{part}, first gradient, ours bf16 / TRL bf16, away from 1": "≤ 0.05"
        for part in ("grpo", "dpo")
    },
    "exact, second loss, ours / TRL, away from 1": "≤ 0.0001",
}
Sides = dict[str, dict[str, Any]]


def main() -> None:
    given = options(
        __doc__, parts="of grpo,dpo,exact those that are measured; default all",
        sides="of grpo and dpo, those that are measured, with / between; default all",
    )  # fmt: skip
    parts = (given.parts or "grpo,dpo,exact").split(",")
    ratios: dict[str, float] = {}
    figures: Figures = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = prepare(folder)
        for part, make_sides in {"grpo": grpo_sides, "dpo": dpo_sides}.items():
            if part in parts:
                sides = make_sides(shared, given.quick)
                if given.sides:
                    sides = {name: sides[name] for name in given.sides.split("/")}
                measured = run_in_turn(part, sides, 1, folder, missing)
                figures[part] = measured
                compare(part, measured, ratios)
        if "exact" in parts:
            measured = run_in_turn("dpo", exact_sides(shared, given.quick), 1, folder, missing)
            figures["exact"] = measured
            if "TRL fp32" in measured:
                same = measured["ours fp32"]["second_loss"] / measured["TRL fp32"]["second_loss"]
                ratios["exact, second loss, ours / TRL, away from 1"] = abs(same - 1)
    unmet = [
        {"name": name, "figure": 0.0, "aim": aim, "holds": False, "reason": why(name, missing)}
        for name, aim in AIMS.items()
        if name not in ratios and name.split(",")[0] in parts
    ]
    figures["missing"] = missing
    aims = [judge(name, ratios[name], aim) for name, aim in AIMS.items() if name in ratios]
    finish(given.json, describe(figures), ratios, figures, {}, aims + unmet)


def prepare(folder: Path) -> dict[str, Any]:
    """The model and the adapter that all begin with, as the peer reads them.  -> what all sides are
    given
    """
    say("writing the model as the peer reads it …")
    loaded = load_model(find_model())
    save_model(folder / "hf", loaded.network, loaded.tokenizer)
    allowed = loaded.policy().allowed
    assert allowed is not None
    allowed[list(loaded.tokenizer.ends)] = False
    task = load_task(TASK)
    prompts = [
        encode_prompt(loaded.tokenizer, task.example(i, "train").prompt) for i in range(8 * 4)
    ]
    adapted = load_model(folder / "hf").adapt(
        LoRA(16, 32.0), generator=torch.Generator().manual_seed(SEED)
    )
    adapted.save(folder / "adapter")
    return {
        "model": str(folder / "hf"),
        "adapter": str(folder / "adapter"),
        "scratch": str(folder / "trl"),
        "seed": SEED,
        "learning_rate": 5e-5,
        "banned": (~allowed).nonzero().flatten().tolist(),
        "task": TASK,
        "prompts": prompts,
    }


def add_sides(ours: dict[str, Any], trl: dict[str, Any], quick: bool) -> Sides:
    """By how the weights are held and computed with."""
    bf16 = {"precision": "bf16", "generation": "bf16"}
    trl = trl | {"precision": "bf16", "checkpointing": False}
    sides: Sides = {
        "ours bf16": ours | bf16 | {"weights": "bf16"},
        "ours nf4": ours | bf16 | {"weights": "nf4"},
        "TRL bf16": trl | {"weights": "fp32"},
        "TRL bf16, weights too": trl | {"weights": "bf16"},
        "TRL bf16, checkpointing": trl | {"weights": "fp32", "checkpointing": True},
    }
    return {name: sides[name] for name in ("ours bf16", "TRL bf16")} if quick else sides


def grpo_sides(shared: dict[str, Any], quick: bool) -> Sides:
    prompts, samples, new, steps = (2, 2, 8, 1) if quick else (8, 8, 64, 1)
    random = np.random.default_rng(3)
    given = shared | {
        "prompts_per_step": prompts,
        "samples": samples,
        "new": new,
        "steps": steps,
        "prompts": shared["prompts"][: prompts * (steps + 1)],
        "first": [draw(random, new) for _ in range(prompts * samples)],
    }
    return add_sides(given, given | {"rows": min(8, prompts * samples)}, quick)


def dpo_sides(shared: dict[str, Any], quick: bool) -> Sides:
    size, steps, longest = (2, 1, 16) if quick else (8, 3, 256)
    random = np.random.default_rng(4)
    number = size * (steps + 1)
    lengths = np.stack(
        [
            np.clip(random.lognormal(np.log(median), 0.67, number), 8, longest).astype(int)
            for median in (40, 60, 60)  # prompt, preferred, rejected
        ]
    ).T
    pairs = [[draw(random, length) for length in row] for row in lengths.tolist()]
    sorted_pairs = pairs[:size] + sorted(pairs[size:], key=lambda pair: sum(map(len, pair)))
    given = shared | {"pairs": pairs, "pairs_per_step": size, "steps": steps}
    sides = add_sides(given, given | {"rows": size, "precompute": False}, quick)
    if not quick:
        plain = sides["TRL bf16, weights too"]
        sides["TRL bf16, weights too, by length"] = plain | {"pairs": sorted_pairs}
        sides["TRL bf16, weights too, reference first"] = plain | {"precompute": True}
    return sides


def exact_sides(shared: dict[str, Any], quick: bool) -> Sides:
    size, longest = (2, 16) if quick else (4, 60)
    random = np.random.default_rng(4)
    lengths = np.clip(random.lognormal(np.log(30), 0.5, (2 * size, 3)), 8, longest).astype(int)
    given = shared | {
        "pairs": [[draw(random, length) for length in row] for row in lengths.tolist()],
        "pairs_per_step": size,
        "steps": 1,
        "precision": "fp32",
        "weights": "fp32",
    }
    peer = {"rows": size, "precompute": False, "checkpointing": False}
    return {"ours fp32": given, "TRL fp32": given | peer}


def compare(part: str, measured: dict[str, dict[str, float]], ratios: dict[str, float]) -> None:
    """Ours against the peer: how many a second, the peak memory, the first step."""
    unit = {"grpo": "completions", "dpo": "pairs"}[part]
    for each in measured.values():
        each["per_s"] = each[unit] / each["seconds"]
    ours, peers = (
        [one for name, one in measured.items() if name.startswith(who)] for who in ("ours", "TRL")
    )
    if not peers or not ours:
        return
    fastest = max(peers, key=lambda one: one["per_s"])
    best = max(one["per_s"] for one in ours)
    ratios[f"{part}, {unit}/s, ours best / TRL best"] = best / fastest["per_s"]
    for side, one in measured.items():
        if side.startswith("ours"):
            share = one["peak_mb"] / fastest["peak_mb"]
            ratios[f"{part}, peak memory, {side} / TRL fastest"] = share
    if {"ours bf16", "TRL bf16"} <= measured.keys():
        same = measured["ours bf16"]["first_gradient"] / measured["TRL bf16"]["first_gradient"]
        ratios[f"{part}, first gradient, ours bf16 / TRL bf16, away from 1"] = abs(same - 1)


def describe(figures: Figures) -> str:
    tables = []
    for part, head in {
        "grpo": ("completions/s", "sampling_s", "first_gradient"),
        "dpo": ("pairs/s", "reference_s", "first_gradient", "second_loss"),
    }.items():
        rows = [
            (side, f"{one['per_s']:.2f}", f"{one['peak_mb']:,.0f}", f"{one['seconds']:.1f}",
             *(f"{one[key]:.4g}" for key in head[1:]))
            for side, one in figures.get(part, {}).items()
        ]  # fmt: skip
        if rows:
            names = (key.replace("_s", ", s").replace("_", " ") for key in head[1:])
            tables.append(table((f"{part} with LoRA", head[0], "peak MB", "seconds", *names), rows))
    exact = [
        (side, f"{one['first_gradient']:.7g}", f"{one['second_loss']:.7g}")
        for side, one in figures.get("exact", {}).items()
    ]
    if exact:
        tables.append(table(("dpo in fp32", "first gradient", "second loss"), exact))
    missing = [f"not here: {reason}" for reason in figures["missing"].values()]
    return "\n\n".join([*tables, *missing])


if __name__ == "__main__":
    main()
