"""Activations that are computed again are the same bits, and take their memory no more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.hub.adapter_targets import list_places
from fledge.models.language.adapters import LoRA, adapt_network
from fledge.models.language.mixture import Experts
from fledge.models.language.transformer import Transformer
from fledge.stopwatch import Stopwatch
from fledge.trajectories import from_rows
from tests.subjects import Gradients, learner, policy_of, seeded, transformer


def adapted(dtype: torch.dtype) -> Transformer:
    network = transformer(dtype=dtype)
    settings = LoRA(3, 6.0, dora=True, dropout=0.3)
    places = list_places(network)
    adapt_network(network, places.linear, settings=settings, weights="nf4", generator=seeded(1))
    return network


NETWORKS: dict[str, Callable[[torch.dtype], Transformer]] = {
    "plain": lambda dtype: transformer(dtype=dtype),
    "of documents": lambda dtype: transformer(dtype=dtype, border=3),
    "with a window": lambda dtype: transformer(dtype=dtype, window=4),
    "of experts": lambda dtype: transformer(dtype=dtype, experts=Experts(3, 2, 8)),
    "adapted, with dropout": adapted,
}


def take_step(network: Transformer, precision: str, again: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient, the loss, and the state of the generator that dropout draws from."""
    network.gradient_checkpointing = again
    policy = policy_of(network)
    fit = learner(policy, precision=precision, rows_per_micro_batch=3)
    gradients = Gradients(fit)
    rows = [torch.randint(2, 11, (n,), generator=seeded(n)).tolist() for n in (9, 5, 14, 12, 3)]
    batch = from_rows(rows, [[i > 2 or len(row) == 3 for i in range(len(row))] for row in rows])
    torch.manual_seed(4)
    figures = Supervised(policy, fit, Stopwatch()).update(batch)
    return gradients.flat, torch.tensor(figures["loss"]), torch.get_rng_state()


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float64), ("fp32", torch.float32), ("bf16", torch.float32)],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_has_the_same_bits(name: str, precision: str, dtype: torch.dtype) -> None:
    kept = take_step(NETWORKS[name](dtype), precision, again=False)
    again = take_step(NETWORKS[name](dtype), precision, again=True)
    assert kept[0].abs().max() > 0
    for one, other in zip(again, kept, strict=True):
        assert torch.equal(one, other)


CHILD = """
import sys, torch
from pathlib import Path
from tests.subjects import transformer

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

torch.set_num_threads(1)
network = transformer(layers=8, width=128, heads=4, mlp_width=384, context=256)
network.gradient_checkpointing = sys.argv[1] == "again"
rows = torch.ones(8, 256, dtype=torch.long)
network(rows[:, :8]).sum().backward()  # what is loaded at the first pass
before = resident()
kept = network(rows)
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no resident set is told here")
def test_what_is_kept_for_the_backward_pass_is_less_than_a_third() -> None:
    """Of eight blocks, by the resident set of processes of their own before and after a pass."""
    root = Path(__file__).parents[3]
    fixed = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system
    taken = {}
    for mode in ("kept", "again"):
        ran = subprocess.run(
            [sys.executable, "-c", CHILD, mode], cwd=root, capture_output=True, text=True,
            check=True, env=os.environ | fixed | {"PYTHONPATH": f"{root / 'src'}:{root}"},
        )  # fmt: skip
        taken[mode] = int(ran.stdout)
    assert taken["again"] < taken["kept"] / 3, taken
