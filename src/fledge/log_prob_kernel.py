"""How likely the chosen token is and the slope of that, by the C of `csrc/log_prob`, on a CPU with
AVX-512 and a compiler: a row of logits is read once each way, where torch's operations read and
write it a dozen times.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_double, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fledge.team_library import load_team_library

SOURCES = Path(__file__).parent / "csrc" / "log_prob"
TYPES = (torch.float32, torch.bfloat16)


class _Rows(Structure):
    """As `Rows` of rows.c."""

    _fields_ = [
        *((name, c_void_p) for name in (
            "logits", "banned", "action", "score", "normaliser", "weight", "slope",
        )),
        *((name, c_int64) for name in ("rows", "width", "banned_count", "narrow")),
        ("scale", c_double),
    ]  # fmt: skip


@cache
def load_kernel() -> Any:
    """The library, or None where it cannot be had, or where torch's kernels are as fast."""
    return load_team_library(SOURCES, "the C of log-probabilities", ("score_rows", "slope_rows"))


def suits_kernel(hidden: Tensor, weight: Tensor, action: Tensor, allowed: Tensor | None) -> bool:
    """Whether it reads the logits of these. What is no token of the vocabulary, and columns beyond
    it, are torch's to refuse.  [N, D], [V, D], [N], [V] bool
    """
    return (
        type(hidden) is Tensor  # and nothing that only stands for numbers
        and type(weight) in (Tensor, nn.Parameter)
        and hidden.dtype == weight.dtype
        and hidden.dtype in TYPES
        and hidden.device.type == "cpu"
        and not torch._C._are_functorch_transforms_active()
        and (allowed is None or len(allowed) == len(weight))
        and action.dtype == torch.int64
        and action.shape == hidden.shape[:1] != (0,)
        and load_kernel() is not None
        and 0 <= int(action.min()) <= int(action.max()) < len(weight)
    )


def score_rows(
    logits: Tensor, banned: Tensor | None, action: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Of each row the action's logit, times `scale`, and the logarithm of the sum of e^ all of
    them; banned: the columns that are no actions.  [N, V], [K], [N] -> [N], [N] float32
    """
    score, normaliser = (logits.new_empty(len(logits), dtype=torch.float32) for _ in range(2))
    job, _kept = _describe(logits, banned, action, scale)
    job.score, job.normaliser = score.data_ptr(), normaliser.data_ptr()
    load_kernel().score_rows(byref(job), torch.get_num_threads())
    return score, normaliser


def slope_rows(
    logits: Tensor,
    banned: Tensor | None,
    action: Tensor,
    scale: float,
    normaliser: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """(1 at the action, else 0, less the probability), times the row's weight.  [N, V], [K], [N],
    [N], [N] -> [N, V]
    """
    slope = torch.empty_like(logits)
    job, _kept = _describe(logits, banned, action, scale)
    weight = None if weight is None else weight.float().contiguous()
    normaliser = normaliser.contiguous()
    job.normaliser, job.slope = normaliser.data_ptr(), slope.data_ptr()
    job.weight = None if weight is None else weight.data_ptr()
    load_kernel().slope_rows(byref(job), torch.get_num_threads())
    return slope


def _describe(
    logits: Tensor, banned: Tensor | None, action: Tensor, scale: float
) -> tuple[_Rows, list[Tensor | None]]:
    """And what C reads, to be kept as long as it does."""
    assert logits.is_contiguous()
    action = action.contiguous()
    job = _Rows(
        logits.data_ptr(), None if banned is None else banned.data_ptr(), action.data_ptr(),
        None, None, None, None, *logits.shape, 0 if banned is None else len(banned),
        logits.dtype == torch.bfloat16, scale,
    )  # fmt: skip
    return job, [logits, banned, action]
