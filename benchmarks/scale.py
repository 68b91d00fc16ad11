"""Optimizer steps by two processes over gloo, on the CPU: against one process with as many threads,
and against `transformers` in two processes.

A Llama of 6 layers × 256, 4,096 tokens in the vocabulary; 16 rows of 128 tokens a step, AdamW,
clipped at 1; products in float32, or in bfloat16 by autocast (`--precision bf16`). `one` is one
process with two threads; all others are two processes with one thread each: `replicated`,
`divided` (shard=fsdp) and `products` (tensor_parallel=2). The peers train `LlamaForCausalLM` of the
same sizes, each rank on half of the rows: by Accelerate, which on a CPU divides nothing (it takes
FSDP for GPUs alone) and so is DistributedDataParallel; and under torch's own fully_shard, block by
block, as Accelerate would do it. All sides are started at once and step in turn; none but the side
whose turn it is computes. No round begins after `--seconds`.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from side_by_side import Times, finish, options, rate_table, rates, say, speed_up

LAYERS, WIDTH, HEADS, MLP, VOCABULARY = 6, 256, 4, 704, 4096
ROWS, STEPS_OF_A_TURN, SECONDS, ROUNDS = 16, 3, 240.0, 9
RANKS = {
    "one": 1, "replicated": 2, "divided": 2, "products": 2, "accelerate": 2, "fully_shard": 2,
}  # fmt: skip
AIMS = {
    "replicated to one process with two threads": "≥ 0.9",
    "replicated to Accelerate": "≥ 1.3",
    "divided to transformers under fully_shard": "≥ 1.3",
}


def begin_ours(side: str, tokens: torch.Tensor, precision: str) -> Callable[[], float]:
    """A step, which gives its loss."""
    from fledge import ranks
    from fledge.algorithms.likelihood.supervised import Supervised
    from fledge.learner import Learner, Schedule
    from fledge.models.language.transformer import Transformer, TransformerConfig
    from fledge.policy import TokenPolicy
    from fledge.stopwatch import Stopwatch
    from fledge.trajectories import from_rows

    config = TransformerConfig(
        VOCABULARY, tokens.shape[1], LAYERS, WIDTH, HEADS, HEADS, MLP, tied=False
    )
    policy = TokenPolicy(Transformer(config, generator=torch.Generator().manual_seed(0)))
    if side in ("divided", "products"):
        from fledge.scale.layout import Layout
        from fledge.scale.sharding import Sharded

        Sharded(policy, "cpu", Layout(1, 2) if side == "divided" else Layout(1, 1, 2))
    learner = Learner(policy, Schedule(1e-3, 10_000), precision=precision)
    batch = from_rows(tokens.tolist(), [[True] * tokens.shape[1]] * len(tokens))
    supervised = Supervised(policy, learner, Stopwatch())
    assert ranks.world() == RANKS[side]
    return lambda: supervised.update(batch)["loss"]


def begin_theirs(side: str, tokens: torch.Tensor, precision: str) -> Callable[[], float]:
    from torch import distributed, nn
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=MLP,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=tokens.shape[1],
            use_cache=False,
        )
    )
    own = tokens[int(os.environ["RANK"]) :: 2]
    make: Any = torch.optim.AdamW
    if side == "accelerate":
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True, mixed_precision="bf16" if precision == "bf16" else "no")
        model, optimizer = accelerator.prepare(model, make(model.parameters(), 1e-3, fused=True))
        backward, clip = accelerator.backward, accelerator.clip_grad_norm_
    else:
        from torch.distributed.fsdp import fully_shard

        for block in model.model.layers:
            fully_shard(block)
        fully_shard(model)
        optimizer = make(model.parameters(), 1e-3)
        backward, clip = torch.Tensor.backward, nn.utils.clip_grad_norm_

    half = precision == "bf16" and side == "fully_shard"  # Accelerate has wrapped its own

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model(input_ids=own, labels=own).loss
        backward(loss)
        clip(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss = loss.detach()
        distributed.all_reduce(loss)
        return float(loss) / 2

    return step


def take_turns(side: str, length: int, precision: str) -> None:
    """A process of one side: a line in is a turn, a line out its seconds and the first loss."""
    from torch import distributed

    torch.set_num_threads(3 - RANKS[side])
    if RANKS[side] > 1:
        distributed.init_process_group("gloo")
    tokens = torch.randint(VOCABULARY, (ROWS, length), generator=torch.Generator().manual_seed(1))
    begin = begin_theirs if side in ("accelerate", "fully_shard") else begin_ours
    step = begin(side, tokens, precision)
    loss = step()
    print(json.dumps(loss), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(STEPS_OF_A_TURN):
            step()
        print(json.dumps(time.perf_counter() - began), flush=True)
    os._exit(0)  # nobody waits for the other


class Side:
    """Its processes, of which all hear and the first is heard."""

    def __init__(self, name: str, length: int, precision: str) -> None:
        with socket.create_server(("localhost", 0)) as free:
            port = str(free.getsockname()[1])
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, __file__, "--side", name),
                    *("--length", str(length), "--precision", precision),
                ],
                env=os.environ
                | {
                    "RANK": str(rank),
                    "WORLD_SIZE": str(RANKS[name]),
                    "LOCAL_RANK": str(rank),
                    "MASTER_ADDR": "localhost",
                    "MASTER_PORT": port,
                    "OMP_NUM_THREADS": str(3 - RANKS[name]),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(RANKS[name])
        ]
        try:
            self.loss = self.hear()
        except RuntimeError:
            self.end()
            raise

    def hear(self) -> float:
        """Raises RuntimeError with the last line that a side has said of its end."""
        said = self.processes[0].stdout.readline()  # pyright: ignore[reportOptionalMemberAccess]
        if not said:
            error = self.processes[0].communicate()[1].strip().splitlines()
            raise RuntimeError(error[-1] if error else "it ended without a word")
        return json.loads(said)

    def turn(self) -> float:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("turn\n")
            process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def main() -> None:
    given = options(__doc__, side="of a process of one side", length="tokens of a row",
                    seconds="no round begins later",
                    precision="fp32, unless given, or bf16")  # fmt: skip
    length = int(given.length or (32 if given.quick else 128))
    precision = given.precision or "fp32"
    if given.side:
        take_turns(given.side, length, precision)
    rounds, limit = (2 if given.quick else ROUNDS), float(given.seconds or SECONDS)
    sides: dict[str, Side] = {}
    absent: dict[str, str] = {}
    for name in RANKS:
        try:
            sides[name] = Side(name, length, precision)
            say(f"{name}: first loss {sides[name].loss:.4f}")
        except RuntimeError as error:
            absent[name] = str(error)
            say(f"{name} is left out: {error}")
    times: Times = {name: [] for name in sides}
    began = time.monotonic()
    for number in range(-1, rounds):
        if number > 0 and time.monotonic() - began > limit:
            break
        for name, side in sides.items():
            seconds = side.turn()
            if number >= 0:
                times[name].append(seconds)
        say(f"round {number + 1} of {rounds}" if number >= 0 else "warm-up")
    for side in sides.values():
        side.end()
    pairs = {
        "replicated to one process with two threads": ("replicated", "one"),
        "divided to replicated": ("divided", "replicated"),
        "products to replicated": ("products", "replicated"),
        "replicated to Accelerate": ("replicated", "accelerate"),
        "divided to transformers under fully_shard": ("divided", "fully_shard"),
    }
    ratios = {
        title: speed_up(times, *both) for title, both in pairs.items() if set(both) <= set(times)
    }
    tokens = ROWS * length * STEPS_OF_A_TURN
    per_second = rates(times, tokens)
    missing = [
        {"name": name, "figure": 0.0, "aim": aim, "holds": False}
        for name, aim in AIMS.items()
        if name not in ratios
    ]
    lines = [
        rate_table(per_second, "tokens/s"),
        *(f"{k} is left out: {v}" for k, v in absent.items()),
    ]
    losses = {name: side.loss for name, side in sides.items()}
    spread = statistics.median(v["highest"] / v["lowest"] for v in per_second.values())
    figures = {"tokens_per_second": per_second, "first_loss": losses, "absent": absent,
               "spread": spread}  # fmt: skip
    finish(given.json, "\n".join(lines), ratios, figures, AIMS, missing)


if __name__ == "__main__":
    main()
