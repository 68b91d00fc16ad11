"""Our own algorithms before the referee, as peers like any other: through the laboratory's bench,
by their own `update`.
"""

from __future__ import annotations

from typing import Any

import torch

from fledge import __version__
from fledge.exact.problem import Problem
from fledge.micro_batches import MicroBatches
from fledge.trajectories import Trajectories
from fledge.verify.laboratory import Bench, Make
from fledge.verify.referee.question import Answer, Step
from fledge.verify.table import speak

SPARE = 3  # steps of padding that a row may have


class OwnPeer:
    version = __version__
    pads_left = False

    def __init__(self, name: str, make: Make, problem: Problem) -> None:
        self.name, self.problem = name, problem
        self.bench = Bench(problem, make, spare=SPARE)

    def answer(self, step: Step) -> Answer:
        bench, language = self.bench, self.problem.language
        rows = len(step.words) // step.pieces if step.pieces > 1 else None
        bench.learner.micro_batches = MicroBatches(rows, None)
        group = torch.arange(step.groups).repeat_interleave(len(step.words) // step.groups)
        batch: Any = speak(
            language, step.words, language.vocabulary, bench.reward, bench.step_logp, group
        )
        if step.padding:
            batch = widen(batch, step.padding)
        if step.garbage:
            other = (torch.arange(batch.action.numel()).view_as(batch.action) + 1) % 3
            obs = batch.obs.clone()
            obs[:, 1:] = torch.where(batch.chosen, batch.obs[:, 1:], other)
            batch = batch.replace(obs=obs, action=obs[:, 1:])
        gradient, _ = bench.update(batch)
        return Answer(gradient, bench_leak(bench))


def widen(batch: Trajectories, steps: int) -> Trajectories:
    """The same rows with so many steps more that nobody chose."""
    wide = {
        name: torch.nn.functional.pad(value, (0, steps))
        for name, value in batch.items()
        if value is not None and value.dim() == 2
    }
    return batch.replace(**{**wide, "action": wide["obs"][:, 1:]})


def bench_leak(bench: Bench) -> float:
    """The size of what the last step added outside the language's prefixes."""
    total = torch.stack([taken[0] for taken in bench.recorder.taken]).mean(0).clone()
    total[:, bench.columns] = 0
    return float(total.norm())
