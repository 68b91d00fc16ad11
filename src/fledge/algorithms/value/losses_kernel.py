"""DQN's loss, and those of SAC's critics and of its actor, with their gradients by C, where the
networks are perceptrons that `perceptron_kernel` computes: a few calls in place of some hundred
operations of torch, each of which takes as long to be called as to compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import Structure, byref, c_double, c_float, c_int64, c_void_p
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fledge.algorithms.value.library import load_kernel
from fledge.learner import Learner
from fledge.models.control.actor_critic import Encoder
from fledge.models.control.mlp import Perceptron
from fledge.models.control.perceptron_kernel import Weights, is_watched_by_none, learn, say
from fledge.models.control.q_network import QNetwork
from fledge.models.control.squashed_actor import LEAST_LOG_STD, MOST_LOG_STD, GaussianActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.sample.replay import Transitions

if TYPE_CHECKING:
    from fledge.algorithms.value.soft_actor_critic import Noisy, SoftActorCritic

Form = tuple[Weights, str]  # weights and activation of a perceptron
Marks = Mapping[str, Tensor]


class _Choices(Structure):
    """As `Choices` of losses.c."""

    _fields_ = [
        *((name, c_void_p) for name in (
            "q", "future", "judge", "action", "reward", "discount", "weight", "terminated", "slope",
            "error", "sums",
        )),
        ("rows", c_int64), ("actions", c_int64), ("count", c_double),
    ]  # fmt: skip


class _Critics(Structure):
    """As `Critics` of losses.c."""

    _fields_ = [
        *((name, c_void_p) for name in (
            "first", "second", "next_first", "next_second", "logp", "reward", "discount", "weight",
            "terminated", "first_slope", "second_slope", "error", "sums",
        )),
        ("rows", c_int64), ("count", c_double), ("temperature", c_double),
    ]  # fmt: skip


class _Squashed(Structure):
    """As `Squashed` of losses.c."""

    kept: list[Tensor]  # as long as C reads them
    _fields_ = [
        *((name, c_void_p) for name in ("numbers", "noise", "unit", "logp")),
        *((name, c_int64) for name in ("rows", "width", "unit_row")),
        ("least", c_float), ("most", c_float),
    ]  # fmt: skip


class _Actor(Structure):
    """As `Actor` of losses.c."""

    _fields_ = [
        ("drawn", _Squashed),
        *((name, c_void_p) for name in (
            "first", "second", "slope_of_first", "slope_of_second", "numbers_slope", "sums",
        )),
        ("slope_row", c_int64),
        *((name, c_double) for name in ("count", "temperature", "target_entropy")),
    ]  # fmt: skip


def fit_choices_by_kernel(
    network: Any,
    target: Any,
    rows: Transitions,
    double: bool,
    count: Tensor,
    learner: Learner,
) -> tuple[Tensor, Marks, Tensor] | None:
    """DQN's loss of some rows, what is said of it, and |error| [N], to the last digits of float32,
    its gradient given to the learner; None where these networks, or these rows, are torch's to
    compute with.
    """
    nets = (network, target)
    if not (_suits(rows) and all(_is_plain(net, QNetwork) for net in nets)):
        return None
    if any(net.find_chain() is None for net in nets):
        return None
    encoder = network.trunk[0]
    if not is_watched_by_none(encoder) or target.trunk[0] is not encoder:
        return None
    with torch.no_grad():
        obs, following = encoder(rows.obs), encoder(rows.next_obs)
        own, its = network.kernel_form(obs), target.kernel_form(following)
        action = rows.action.contiguous()
        known = action.dtype == torch.int64 and action.shape == rows.reward.shape
        if own is None or its is None or not known or not load_kernel():
            return None
        gradient = learner.gradient.offer(own)
        if gradient is None:
            return None
        q, hidden = say(obs, own, "relu")
        future = say(following, its, "relu")[0]
        # The encoder, which has no parameters, is one for both.
        judge = say(following, own, "relu")[0] if double else future
        slope, error = torch.empty_like(q), q.new_empty(len(q))
        sums = q.new_empty(3, dtype=torch.float64)
        held = [  # as long as C reads them
            q, future, judge, action, *_read_rows(rows), slope, error, sums,
        ]  # fmt: skip
        step = _Choices(*(x.data_ptr() for x in held), *q.shape, float(count))
        if load_kernel().weigh_choices(byref(step)):
            return None  # torch's to refuse
        learn(obs, hidden, slope, own, "relu", gradient, None)
        learner.gradient.add(gradient)
    return sums[0], {"q": sums[1], "td_error": sums[2]}, error


def fit_critics_by_kernel(
    algorithm: SoftActorCritic, rows: Noisy, count: Tensor
) -> tuple[Tensor, Marks, Tensor] | None:
    """The loss of SAC's critics, as `fit_choices_by_kernel` has DQN's."""
    critic, actor = algorithm.critic, algorithm.actor
    target: Any = algorithm.target_critic.network
    if not (_are_usual(actor, critic, target) and _suits(rows)):
        return None
    with torch.no_grad():
        following = actor.encoder(rows.next_obs)
        both = torch.cat([critic.encoder(rows.obs), critic.bounds.to_unit(rows.action)], -1)
        forms = _take_forms((actor.network, following), *((net, both) for net in critic.networks))
        targets = _take_forms(*((net, both) for net in target.networks))
        if forms is None or targets is None:
            return None
        policy, *own = forms
        gradient = algorithm.critic_learner.gradient.offer([p for form in own for p in form[0]])
        if gradient is None:
            return None
        temperature = float(actor.log_temperature.exp())
        numbers = say(following, *policy)[0]
        beyond, logp, _ = _squash(following, numbers, rows.next_noise)
        future = [say(beyond, *form)[0] for form in targets]
        said = [say(both, *form) for form in own]
        slopes, error = both.new_empty(2, len(both), 1), both.new_empty(len(both))
        sums = both.new_empty(2, dtype=torch.float64)
        held = [*(q for q, _ in said), *future, logp, *_read_rows(rows), *slopes, error, sums]
        step = _Critics(*(x.data_ptr() for x in held), len(both), float(count), temperature)
        load_kernel().weigh_critics(byref(step))
        parts = gradient.split([sum(p.numel() for p in form[0]) for form in own])
        for form, (_, hidden), slope, part in zip(own, said, slopes, parts, strict=True):
            learn(both, hidden, slope, *form, part, None)
        algorithm.critic_learner.gradient.add(gradient)
    return sums[0], {"q": sums[1]}, error


def fit_actor_by_kernel(
    algorithm: SoftActorCritic, rows: Noisy, count: Tensor
) -> tuple[Tensor, Marks] | None:
    """The loss of SAC's actor and temperature, as `fit_choices_by_kernel` has DQN's."""
    critic, actor = algorithm.critic, algorithm.actor
    if not (_are_usual(actor, critic) and _suits(rows)):
        return None
    with torch.no_grad():
        obs = actor.encoder(rows.obs)
        both = obs.new_empty(len(obs), obs.shape[1] + actor.bounds.width)
        forms = _take_forms((actor.network, obs), *((net, both) for net in critic.networks))
        if forms is None:
            return None
        policy, *judges = forms
        gradient = algorithm.actor_learner.gradient.offer([actor.log_temperature, *policy[0]])
        if gradient is None:
            return None
        numbers, hidden = say(obs, *policy)
        both, _, drawn = _squash(obs, numbers, rows.noise)
        said = [say(both, *form) for form in judges]
        smaller, below = both.new_empty(2, len(obs), 1), both.new_empty(2, *both.shape)
        load_kernel().choose_smaller(
            *(q.data_ptr() for q, _ in said), *(s.data_ptr() for s in smaller), len(obs),
            float(count),
        )  # fmt: skip
        for form, (_, left), slope, down in zip(judges, said, smaller, below, strict=True):
            learn(both, left, slope, *form, None, down)
        slope, sums = torch.empty_like(numbers), both.new_empty(3, dtype=torch.float64)
        of_action = below[:, :, obs.shape[1] :]
        held = [*(q for q, _ in said), *of_action, slope, sums]
        log_temperature = float(actor.log_temperature)
        step = _Actor(
            drawn, *(x.data_ptr() for x in held), both.shape[1], float(count),
            float(actor.log_temperature.exp()), algorithm.target_entropy,
        )  # fmt: skip
        load_kernel().pull_actor(byref(step))
        gradient[0] = sums[2]
        learn(obs, hidden, slope, *policy, gradient[1:], None)
        algorithm.actor_learner.gradient.add(gradient)
    climbing, entropy, of_temperature = sums.unbind()
    loss = climbing + log_temperature * of_temperature
    return loss, {"policy_loss": climbing, "entropy": entropy}


def _squash(obs: Tensor, numbers: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, _Squashed]:
    """What an actor's numbers and the noise make: rows for a critic, of what was observed and the
    action in units of its bounds [N, O + width]; its log-density [N]; and what C was handed.
    """
    width = noise.shape[1]
    both = torch.cat([obs, torch.empty_like(noise)], -1)
    logp, noise = obs.new_empty(len(obs)), noise.contiguous()
    held = [numbers, noise, both[:, obs.shape[1] :], logp]
    drawn = _Squashed(
        *(x.data_ptr() for x in held), len(obs), width, both.shape[1], LEAST_LOG_STD, MOST_LOG_STD
    )
    drawn.kept = held
    load_kernel().squash(byref(drawn))
    return both, logp, drawn


def _take_forms(*asked: tuple[Any, Tensor]) -> list[Form] | None:
    """Each network's, of the rows it is to be handed; None where one of them is torch's."""
    forms = [net.kernel_form(rows) if _is_plain(net, Perceptron) else None for net, rows in asked]
    whole = [form for form in forms if form is not None]
    return whole if len(whole) == len(forms) and load_kernel() is not None else None


def _read_rows(rows: Transitions) -> Sequence[Tensor]:
    """Reward, discount, weight and whether the world ended, in the order of C's structures."""
    return [x.contiguous() for x in (rows.reward, rows.discount, rows.weight, rows.terminated)]


def _suits(rows: Transitions) -> bool:
    numbers = (rows.reward, rows.discount, rows.weight)
    return torch.is_grad_enabled() and all(x.dtype == torch.float32 and x.is_cpu for x in numbers)


def _is_plain(module: Any, kind: type) -> bool:
    return type(module) is kind and is_watched_by_none(module)


def _are_usual(actor: Any, *critics: Any) -> bool:
    """Whether they are SAC's own, and see observations alike."""
    encoders = [module.encoder for module in (actor, *critics)]
    return (
        _is_plain(actor, GaussianActor)
        and all(_is_plain(critic, TwinCritic) for critic in critics)
        and all(_is_plain(encoder, Encoder) for encoder in encoders)
        and (
            all(encoder is encoders[0] for encoder in encoders)
            or not any(encoder.normalise for encoder in encoders)
        )
    )
