#!/usr/bin/env bash
# torch 2.13.0: on a CPU, AdamW(fused=True) moves weights by other numbers' moments where the two lie in memory in different orders.
#
# Guess:  load_state_dict lays moments out as their weights lie, or refuses what lies otherwise; equal numbers give equal steps.
# Seen:   the fused kernel walks weights and moments as they lie. Where a convolution's channels come last (channels_last) and the
#         state went through safetensors, which keeps tensors row by row, the next step is wrong, without a word. foreach and the
#         plain loop take the same state rightly.
# Why it matters: a training that is resumed goes on with wrong steps, and its loss looks much as before.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy safetensors==0.8.0
cat > "$work/run.py" <<'PY'
import copy

import torch
from safetensors import __version__
from safetensors.torch import load, save


def make(**how):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    return conv, torch.optim.AdamW(conv.parameters(), lr=0.1, **how)


def step(conv, optimizer, seed):
    x = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    conv(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def through_a_file(state):
    """The same numbers, row by row, as safetensors has them."""
    state = copy.deepcopy(state)
    for moments in state["state"].values():
        rows = {name: x.contiguous() for name, x in moments.items()}
        moments.update(load(save(rows)))
    return state


print("torch", torch.__version__, "safetensors", __version__)
apart = {}
for name, how in (
    ("plain", {"foreach": False}),
    ("foreach", {"foreach": True}),
    ("fused", {"fused": True}),
):
    conv, optimizer = make(**how)
    for seed in range(3):
        step(conv, optimizer, seed)
    again, resumed = make(**how)
    again.load_state_dict(conv.state_dict())
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    step(conv, optimizer, 3)
    step(again, resumed, 3)
    apart[name] = float((conv.weight - again.weight).detach().abs().max())
    print(f"{name}: after one more step the weights are {apart[name]:.3f} apart")
assert apart["plain"] == apart["foreach"] == 0.0, "these took the state rightly"
assert apart["fused"] > 0.01, "fused takes the state rightly now"
PY
"$work/venv/bin/python" "$work/run.py"
