"""What a run of a language model takes of the machine's memory, known before it begins: by formula
what is held, measured on one row what a forward pass keeps for the backward pass.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from fledge.costs.memory import MOMENTS, NUMBER, count_engine, count_passing
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.learner import Learner
from fledge.log_prob import size_chunk
from fledge.policy import TokenPolicy
from fledge.recipes.activations import measure_activations, weigh_activations
from fledge.recipes.course import Course
from fledge.recipes.training import LARGE, TrainingConfig, count_parameters
from fledge.sample.generate import SLOTS
from fledge.tasks.conversed import count_turns
from fledge.tasks.named import Task, draw_questions
from fledge.text.asking import encode_prompt
from fledge.trajectories import Trajectories

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
LOGIT_COPIES = 2  # of a chunk of logits: themselves, and in the precision of the product


@dataclass(frozen=True)
class Sampling:
    """Of an engine that answers `rows` prompts side by side, in `positions` tokens each. kept: rows
    beside these whose keys and values it keeps, for prompts that begin alike.
    """

    rows: int
    positions: int
    kept: int = 0

    def count_bytes(self, sizes: Any) -> int:
        """Its own layout of the weights, and the cache of every row and of a slot to move them by.
        sizes: of a network that this machine makes.
        """
        return count_engine(sizes, self.rows + self.kept, self.positions)


class Evaluating(Protocol):
    """The fields by which a recipe asks a task's questions."""

    @property
    def evaluation_prompts(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...


def list_evaluation(task: Task | None, config: Evaluating, base: Loaded) -> list[Sampling]:
    """What answers a task's questions in an evaluation; nothing without a task."""
    if task is None:
        return []
    asked = draw_questions(task, "validation", config.evaluation_prompts)
    longest = max(len(encode_prompt(base.tokenizer, example.prompt)) for example in asked)
    return [size_engine(task, base, min(SLOTS, len(asked)), longest, config.max_new_tokens)]


def size_engine(task: Task, base: Loaded, rows: int, longest: int, max_new_tokens: int) -> Sampling:
    """What answers prompts of up to `longest` tokens. In conversations it keeps what it has read of
    every row for the next turn, and is laid out for twice as much as is needed.
    """
    turns, context = count_turns(task), base.network.config.context
    needed = longest + max_new_tokens * turns
    if turns > 1:
        return Sampling(rows, min(2 * needed, context), kept=rows)
    return Sampling(rows, min(needed, context))


@dataclass(frozen=True)
class Memory:
    """Bytes, by what they are for. They are not all there at once: a step has activations and
    logits, whoever samples, for the next step or an evaluation, has an engine in their place.

    tokens: that are differentiated at a time, or read. saving: the copy that a checkpoint is
    written from. keys: of what many rows are read behind.
    """

    weights: int
    learning: int
    activations: int
    logits: int
    sampling: int
    program: int
    saving: int
    tokens: int
    keys: int = 0

    @property
    def certain(self) -> int:
        """What no smaller piece of a step saves."""
        return self.weights + self.learning

    @property
    def most(self) -> int:
        passing = max(self.activations + self.keys + self.logits, self.sampling)
        return self.certain + passing + self.program + self.saving

    def describe(self, whole: int) -> str:
        """One sentence. whole: what the machine has."""
        parts = {
            "weights": self.weights,
            "gradients and moments": self.learning,
            f"activations of {self.tokens:,} tokens at a time": self.activations,
            "keys and values of what is read once": self.keys,
            "logits": self.logits,
            "sampling": self.sampling,
            "a copy to save": self.saving,
            "the program": self.program,
        }
        said = (f"{name} {_giga(size)}" for name, size in parts.items() if size >= 5_000_000)
        return f"about {_giga(self.most)} of {_giga(whole)} GB of memory: {', '.join(said)}"


def estimate_memory(
    policy: TokenPolicy,
    learner: Learner,
    typical: Trajectories,
    *,
    sides: int = 1,
    networks: int = 1,
    beside: Sequence[nn.Module] = (),
    sampling: Sequence[Sampling] = (),
    copied: bool = True,
) -> Memory:
    """Of a run about to begin, whose models and data are in memory already.

    typical: a step's rows. sides: of a row, each of which is differentiated (two of a pair).
    networks: that learn (two with a critic of its own). beside: other models that are held, as a
    reference or a teacher. sampling: the engines of the run, one at a time. copied: whether
    checkpoints are written from a copy, which is in the CPU's memory.
    """
    network, device = policy.network, policy.network.unembedding.device
    sizes = network.config
    learnt = networks * sum(p.numel() for p in network.parameters() if p.requires_grad)
    tokens = count_tokens(learner, typical, sides)
    there = {p.data_ptr(): p for module in (network, *beside) for p in module.parameters()}
    weights = sum(p.numel() * p.element_size() for p in there.values())
    on_cpu = device.type == "cpu"
    peak = count_peak() if on_cpu else 0
    kept = weigh_activations(network, measure_activations(policy, learner, typical)) * networks
    rows = size_chunk(policy.chunk, network.unembedding)
    chunk = min(rows, tokens) * len(network.unembedding)
    return Memory(
        weights=weights + learnt * (networks - 1) // networks * NUMBER,
        learning=learnt * NUMBER * (1 + MOMENTS),
        activations=int(tokens * kept + count_passing(sizes, tokens)),
        logits=LOGIT_COPIES * chunk * NUMBER,
        sampling=max((each.count_bytes(sizes) for each in sampling), default=0),
        program=max(0, peak - weights),
        saving=learnt * NUMBER * (1 + MOMENTS) if copied and on_cpu else 0,
        tokens=tokens,
    )


def tell_memory(
    course: Course,
    config: TrainingConfig,
    policy: TokenPolicy,
    typical: Trajectories,
    *,
    sides: int = 1,
    networks: int = 1,
    beside: Sequence[nn.Module] = (),
    sampling: Sequence[Sampling] = (),
) -> None:
    """One line, of a large model; another where it may be too much. As for `estimate_memory`.

    Raises UserError for a run that cannot fit.
    """
    if count_parameters(policy) < LARGE:
        return
    learner = config.learner(policy, "bf16" if config.precision == "bf16" else "fp32")
    memory = estimate_memory(
        policy, learner, typical, sides=sides, networks=networks, beside=beside,
        sampling=sampling, copied=config.save == "async",
    )  # fmt: skip
    say_memory(course, config, memory, learner)


def say_memory(course: Course, config: TrainingConfig, memory: Memory, learner: Learner) -> None:
    """The line, and what may be done where it may be too much. Raises UserError for a run that
    cannot fit.
    """
    whole = count_memory(learner.device)
    course.show.line(f"{course.verb}: {memory.describe(whole)}")
    doubt = check_fits(memory, whole, list_remedies(config, learner))
    if doubt is not None:
        course.show.line(f"{course.verb}: {doubt}")


def list_remedies(config: TrainingConfig, learner: Learner) -> list[str]:
    """What of the fields takes less memory, the largest first."""
    fields = type(config).model_fields
    remedies = []
    if getattr(config, "adapter", None) is not None:
        if all(p.requires_grad for p in learner.module.parameters()):
            remedies.append("adapter=lora")
        elif getattr(config, "base_weights", "nf4") != "nf4":
            remedies.append("base_weights=nf4")
    if learner.micro_batches.rows != 1:
        remedies.append("rows_per_micro_batch=1")
    if getattr(config, "gradient_checkpointing", None) is False:
        remedies.append("gradient_checkpointing=true")
    if config.save == "async":
        remedies.append("save=sync")
    remedies += [
        f"a smaller {name}"
        for name in ("max_new_tokens", "samples_per_prompt")
        if name in fields and getattr(config, "data", None) is None
    ]
    return remedies or ["the rows, which should be shorter"]


def count_tokens(learner: Learner, typical: Trajectories, sides: int) -> int:
    """The most tokens that a micro-batch of such rows holds, padding and all sides included."""
    pieces = [len(piece) * piece.obs.shape[1] for piece in learner.micro_batches.cut(typical)]
    limit = learner.micro_batches.tokens
    if limit is None:
        return sides * max(pieces)
    # Both sides of a pair count towards the limit, which one row alone may exceed.
    return max(min(sides * max(pieces), limit), sides * typical.obs.shape[1])


def count_peak() -> int:
    """The most bytes of memory that this process has had, which its heap keeps: of Linux's own
    count, since that of getrusage begins at its parent's.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = (line.split() for line in status.splitlines())
    return next((int(line[1]) * 1024 for line in lines if line[:1] == ["VmHWM:"]), 0)


def count_memory(device: torch.device) -> int:
    """Bytes that the device has: of a CPU, as many as this process may take of the machine's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in map(Path, _LIMITS):
        if limit.is_file() and (said := limit.read_text(encoding="ascii").strip()).isdigit():
            whole = min(whole, int(said))
    return whole


def check_fits(memory: Memory, whole: int, remedies: Sequence[str]) -> str | None:
    """What to say of a run that may not fit; None for one that does. Raises UserError for one that
    cannot: its weights and what learns alone are more than the machine has.
    """
    what = f"change {', or '.join(remedies)}" if remedies else "take a smaller model"
    if memory.certain > whole:
        raise UserError(
            f"the weights of this run, their gradients and moments take {_giga(memory.certain)} GB "
            f"and the machine has {_giga(whole)}: {what}."
        )
    if memory.most > whole:
        return f"this may be more memory than the machine has; to take less, {what}."
    return None


def _giga(size: float) -> str:
    """2,913,000,000 -> 2.9; below one, two digits."""
    giga = size / 1e9
    return f"{giga:,.0f}" if giga >= 10 else f"{giga:.1f}" if giga >= 1 else f"{giga:.2f}"
