"""What is expected of a step on a machine: seconds by what they go to, tokens a second, and model
FLOPs utilisation (MFU; Chowdhery et al. 2022, appendix B).

Nothing overlaps here: a block waits for its weights, and gradients are summed when all are there.
Latencies and waiting for the slowest are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from fledge.costs.communication import list_collectives
from fledge.costs.machine import Machine
from fledge.costs.memory import NUMBER, Phase, find_peak
from fledge.costs.operations import count_hardware, count_model
from fledge.costs.work import Work

# Of the peak, in matrix products and attention as long as nothing is sent: an assumption, a little
# below what large bf16 products reach on the cards of the list.
EFFICIENCY = 0.6
# Of a GPU's memory: PyTorch's context and libraries, and what lies in holes between tensors.
PROGRAM, HOLES = 1.5e9, 0.05
PASSES = 7  # over a weight's four bytes in an AdamW step: 4 tensors read, 3 written


@dataclass(frozen=True)
class Prediction:
    """computing, sending, stepping: seconds of a step, one after the other."""

    work: Work
    machine: Machine
    peak: Phase
    computing: float
    sending: float
    stepping: float

    @property
    def seconds(self) -> float:
        return self.computing + self.sending + self.stepping

    @property
    def tokens_per_second(self) -> float:
        return self.work.rows * self.work.tokens / self.seconds

    @property
    def utilisation(self) -> float:
        """Of all GPUs' peak."""
        operations = count_model(self.work.sizes, self.work.tokens) * self.tokens_per_second
        return operations / (self.work.layout.ranks * self.machine.peak[self.work.precision])

    @property
    def needed(self) -> float:
        """Bytes of a GPU."""
        return self.peak.size * (1 + HOLES) + PROGRAM

    @property
    def fits(self) -> bool:
        return self.needed <= self.machine.memory


def predict(work: Work, machine: Machine, efficiency: float = EFFICIENCY) -> Prediction:
    """Of the rank with the most rows."""
    tokens = work.own_rows * work.tokens / work.layout.tensor
    rate = efficiency * machine.peak[work.precision]
    return Prediction(
        work, machine, find_peak(work),
        computing=tokens * count_hardware(work) / rate,
        sending=sum(each.seconds(machine) for each in list_collectives(work)),
        stepping=PASSES * NUMBER * work.held / machine.memory_rate,
    )  # fmt: skip
