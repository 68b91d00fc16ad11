"""Credit: how much each step is worth. Pure tensors [B, T] in, pure tensors [B, T] out.

Everything skips the steps the policy did not choose (prompt, tool output, padding): credit passes
over them undiminished and undiscounted, so γ and λ count the policy's own decisions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reward_to_go(
    reward: Tensor, chosen: Tensor, terminated: Tensor, truncated: Tensor, gamma: float = 1.0
) -> Tensor:
    """G_t = r_t + γ G_{t+1}, and the future is worth nothing once the episode has ended.  [B, T] ->
    [B, T]

    Without a critic the unseen future after a truncation counts as 0 too (Sutton & Barto 2018, eq.
    3.9). 0 where not chosen.
    """
    return _from_behind(reward, gamma, chosen, terminated | truncated)


def gae(
    reward: Tensor,
    value: Tensor,
    chosen: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float = 1.0,
    lam: float = 0.95,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation and the critic's target.  [B, T], value [B, T+1] ->
    advantage [B, T], target [B, T]

    δ_t = r_t + γ V_{t+1} − V_t,  Â_t = δ_t + γλ Â_{t+1},  R̂_t = Â_t + V_t   (Schulman et al. 2016,
    eqs. 11–16)

    V_{t+1} is the value at the next step the policy chose; at a truncation it is the value of the
    true last observation (`value[:, t+1]`), at a termination it is 0. The trace is cut at both. The
    result is 0 where `chosen` is False.
    """
    if value.shape != (reward.shape[0], reward.shape[1] + 1):
        raise ValueError(
            f"value is {tuple(value.shape)}: it must be [B, T+1] beside reward "
            f"{tuple(reward.shape)}."
        )
    ended, steps = terminated | truncated, reward.shape[1]
    if steps == 0:
        return torch.zeros_like(value[:, 1:]), torch.zeros_like(value[:, 1:])
    place = torch.arange(1, steps + 1, device=value.device)
    after = F.pad(torch.where(chosen, place - 1, steps)[:, 1:], (0, 1), value=steps)
    # The next chosen step, or the last observation.
    following = after.flip(1).cummin(1).values.flip(1)
    future = torch.where(terminated, 0.0, value.gather(1, torch.where(ended, place, following)))
    # Of a critic that is right, 0 and no rounding error.
    delta = difference(reward + gamma * future, value[:, :-1])
    advantage = _from_behind(delta, gamma * lam, chosen, ended)
    return advantage, torch.where(chosen, advantage + value[:, :-1], 0.0)


def _from_behind(x: Tensor, decay: float, chosen: Tensor, ended: Tensor) -> Tensor:
    """y_t = x_t + decay·y_{t+1}, y_{t+1} of the next chosen step and 0 behind an end; 0 where not
    chosen.  [B, T] -> [B, T]
    """
    own = torch.where(chosen, x, 0.0).unbind(1)
    share = torch.ones_like(x).masked_fill(chosen, decay).masked_fill(chosen & ended, 0.0).unbind(1)
    sums: list[Tensor] = []
    behind = x.new_zeros(len(x))
    for here, kept in zip(reversed(own), reversed(share), strict=True):
        behind = torch.addcmul(here, kept, behind)
        sums.append(behind)
    return torch.where(chosen, torch.stack(sums[::-1], 1), 0.0) if sums else torch.zeros_like(x)


# so many units in the last place may separate two numbers that would be equal in exact arithmetic
ROUNDINGS = 8


