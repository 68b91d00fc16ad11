"""What a run that tunes an encoder takes of the machine's memory, said before it begins."""

from __future__ import annotations

from typing import Any

from fledge.costs.memory import MOMENTS, NUMBER, count_passing
from fledge.learner import Learner
from fledge.recipes.activations import measure_kept, weigh_activations
from fledge.recipes.course import Course
from fledge.recipes.language.label_fields import SMALL, EncoderTuneConfig
from fledge.recipes.memory import Memory, count_peak, say_memory
from fledge.recipes.training import count_parameters
from fledge.score.labels import list_sentences, read_all
from fledge.trajectories import Rows


def tell_encoder_memory(
    course: Course, config: EncoderTuneConfig, network: Any, rows: Rows
) -> None:
    """One line, of an encoder that is not quite small; another where it may be too much.

    rows: as large as the steps are. Raises UserError for a run that cannot fit.
    """
    if count_parameters(network) < SMALL:
        return
    learner = config.learner(network, "bf16" if config.precision == "bf16" else "fp32")
    memory = estimate_encoder_memory(network, learner, rows, copied=config.save == "async")
    say_memory(course, config, memory, learner)


def estimate_encoder_memory(network: Any, learner: Learner, rows: Rows, *, copied: bool) -> Memory:
    """copied: whether checkpoints are written from a copy, which is in the CPU's memory."""
    device = learner.device
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    tokens = max(count_read(piece) for piece in learner.micro_batches.cut(rows))
    one = rows[:1].trim().to(device)
    kept = measure_kept(network, network, learner, lambda: read_all(network, one))
    on_cpu = device.type == "cpu"
    return Memory(
        weights=weights,
        learning=learnt * NUMBER * (1 + MOMENTS),
        activations=int(
            tokens * weigh_activations(network, kept / count_read(one))
            + count_passing(network.config, tokens)
        ),
        logits=0,
        sampling=0,
        program=max(0, count_peak() - weights) if on_cpu else 0,
        saving=learnt * NUMBER * (1 + MOMENTS) if copied and on_cpu else 0,
        tokens=tokens,
    )


def count_read(rows: Rows) -> int:
    """Tokens of a batch; padding is not computed."""
    return sum(int(each.length.sum()) for each in list_sentences(rows))
