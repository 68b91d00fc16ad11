"""Generation against transformers.generate on the same weights: new tokens a second, beside what
the machine allows.

The model of benchmarks/pretrain.py (6 layers, width 256, 4 heads, vocabulary 4,096), written by
`save_model` and read back by `from_pretrained`. Prompts of 32 tokens, temperature 1, no row may
stop early.
- equal: 1, 32 and 128 rows of 128 new tokens, fp32 and bf16 on both sides, int8 on ours;
  transformers with its growing cache, with a static one, and with a static one compiled.
- ragged: 256 requests of 8 to 256 new tokens. transformers takes them 32 at a time, each batch as
  long as its longest row; ours takes them as they come. Beside it, ours with as many tokens in rows
  of equal length.
- prefill: 8 samples of one prompt of 512 tokens, to the first token, beside 1 sample.
- drift: mean and largest distance of our log-probabilities from the trainer's.
The ceilings: for one row, the weights' bytes over the memory's bandwidth; for 128, the operations
of the weights' products over the matrix rate. Attention, the cache and the choice of a token come
on top of either.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.engine.engine import Engine
from fledge.engine.packed import make_product
from fledge.engine.request import Request
from fledge.hub.folder import save_model
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.text.tokenizer import train_tokenizer
from pretrain import SIZES, SPECIAL, VOCABULARY
from side_by_side import Times, alternate, finish, options, say, speed_up, table

PROMPT, NEW = 32, 128
BATCHES = (1, 32, 128)
PRECISIONS = ("fp32", "bf16", "int8")
CACHES = ("", " static", " static compiled")  # of transformers
RAGGED, SHORTEST, LONGEST, SLOTS = 256, 8, 256, 128
LONG_PROMPT, GROUP = 512, 8
TARGETS = {1: 2.2, 32: 2.2, 128: 2.8}

Made = list[tuple[Sequence[int], int]]  # prompt, new tokens


def main() -> None:
    given = options(__doc__)
    rounds, new = (1, 8) if given.quick else (3, NEW)
    network = Transformer(
        dataclasses.replace(SIZES, context=1024), generator=torch.Generator().manual_seed(0)
    )
    network.requires_grad_(False)
    # The stop token is no action here: full length for all.
    policy = TokenPolicy(network, torch.arange(VOCABULARY) >= SPECIAL)
    theirs = peers(network)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    rows: list[tuple[Any, ...]] = []
    most = ceilings(network)
    for batch in BATCHES[: 1 if given.quick else None]:
        say(f"{batch} rows")
        asked: Made = [(prompt, new) for prompt in prompts(batch, PROMPT)]
        sides = {f"ours {p}": ours(policy, asked, batch, p) for p in PRECISIONS}
        sides |= {
            f"transformers {p}{cache}": batched(model, asked, batch, cache)
            for cache in CACHES[: 2 if given.quick else None]
            for p, model in theirs.items()
        }
        times = alternate(sides, rounds)
        speed = {name: batch * new / statistics.median(values) for name, values in times.items()}
        best = max((name for name in speed if name.startswith("tr")), key=speed.__getitem__)
        for precision in PRECISIONS:
            ratios[f"{batch} rows, ours {precision} / the better of transformers"] = speed_up(
                times, f"ours {precision}", best
            )
        figures[f"{batch} rows"] = speed | {"better peer": best}
        top = {name: f"{value:,.0f}" for name, value in most.get(batch, {}).items()}
        rows += [
            (f"{batch} rows, {name}", f"{value:,.0f}", top.get(name[5:], ""))
            for name, value in speed.items()
        ]
    ragged(policy, theirs, rounds, given.quick, ratios, figures, rows)
    ratios["prefill of 8 samples of a 512-token prompt / of 1"] = figures["prefill"] = prefill(
        policy, given.quick
    )
    figures["drift"] = {p: drift(policy, p) for p in PRECISIONS}
    rows += [
        (f"drift {p}, nats: mean, largest", f"{a:.1e}", f"{b:.1e}")
        for p, (a, b) in figures["drift"].items()
    ]
    figures["ceilings"] = {str(batch): value for batch, value in most.items()}
    targets = {
        f"{b} rows, ours bf16 / the better of transformers": f"≥ {aim}"
        for b, aim in TARGETS.items()
    }
    targets |= {
        "ragged, ours bf16 / the better of transformers": "≥ 4",
        "ragged, ours bf16 / ours with equal lengths": "≥ 0.75",
        "prefill of 8 samples of a 512-token prompt / of 1": "≤ 1.2",
    }
    finish(given.json, table(("new tokens/s", "median", "ceiling"), rows), ratios, figures, targets)


def peers(network: Transformer) -> dict[str, Any]:
    from transformers import LlamaForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", network, train_tokenizer("bytes", [], None))
        return {
            name: LlamaForCausalLM.from_pretrained(Path(folder) / "model", dtype=dtype).eval()
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        }


def prompts(rows: int, length: int, seed: int = 1) -> list[list[int]]:
    return torch.randint(
        SPECIAL, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed)
    ).tolist()


def ours(policy: TokenPolicy, asked: Made, slots: int, precision: Any) -> Callable[[], None]:
    """The engine is there already, as in a run that samples again and again; its weights are laid
    out.
    """
    longest = max(len(prompt) + new for prompt, new in asked)
    engine = Engine(policy, slots=slots, positions=longest, precision=precision)

    def work() -> None:
        rows = engine.run(Request(prompt, new, sample=i) for i, (prompt, new) in enumerate(asked))
        assert [len(one.tokens) for one in rows] == [new for _, new in asked]

    return work


def batched(model: Any, asked: Made, rows: int, cache: str = "") -> Callable[[], None]:
    """cache: "", " static" or " static compiled", which transformers does on a CPU when told to."""
    from transformers import CompileConfig

    how: dict[str, Any] = {"cache_implementation": "static", "disable_compile": True}
    if "compiled" in cache:
        compiling = CompileConfig(fullgraph=False, dynamic=False, mode="default")
        compiling._compile_all_devices = True  # pyright: ignore[reportAttributeAccessIssue]
        how |= {"disable_compile": False, "compile_config": compiling}

    def work() -> None:
        for first in range(0, len(asked), rows):
            part = asked[first : first + rows]
            begin = torch.tensor([prompt for prompt, _ in part])
            longest = max(new for _, new in part)
            with torch.inference_mode():
                tokens = model.generate(
                    begin, attention_mask=torch.ones_like(begin),
                    do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                    max_new_tokens=longest, eos_token_id=None, pad_token_id=0,
                    **(how if cache else {}),
                )  # fmt: skip
            assert tokens.shape == (len(part), begin.shape[1] + longest)

    return work


def ragged(
    policy: TokenPolicy, theirs: dict[str, Any], rounds: int, quick: bool, ratios: dict[str, float],
    figures: dict[str, Any], rows: list[tuple[Any, ...]],
) -> None:  # fmt: skip
    say("ragged")
    number, longest = (8, 16) if quick else (RAGGED, LONGEST)
    lengths = torch.randint(
        SHORTEST, longest + 1, (number,), generator=torch.Generator().manual_seed(2)
    ).tolist()
    asked: Made = list(zip(prompts(number, PROMPT), lengths, strict=True))
    mean = round(statistics.fmean(lengths))
    equal: Made = [(prompt, mean) for prompt, _ in asked]
    sides = {f"ours {p}": ours(policy, asked, SLOTS, p) for p in ("fp32", "bf16")}
    sides |= {f"ours {p}, equal lengths": ours(policy, equal, SLOTS, p) for p in ("fp32", "bf16")}
    sides |= {f"transformers {p}": batched(model, asked, 32) for p, model in theirs.items()}
    times: Times = alternate(sides, min(rounds, 2), warm=0)
    tokens = {name: mean * number if "equal" in name else sum(lengths) for name in sides}
    speed = {name: tokens[name] / statistics.median(values) for name, values in times.items()}
    best = max((name for name in speed if name.startswith("tr")), key=speed.__getitem__)
    for p in ("fp32", "bf16"):
        ratios[f"ragged, ours {p} / the better of transformers"] = speed_up(
            times, f"ours {p}", best
        )
        ratios[f"ragged, ours {p} / ours with equal lengths"] = (
            speed[f"ours {p}"] / speed[f"ours {p}, equal lengths"]
        )
    figures["ragged"] = speed | {"better peer": best}
    rows += [(f"ragged, {name}", f"{value:,.0f}", "") for name, value in speed.items()]


def prefill(policy: TokenPolicy, quick: bool) -> float:
    """Seconds to the first token of GROUP samples of one prompt, over those of 1 sample."""
    [prompt] = prompts(1, 64 if quick else LONG_PROMPT)
    times = alternate(
        {str(g): ours(policy, [(prompt, 1)] * g, GROUP, "fp32") for g in (1, GROUP)},
        1 if quick else 15,
        warm=2,
    )
    return statistics.median(times[str(GROUP)]) / statistics.median(times["1"])


def drift(policy: TokenPolicy, precision: Any) -> tuple[float, float]:
    """|log π of the engine − log π of the trainer|, in nats: the mean and the largest of 32 × 64
    tokens.
    """
    engine = Engine(policy, slots=32, positions=PROMPT + 64, precision=precision)
    rows = engine.run(Request(prompt, 64, sample=i) for i, prompt in enumerate(prompts(32, PROMPT)))
    row = torch.tensor([one.prompt + one.tokens for one in rows])
    exact = policy.log_prob(row, row[:, 1:])[:, PROMPT - 1 :]
    off = (torch.tensor([one.logp for one in rows]) - exact).abs()
    return float(off.mean()), float(off.max())


def ceilings(network: Transformer) -> dict[int, dict[str, float]]:
    """New tokens a second that the memory allows one row, and the matrix rate 128, by precision."""
    # the unembedding is the embedding
    weights = sum(p.numel() for p in network.parameters() if p.ndim == 2)
    block = torch.ones(64 << 20)
    bandwidth = 4 * len(block) / fastest(lambda: block.sum())
    bounds: dict[int, dict[str, float]] = {1: {}, 128: {}}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        bounds[1][name] = bandwidth / (weights * dtype.itemsize)
        matrix = make_product(torch.randn(1024, 1024).to(dtype))
        x = torch.randn(1024, 1024).to(dtype)
        bounds[128][name] = 2 * 1024**3 / fastest(lambda m=matrix, x=x: m(x)) / (2 * weights)
    return bounds


def fastest(work: Callable[[], Tensor]) -> float:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
