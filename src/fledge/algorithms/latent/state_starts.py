"""Where EM for a state space begins: the state is the principal components of the present and of
some steps before it, for a position alone tells no velocity.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fledge.models.latent.state_space import StateSpace
from fledge.rows.sequences import Sequences

LEAST_NOISE = 0.1  # share of a column's variance that a start leaves unexplained
TINY = 1e-6
MOST_COLUMNS = 512  # of the present and the past together, beyond what a size needs


def fill_between(sequences: Sequences) -> Sequences:
    """Missing values on the line between those before and after them in their sequence; of a column
    without any there, its mean.
    """
    x = sequences.x.numpy().copy()
    mean = np.nanmean(x, 0)
    start = 0
    for length in sequences.lengths:
        for d in range(x.shape[1]):
            column = x[start : start + length, d]  # a view
            lost = np.isnan(column)
            if lost.all():
                column[:] = mean[d]
            elif lost.any():
                place = np.arange(length)
                column[lost] = np.interp(place[lost], place[~lost], column[~lost])
        start += length
    return replace(sequences, x=torch.from_numpy(x))


def list_lags(sequences: Sequences, n: int) -> list[int]:
    """How many steps a start may look back: as few as the size needs, and up to eight times that.

    A slow motion is seen in many steps and hardly in two: from too few EM ends where the noise is
    taken for a part of it.
    """
    least = -(-n // sequences.width)
    most = min(max(sequences.lengths), MOST_COLUMNS // sequences.width)
    return [least, *(lags for lags in (2 * least, 4 * least, 8 * least) if lags <= most)]


def begin_states(sequences: Sequences, n: int, lags: int) -> StateSpace:
    """A state of n numbers of variance 1, with the motion and the loading that fit it best."""
    x = sequences.x
    offset = x.mean(0)
    scale = x.std(0, correction=0)
    lagged = _stack_lags((x - offset) / scale, sequences, lags)
    _, value, axis = torch.linalg.svd(lagged, full_matrices=False)
    z = lagged @ axis[:n].T
    z = z / z.std(0, correction=0).clamp_min(TINY * float(value[0]))
    eye = torch.eye(n, dtype=x.dtype)
    loading = torch.linalg.solve(z.T @ z + TINY * len(z) * eye, z.T @ (x - offset)).T
    rest = x - offset - z @ loading.T
    noise = torch.maximum(rest.square().mean(0), LEAST_NOISE * scale.square())
    follows = torch.ones(len(x), dtype=torch.bool)
    follows[sequences.starts] = False
    after = follows.nonzero()[:, 0]
    if not len(after):
        transition, drift = 0.5 * eye, eye
    else:
        past, now = z[after - 1], z[after]
        transition = torch.linalg.solve(past.T @ past + TINY * len(past) * eye, past.T @ now).T
        left = now - past @ transition.T
        drift = left.T @ left / len(left) + 0.01 * eye
    first = z[sequences.starts]
    return StateSpace(
        first.mean(0), eye.clone(), transition, drift, loading, offset, torch.diag(noise)
    )


def _stack_lags(x: torch.Tensor, sequences: Sequences, lags: int) -> torch.Tensor:
    """Each step with those before it in its sequence; the first stands for what is before it.
    [N, D] -> [N, lags · D]
    """
    begin = sequences.starts.repeat_interleave(torch.tensor(sequences.lengths))
    here = torch.arange(len(x))
    return torch.cat([x[torch.maximum(here - lag, begin)] for lag in range(lags)], 1)
