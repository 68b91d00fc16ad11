"""How far a student's distribution over all tokens is from a teacher's, position by position, a
chunk of positions at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fledge.log_prob import cap_logits, size_chunk

# log p_teacher [N, V], log p_student [N, V] -> [N], nats
Divergence = Callable[[Tensor, Tensor], Tensor]


def forward_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(p_T‖p_S) = Σ_v p_T (log p_T − log p_S): the student covers whatever the teacher may say.
    [N, V] twice -> [N]
    """
    return (teacher.exp() * (teacher - student)).sum(-1)


def reverse_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(p_S‖p_T) = Σ_v p_S (log p_S − log p_T): the student says nothing that the teacher would
    not.  [N, V] twice -> [N]
    """
    return (student.exp() * (student - teacher)).sum(-1)


def jensen_shannon(teacher: Tensor, student: Tensor, beta: float = 0.5) -> Tensor:
    """JSD_β = β·KL(p_T‖m) + (1 − β)·KL(p_S‖m), m = β·p_T + (1 − β)·p_S (Agarwal et al. 2024, eq.
    1).  [N, V] twice -> [N]

    Divided by β it tends to KL(p_T‖p_S) for β → 0, divided by 1 − β to KL(p_S‖p_T) for β → 1.
    """
    mixture = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    return beta * forward_kl(teacher, mixture) + (1 - beta) * forward_kl(student, mixture)


def divergence(
    kind: Divergence,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    hidden: Tensor,
    weight: Tensor,
    allowed: Tensor | None = None,
    *,
    chunk: int = 1024,
    caps: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """`kind` at N positions.  teacher_hidden [N, D'], teacher_weight [V, D'], hidden [N, D], weight
    [V, D] -> [N]

    allowed: [V] bool, the tokens that are actions; both distributions are renormalised over them.
    Softmax in float32 or better whatever the products' precision. At most `chunk` rows of logits
    exist at a time, in the backward pass too, where they are computed again: it changes memory and
    never the result. caps: of the teacher's and of the student's logits.
    """
    if allowed is not None:
        teacher_weight, weight = teacher_weight[allowed], weight[allowed]
    chunk = size_chunk(chunk, weight)
    again = partial(
        checkpoint, partial(_piece, kind, caps), use_reentrant=False, preserve_rng_state=False
    )
    pieces = [
        again(teacher_hidden[a : a + chunk], teacher_weight, hidden[a : a + chunk], weight)
        for a in range(0, len(hidden), chunk)
    ]
    # No position: an empty answer that still has a gradient.
    return torch.cat(pieces) if pieces else hidden.sum(-1)


def _piece(
    kind: Divergence,
    caps: tuple[float, float],
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    hidden: Tensor,
    weight: Tensor,
) -> Tensor:
    teacher, student = (teacher_hidden, teacher_weight), (hidden, weight)
    return kind(*(_log_softmax(*of, cap) for of, cap in zip((teacher, student), caps, strict=True)))


def _log_softmax(hidden: Tensor, weight: Tensor, cap: float) -> Tensor:
    """[N, D], [V, D] -> [N, V]"""
    return cap_logits(hidden @ weight.T, cap).log_softmax(-1)