def _spread(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over the steps where mask is True: how many there are, their mean, and the sum of squared
    distances from it.  -> [] float64 each

    The mean is corrected once by the mean distance from it, so that of equal numbers it is that
    number. Squares that are no more than the rounding errors of sums over T steps, in x's own
    precision, are 0.
    """
    eps, x = torch.finfo(x.dtype).eps, x.double()  # a number of 1e-20 has no square in float32
    count = mask.sum().double()
    rough = torch.where(mask, x, 0.0).sum() / count.clamp(min=1)
    mean = rough + torch.where(mask, x - rough, 0.0).sum() / count.clamp(min=1)
    squares = (torch.where(mask, x - mean, 0.0) ** 2).sum()
    noise = ROUNDINGS * eps * max(1, x.shape[-1]) ** 0.5 * mean.abs()
    return count, mean, torch.where(squares < count * noise**2, 0.0, squares)


def whiten(x: Tensor, mask: Tensor, shift: bool = True) -> Tensor:
    """(x − mean) / std over the steps where mask is True, of the whole batch; 0 elsewhere.  [B, T]
    -> [B, T]

    Call it before cutting into micro-batches. `shift=False` keeps the mean. A batch with fewer than
    two steps or no spread beyond rounding errors says nothing about any of them: 0, exactly, for an
    optimizer that divides by the gradient's size makes a whole step of the smallest rest.
    """
    count, mean, squares = _spread(x, mask)
    std = (squares / (count - 1).clamp(min=1)).sqrt()
    # What is no number stays none.
    out = torch.where(std == 0, 0.0, (x - mean) / torch.where(std == 0, 1.0, std))
    return torch.where(mask, out if shift else out + mean, 0.0).to(x.dtype)


def difference(x: Tensor, y: Tensor) -> Tensor:
    """x − y, and exactly 0 where it is no more than the rounding errors of the two: as for
    `whiten`, a rest would be learned from.
    """
    apart = x - y
    noise = ROUNDINGS * torch.finfo(apart.dtype).eps * torch.maximum(x.abs(), y.abs())
    return torch.where(apart.abs() < noise, 0.0, apart)  # what is no number stays none


def group_mean(x: Tensor, group: Tensor) -> Tensor:
    """For every row, the mean of x over the rows of its group.  [B], [B] -> [B]"""
    names, index = group.unique(return_inverse=True)
    count = x.new_zeros(len(names)).index_add_(0, index, torch.ones_like(x))
    rough = (x.new_zeros(len(names)).index_add_(0, index, x) / count)[index]
    # Corrected once, so that of equal numbers it is that number, without a rounding error.
    return rough + (x.new_zeros(len(names)).index_add_(0, index, x - rough) / count)[index]


def leave_one_out_mean(x: Tensor, group: Tensor) -> Tensor:
    """For every row, the mean of x over the *other* rows of its group: a baseline that does not
    depend on the row's own action and so keeps the policy gradient unbiased (Kool et al. 2019).
    [B], [B] -> [B]
    """
    names, index = group.unique(return_inverse=True)
    size = torch.bincount(index, minlength=len(names))
    if int(size.min()) < 2:
        raise ValueError(
            "a group of 1 sample has no others to compare with. Raise `samples_per_prompt` to 2 or "
            "more."
        )
    count = size.to(x.dtype)[index]
    mean = group_mean(x, group)
    return mean + (mean - x) / (count - 1)


def log_ratio(logp: Tensor, reference: Tensor, mask: Tensor, bound: float = 20.0) -> Tensor:
    """log π/π_ref per step, bounded so that exp of it stays finite, and 0 where mask is False.  [B,
    T] -> [B, T]

    The gradient passes inside the bound. Padding never meets inf or NaN: it is replaced before the
    subtraction.
    """
    return (torch.where(mask, logp, 0.0) - torch.where(mask, reference, 0.0)).clamp(-bound, bound)


def explained_variance(value: Tensor, target: Tensor, mask: Tensor) -> float:
    """1 − Var[target − value] / Var[target] over the mask: 1 is a perfect critic, 0 no better than
    a constant.

    0, too, where the target has no spread beyond rounding errors: there is nothing to explain.
    """
    spread = _spread(target, mask)[2]
    if not bool(spread > 0):
        return 0.0
    return float(1 - _spread(target - value, mask)[2] / spread)


def _group_extremes(x: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """For every row, the smallest and the largest x of its group.  [B], [B] -> [B] each"""
    names, index = group.unique(return_inverse=True)
    blank = x.new_zeros(len(names))
    low = blank.scatter_reduce(0, index, x, "amin", include_self=False)
    return low[index], blank.scatter_reduce(0, index, x, "amax", include_self=False)[index]


def group_max(x: Tensor, group: Tensor) -> Tensor:
    """For every row, the largest x of its group.  [B], [B] -> [B]"""
    return _group_extremes(x, group)[1]


def equal_in_group(x: Tensor, group: Tensor) -> Tensor:
    """For every row, whether all rows of its group have the same x, up to rounding errors: nothing
    in such a group can be compared.

    [B], [B] -> [B] bool
    """
    low, high = _group_extremes(x, group)
    return difference(high, low) == 0


def group_spread(x: Tensor, group: Tensor) -> Tensor:
    """For every row, the standard deviation of x over its group, with G − 1 below; 0 in a group of
    one.  [B], [B] -> [B]
    """
    names, index, size = group.unique(return_inverse=True, return_counts=True)
    squares = x.new_zeros(len(names)).index_add_(0, index, (x - group_mean(x, group)) ** 2)
    return (squares / (size - 1).clamp(min=1)).sqrt()[index]


def share_in_group(x: Tensor, group: Tensor) -> Tensor:
    """x_i / Σ_j x_j over the rows of the group, x ≥ 0; 0 in a group that has nothing to share.
    [B], [B] -> [B]
    """
    names, index = group.unique(return_inverse=True)
    total = x.new_zeros(len(names)).index_add_(0, index, x)[index]
    return x / torch.where(total > 0, total, 1.0)


def overlong_penalty(length: Tensor, limit: int, buffer: int) -> Tensor:
    """0 up to `limit` − `buffer` tokens, then falling in a line to −1 at `limit` and beyond (Yu et
    al. 2025, eq. 13).  [B] -> [B]
    """
    return ((limit - buffer - length) / max(1, buffer)).clamp(-1.0, 0.0)


def importance_weights(
    logp: Tensor,
    behaviour_logp: Tensor,
    chosen: Tensor,
    truncate_at: float | None = None,
    bound: float = 60.0,
) -> Tensor:
    """w_t = Π_{s≤t} π(a_s)/μ(a_s), the weight of everything up to step t, at most `truncate_at`.
    [B, T] -> [B, T]

    The last column is the weight of the whole trajectory. Precup et al. 2000; truncation: Ionides
    2008. Π is held within e^±bound, so that it stays finite.
    """
    weight = log_ratio(logp, behaviour_logp, chosen).cumsum(1).clamp(-bound, bound).exp()
    return weight if truncate_at is None else weight.clamp(max=truncate_at)


def truncated_importance(
    logp: Tensor, behaviour_logp: Tensor, chosen: Tensor, truncate_at: float
) -> Tensor:
    """min(π(a_t)/μ(a_t), truncate_at) of each step by itself; 1 where none was chosen.  [B, T] ->
    [B, T]

    ρ_t of V-trace (Espeholt et al. 2018, eq. 1). The steps around t are not weighed, which is a
    bias: a product over a row would vary too much.
    """
    return log_ratio(logp, behaviour_logp, chosen).exp().clamp(max=truncate_at)


def effective_sample_size(weight: Tensor) -> float:
    """(Σw)² / Σw²: as many equally weighted samples would estimate a mean as well (Kong 1992).  [B]
    -> rows
    """
    weight = weight.double()  # a weight of e^45 has no square in float32
    squares = (weight**2).sum()
    return float(weight.sum() ** 2 / squares) if bool(squares > 0) else 0.0
