"""A loss of PPO and its gradient by C, for an actor and a critic that are small perceptrons: five
calls in place of some four hundred operations of torch, each of which takes longer to be called
than to compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import Structure, byref, c_double, c_int64, c_void_p
from functools import cache
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fledge.c_library import load_sources
from fledge.learner import Learner
from fledge.models.control.action_heads import DiagonalGaussian, OneChoice
from fledge.models.control.actor_critic import ActorCritic
from fledge.models.control.mlp import Perceptron
from fledge.models.control.perceptron_kernel import is_watched_by_none, learn, say

if TYPE_CHECKING:
    from fledge.algorithms.policy.ppo import PPO, Proximal

SOURCES = Path(__file__).with_name("csrc")
Form = tuple[list[Tensor], str]  # weights and activation of a perceptron
MARKS = ("policy_loss", "value_loss", "clip_fraction", "policy_kl", "entropy")


class _Step(Structure):
    """As `Step` of proximal.c."""

    _fields_ = [
        *((name, c_void_p) for name in (
            "numbers", "log_std", "shrink", "value", "choice", "action", "chosen", "old_logp",
            "advantage", "target", "old_value", "numbers_slope", "log_std_slope", "value_slope",
            "sums",
        )),
        ("rows", c_int64), ("width", c_int64),
        *((name, c_double) for name in (
            "count", "clip_low", "clip_high", "value_clip", "value_coefficient",
            "entropy_coefficient",
        )),
    ]  # fmt: skip


@cache
def load_kernel() -> Any:
    """The library, or None where it cannot be had."""
    library = load_sources(SOURCES, "the C of PPO", "torch's kernels do its work")
    if library is not None:
        library.fit_step.argtypes, library.fit_step.restype = [c_void_p], None
    return library


def fit_by_kernel(
    actor_critic: Any, rows: Proximal, settings: PPO.Settings, count: Tensor, learner: Learner
) -> tuple[Tensor, Mapping[str, Tensor]] | None:
    """PPO's loss of some rows and what is said of it, to the last digits of float32, its gradient
    given to the learner; None where these networks, or these rows, are torch's to compute with.
    """
    if not _suits(actor_critic, rows):
        return None
    with torch.no_grad():
        encoded = actor_critic.encoder(rows.obs[:, :-1].flatten(0, 1))
        actor, critic = (
            part.kernel_form(encoded)
            if type(part) is Perceptron and is_watched_by_none(part)
            else None
            for part in (actor_critic.actor, actor_critic.critic)
        )
        if actor is None or critic is None or load_kernel() is None:
            return None
        spread = [] if actor_critic.log_std is None else [actor_critic.log_std]
        gradient = learner.gradient.offer([*spread, *actor[0], *critic[0]])
        if gradient is None:
            return None
        sums = _fit(
            encoded, rows, settings, float(count), actor, critic, actor_critic.log_std, gradient
        )
        learner.gradient.add(gradient)
    loss, *said = sums.unbind()
    marks: dict[str, Tensor] = dict(zip(MARKS, said, strict=True))
    if not settings.entropy_coefficient:
        del marks["entropy"]
    return loss, marks


def _suits(actor_critic: Any, rows: Proximal) -> bool:
    if type(actor_critic) is not ActorCritic or not torch.is_grad_enabled():
        return False
    head = actor_critic.head
    kind = torch.int64 if type(head) is OneChoice else torch.float32
    numbers = (rows.old_logp, rows.weight, rows.target, rows.old_value)
    return (
        type(head) in (OneChoice, DiagonalGaussian)
        and rows.action.dtype == kind
        and all(x.dtype == torch.float32 and x.is_cpu for x in numbers)
    )


def _fit(
    encoded: Tensor,
    rows: Proximal,
    s: PPO.Settings,
    count: float,
    actor: Form,
    critic: Form,
    log_std: Tensor | None,
    gradient: Tensor,
) -> Tensor:
    """Writes the gradient: of the spread, of the actor, of the critic.  -> the loss, and what MARKS
    are  [6]
    """
    numbers, actor_hidden = say(encoded, *actor)
    value, critic_hidden = say(encoded, *critic)
    slopes, value_slope = torch.empty_like(numbers), torch.empty_like(value)
    sums = numbers.new_empty(1 + len(MARKS), dtype=torch.float64)
    action = rows.action.contiguous()
    held = [  # as long as C reads them
        numbers, log_std, None if log_std is None else (-log_std).exp(), value,
        *((action, None) if log_std is None else (None, action)),
        *(x.contiguous() for x in (
            rows.chosen, rows.old_logp, rows.weight, rows.target, rows.old_value,
        )),
        slopes, None if log_std is None else gradient, value_slope, sums,
    ]  # fmt: skip
    step = _Step(
        *(None if x is None else x.data_ptr() for x in held), *numbers.shape, count,
        s.clip_low, s.clip_high, inf if s.value_clip is None else s.value_clip,
        s.value_coefficient, s.entropy_coefficient,
    )  # fmt: skip
    load_kernel().fit_step(byref(step))
    begin = 0 if log_std is None else log_std.numel()
    middle = begin + sum(p.numel() for p in actor[0])
    learn(encoded, actor_hidden, slopes, *actor, gradient[begin:middle], None)
    learn(encoded, critic_hidden, value_slope, *critic, gradient[middle:], None)
    return sums
