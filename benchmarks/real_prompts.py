"""How fast a real model reads, SmolLM2-135M-Instruct, which `make real` fetches, against llama.cpp
and transformers.

- read: prompts of 512 and 1,900 tokens that nobody has read before, to the first token after them:
  prompt tokens a second. Ours in fp32, bf16 and int8; llama.cpp (xllamacpp) on files of ours in F16
  and Q8_0; transformers in fp32 and bf16.
- next: the prompt of 1,900 tokens, its answer of 8, and 40 more: seconds to the first token where
  the turn before is in the prefix cache, of ours and of llama.cpp; transformers has none.
In turn, in one process, one row at a time; every round has a prompt of its own. Torch's number of
threads on every side. A peer that cannot run is an aim that does not hold.
"""

from __future__ import annotations

import statistics
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
from real_model import THREADS, WIDTHS, draw, fastest, find_model, why
from side_by_side import Times, alternate, finish, judge, options, say, speed_up, table

LENGTHS, ANSWER, MORE = (512, 1900), 8, 40
PRECISIONS = ("fp32", "bf16", "int8")
NEXT = "next turn, seconds, ours bf16 / llama.cpp F16"
AIMS = (
    {
        f"{length} tokens, ours {width} / llama.cpp {theirs}": "≥ 1"
        for length in LENGTHS
        for width, theirs in WIDTHS.items()
        if width in PRECISIONS
    }
    | {f"{length} tokens, ours best / transformers best": "≥ 1" for length in LENGTHS}
    | {NEXT: "≤ 1"}
)
Side = Callable[[list[int], int], list[int]]  # reads a prompt, and says so many tokens


def main() -> None:
    given = options(__doc__)
    rounds, lengths = (1, (128,)) if given.quick else (3, LENGTHS)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loaded = load_model(find_model())
        say("writing the model as the peers read it …")
        save_model(folder / "hf", loaded.network, loaded.tokenizer)
        loaded.network.requires_grad_(False)
        room = max(lengths) + ANSWER + MORE + 8
        ours = {f"ours {each}": read_ours(loaded, each, room) for each in PRECISIONS}
        remember = ours | start_llamas(loaded, folder, room, missing)
        everyone = remember | start_transformers(folder / "hf", missing)
        for length in lengths:
            say(f"prompts of {length} tokens")
            sides = {side: time_prompt(work, length) for side, work in everyone.items()}
            times = alternate(sides, rounds)
            speed = {side: length / statistics.median(taken) for side, taken in times.items()}
            figures[f"{length} tokens, prompt tokens/s"] = speed
            compare(f"{length} tokens", times, speed, ratios)
        say("next turns")
        sides = {side: time_next_turn(work, max(lengths)) for side, work in remember.items()}
        times = alternate(sides, rounds)
        figures["next turn, s"] = {side: statistics.median(taken) for side, taken in times.items()}
        if (peer := "llama.cpp F16") in times:
            ratios[NEXT] = 1 / speed_up(times, "ours bf16", peer)
    unmet = [
        {"name": name, "figure": 0.0, "aim": aim, "holds": False, "reason": why(name, missing)}
        for name, aim in AIMS.items()
        if name not in ratios
    ]
    figures["missing"] = missing
    aims = [judge(name, ratios[name], aim) for name, aim in AIMS.items() if name in ratios]
    finish(given.json, describe(figures), ratios, figures, {}, aims + unmet)


def read_ours(loaded: Loaded, precision: Any, positions: int) -> Side:
    engine = Engine(
        loaded.policy(), slots=1, positions=positions, precision=precision, prefix_cache_rows=1
    )

    def work(prompt: list[int], new: int) -> list[int]:
        [said] = engine.run([Request(prompt, new, rule=Decoding(0.0))])
        return said.tokens

    return work


def start_llamas(
    loaded: Loaded, folder: Path, positions: int, missing: dict[str, str]
) -> dict[str, Side]:
    sides: dict[str, Side] = {}
    for kind in ("F16", "Q8_0"):
        save_gguf(folder / f"{kind}.gguf", loaded.network, loaded.tokenizer, kind)
        try:
            server = Llama(folder / f"{kind}.gguf", 1, positions, THREADS)
        except ImportError as error:
            missing["llama.cpp"] = str(error)
            break
        sides[f"llama.cpp {kind}"] = lambda prompt, new, server=server: server.go_on(
            [prompt], new, cached=True
        )[0]
    return sides


def start_transformers(folder: Path, missing: dict[str, str]) -> dict[str, Side]:
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        missing["transformers"] = str(error)
        return {}

    def start(dtype: torch.dtype) -> Side:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

        def work(prompt: list[int], new: int) -> list[int]:
            begin = torch.tensor([prompt])
            with torch.inference_mode():
                said = model.generate(
                    begin, attention_mask=torch.ones_like(begin), do_sample=False,
                    max_new_tokens=new, eos_token_id=None, pad_token_id=0,
                )  # fmt: skip
            return said[0, len(prompt) :].tolist()

        return work

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return {f"transformers {name}": start(dtype) for name, dtype in kinds.items()}


def time_prompt(work: Side, length: int) -> Callable[[], float]:
    """Seconds to the first token after a prompt that begins like none before."""
    random = np.random.default_rng(length)

    def once() -> float:
        prompt = draw(random, length)
        began = time.perf_counter()
        assert len(work(prompt, 1)) == 1
        return time.perf_counter() - began

    return once


def time_next_turn(work: Side, length: int) -> Callable[[], float]:
    """Seconds to the first token of the second turn."""
    random = np.random.default_rng(length + 1)

    def once() -> float:
        prompt = draw(random, length)
        second = [*prompt, *work(prompt, ANSWER), *draw(random, MORE)]
        began = time.perf_counter()
        assert len(work(second, 1)) == 1
        return time.perf_counter() - began

    return once


def compare(what: str, times: Times, speed: dict[str, float], ratios: dict[str, float]) -> None:
    for width, kind in WIDTHS.items():
        one, other = f"ours {width}", f"llama.cpp {kind}"
        if one in times and other in times:
            ratios[f"{what}, {one} / {other}"] = speed_up(times, one, other)
    if (peer := fastest(speed, "transformers")) is not None:
        best = fastest(speed, "ours")
        ratios[f"{what}, ours best / transformers best"] = speed_up(times, best, peer)


def describe(figures: dict[str, Any]) -> str:
    sides = [
        (f"{name}, {side}", f"{figure:,.3g}" if figure < 100 else f"{figure:,.0f}")
        for name, several in figures.items()
        if name != "missing"
        for side, figure in several.items()
    ]
    missing = [f"not here: {reason}" for reason in figures["missing"].values()]
    return "\n\n".join([table(("reading", "figure"), sides), *missing])


if __name__ == "__main__":
    main()
