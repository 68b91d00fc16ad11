"""The draw of a token a row by the library of `native.py`: two passes over the logits in one call,
in place of a dozen operations.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_int64, c_void_p

import torch
from torch import Tensor

from fledge.engine.native import load_native


class _Draw(Structure):
    """`struct Draw` of csrc/draw.c."""

    _fields_ = (
        ("logits", c_void_p), ("uniform", c_void_p), ("rows", c_int64), ("size", c_int64),
        ("token", c_void_p), ("logp", c_void_p), ("top", c_void_p),
    )  # fmt: skip


def can_draw(logits: Tensor) -> bool:
    """Whether the library draws from logits of this kind."""
    return logits.dtype == torch.float32 and logits.is_cpu and load_native() is not None


def draw_natively(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `draw` of log_prob.py, and each row's greatest logit: where that is no finite number there
    is no token, and 0 in place of it.  [N, V], [N] -> [N], [N], [N]
    """
    logits, uniform = logits.contiguous(), uniform.double().contiguous()
    rows, size = logits.shape
    if logits.dtype != torch.float32 or uniform.shape != (rows,):
        raise ValueError(f"float32 {[rows, size]}, not {logits.dtype}, and {[*uniform.shape]}")
    if not (logits.is_cpu and uniform.is_cpu):
        raise ValueError(f"logits and numbers on the CPU, not on {logits.device}")
    token = logits.new_empty(rows, dtype=torch.int64)
    logp, top = logits.new_empty(rows), logits.new_empty(rows)
    job = _Draw(
        logits.data_ptr(), uniform.data_ptr(), rows, size, token.data_ptr(), logp.data_ptr(),
        top.data_ptr(),
    )  # fmt: skip
    if load_native().draw(byref(job), torch.get_num_threads()):
        raise ValueError(f"no draw from {size} tokens")
    return token, logp, top
