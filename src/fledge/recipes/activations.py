"""What a forward pass keeps until its backward pass, measured on one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fledge.costs.memory import NUMBER
from fledge.learner import Learner
from fledge.models.language.adapters import is_adapted
from fledge.policy import TokenPolicy
from fledge.trajectories import Trajectories

SHORT_ROW = 256  # tokens, by which activations are measured
# An adapter beside a matrix makes and lets go of twice as many tensors, and the C library's heap
# keeps the holes: peaks of 1.65 to 2.0 times the sum (glibc 2.36, 31 million parameters, rows of
# 220 tokens), where all weights learn none.
HOLES = 1.8


def checkpoints(network: nn.Module) -> bool:
    return bool(getattr(network, "gradient_checkpointing", False))


def weigh_activations(network: nn.Module, kept: float) -> float:
    """Bytes a token that a step holds, of those that a forward pass keeps of it."""
    sizes: Any = network.config
    if checkpoints(network):  # what each block reads, and one block's own at a time
        kept = kept / sizes.layers + sizes.layers * sizes.width * NUMBER
    on_cpu = next(network.parameters()).device.type == "cpu"
    return kept * (HOLES if on_cpu and is_adapted(network) else 1.0)


def measure_activations(policy: TokenPolicy, learner: Learner, rows: Trajectories) -> float:
    """Bytes a token that a forward pass keeps until its backward pass, of the first row."""
    row = rows[:1].trim().cut(SHORT_ROW).to(learner.device)

    def read() -> Tensor:
        return policy.log_prob(row.obs, row.action, row.chosen)

    return measure_kept(policy, policy.network, learner, read) / row.obs.shape[1]


def measure_kept(
    module: nn.Module, network: Any, learner: Learner, read: Callable[[], Tensor]
) -> int:
    """Bytes that a forward pass of `network`, in `module`, keeps until its backward pass. Nothing
    is changed by it, and no random number drawn.
    """
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    modes = [(part, part.training) for part in module.modules()]
    module.eval()  # dropout would draw
    again, network.gradient_checkpointing = checkpoints(network), False
    with learner.autocast(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        held = read()
    del held
    network.gradient_checkpointing = again
    for part, mode in modes:
        part.training = mode
    return sum(kept.values())
