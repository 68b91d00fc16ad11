"""Characters seen once, named again: which of the known pictures explains one that is asked for?

A known picture is read as a program, and the program refitted to the one that is asked; and the
other way about. Lake, Salakhutdinov & Tenenbaum (2015, eq. 5 and supplement §6) score by
log P(asked | known) + log P(known | asked) − log P(known) of programs and their refits; here by
the cost of refitting in both directions, first all roughly, then the most promising finely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fledge.evaluate.hausdorff import compare_hausdorff
from fledge.images.one_shot import OneShotRun
from fledge.models.images.elastic_refit import pack_beads, refit
from fledge.models.images.program_prior import ProgramPrior
from fledge.models.images.program_search import read_picture
from fledge.models.images.stroke_splines import measure_length, space_evenly

ROUGH, FINE = (6.0, 8), (3.0, 15)  # pixels between beads, and iterations of EM
DOT = 1.0  # pixels: half the length of the line that stands for a dot


@dataclass(frozen=True)
class OneShotVerdict:
    """chosen: [M], which of the known pictures. wrong: [M] bool. hausdorff_wrong: [M] bool, of the
    yardstick's choices.
    """

    name: str
    chosen: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    hausdorff_wrong: NDArray[np.bool_]


def judge_run(
    run: OneShotRun, prior: ProgramPrior, random: np.random.Generator, candidates: int
) -> OneShotVerdict:
    """candidates: known pictures, for each that is asked, that are refitted finely."""
    costs = compare_programs(run.known, run.asked, prior, random, candidates)
    chosen = costs.argmin(0)
    hausdorff = compare_hausdorff(run.known, run.asked).argmin(0)
    return OneShotVerdict(run.name, chosen, chosen != run.answer, hausdorff != run.answer)


def compare_programs(
    known: np.ndarray,
    asked: np.ndarray,
    prior: ProgramPrior,
    random: np.random.Generator,
    candidates: int,
) -> NDArray[np.float64]:
    """[N, H, W] and [M, H, W] bool -> [N, M] nats, infinite for those that were left out after
    the rough comparison.
    """
    N, M = len(known), len(asked)
    paths = [list(read_picture(each, prior, random)[0].paths) for each in (*known, *asked)]
    rows, columns = np.divmod(np.arange(N * M), M)
    rough = compare_both_ways(paths, rows, N + columns, *ROUGH).reshape(N, M)
    kept = np.sort(np.argsort(rough, 0, kind="stable")[:candidates], 0)  # [candidates, M]
    columns = np.broadcast_to(np.arange(M), kept.shape)
    fine = compare_both_ways(paths, kept.ravel(), N + columns.ravel(), *FINE)
    costs = np.full((N, M), np.inf)
    costs[kept, columns] = fine.reshape(kept.shape)
    return costs


@torch.no_grad()
def compare_both_ways(
    paths: Sequence[Sequence[np.ndarray]],
    one: np.ndarray,
    other: np.ndarray,
    spacing: float,
    iterations: int,
) -> np.ndarray:
    """The cost of each pair.  paths: of each picture its strokes. one, other: [P]  -> [P]"""
    beads = pack_beads([[string_beads(path, spacing) for path in strokes] for strokes in paths])
    a, b = beads[torch.from_numpy(one)], beads[torch.from_numpy(other)]
    cost = refit(a, b, iterations).cost + refit(b, a, iterations).cost
    return cost.double().numpy()


def string_beads(path: np.ndarray, spacing: float) -> Tensor:
    """[L, 2] -> [M, 2], evenly, both ends among them; a dot is a short line."""
    length = measure_length(path)
    if length < DOT:
        middle = path.mean(0)
        path, length = middle + np.array([[-DOT, 0], [DOT, 0]]), 2 * DOT
    return torch.from_numpy(space_evenly(path, max(2, round(length / spacing) + 1))).float()
