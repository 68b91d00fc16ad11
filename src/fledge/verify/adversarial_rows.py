"""Rows of what is learned against an adversary, and of changed data: critics' losses against
divergences by enumeration (U8), an energy's game at its end (U13), augmentation and the turned
gradient against differentiation by hand (U12).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.algorithms.images.adversarial_losses import (
    AdversarialLoss,
    critic_loss,
    gradient_penalty,
)
from fledge.algorithms.images.change_policy import measure_worth
from fledge.algorithms.images.domain_adversary import domain_loss
from fledge.algorithms.images.energy_gan import energy_loss
from fledge.verify.rows import TableRow

EXACT = 1e-6  # of what an optimizer has come to in float64
ROUNDING = 1e-6
SYMBOLS = 6


def draw_two(seed: int) -> tuple[Tensor, Tensor]:
    """Two distributions over a few symbols.  [S] twice"""
    random = torch.Generator().manual_seed(seed)
    p, q = (torch.rand(SYMBOLS, generator=random, dtype=torch.float64) + 0.1 for _ in range(2))
    return p / p.sum(), q / q.sum()


def best_value(loss: Callable[[Tensor], Tensor]) -> tuple[float, Tensor]:
    """The least value of a loss of a critic that is a table, and the table: found by descent, with
    nothing known of where it lies.
    """
    table = torch.zeros(SYMBOLS, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(table)
        value.backward()
        return value

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return float(loss(table).detach()), table.detach()


def expected(kind: AdversarialLoss, p: Tensor, q: Tensor, table: Tensor) -> Tensor:
    """Of each symbol its part of the expectation over both distributions, of a critic's loss that
    is a sum of a real and a drawn part.  [.., S] -> [.., S]
    """
    still = torch.zeros_like(table)
    nothing = critic_loss(kind, still, still)
    real = critic_loss(kind, table, still) - nothing
    drawn = critic_loss(kind, still, table)
    return p * real + q * drawn


def find_least(kind: AdversarialLoss, p: Tensor, q: Tensor) -> float:
    """Of all critics: by descent, or of the hinge, which has corners where descent stops, by a grid
    for each symbol, which its corners lie on.
    """
    if kind != "hinge":
        return best_value(lambda table: expected(kind, p, q, table).sum())[0]
    grid = torch.linspace(-3, 3, 601, dtype=torch.float64)[:, None].expand(-1, SYMBOLS)
    return float(expected(kind, p, q, grid).amin(0).sum())


def divergences(p: Tensor, q: Tensor) -> dict[AdversarialLoss, tuple[str, float]]:
    """By enumeration, of each loss at its best: what it is, and its value."""
    middle = (p + q) / 2
    js = 0.5 * float((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum())
    return {
        "nonsaturating": ("log 4 − 2 JS(p, q)", math.log(4) - 2 * js),
        "hinge": ("2 − 2 TV(p, q)", 2 - float((p - q).abs().sum())),
        "kl": ("−KL(p ‖ q)", -float((p * (p / q).log()).sum())),
        "reverse_kl": ("−KL(q ‖ p)", -float((q * (q / p).log()).sum())),
        "pearson": ("−χ²(p ‖ q)", -float(((p - q).square() / q).sum())),
    }


def divergence_rows() -> list[TableRow]:
    """The value of each loss at the best critic that is found."""
    p, q = draw_two(1)
    rows = []
    for number, (kind, (words, exact)) in enumerate(divergences(p, q).items(), 1):
        value = find_least(kind, p, q)
        error = abs(value - exact)
        rows.append(
            TableRow(
                f"U8.{number}", f"adversarial loss, {kind}", f"at its best critic it is {words}",
                error, EXACT, f"{value:.6f} by search, {exact:.6f} by enumeration",
            )
        )  # fmt: skip
    return rows


def best_critic_row() -> TableRow:
    """Of the non-saturating loss: σ(T) = p / (p + q) (Goodfellow et al. 2014, proposition 1)."""
    p, q = draw_two(2)
    _, table = best_value(lambda table: expected("nonsaturating", p, q, table).sum())
    error = float((table.sigmoid() - p / (p + q)).abs().max())
    return TableRow(
        "U8.6", "adversarial loss, its best critic", "σ(T) = p / (p + q)", error, 1e-5,
        f"to {error:.1e} at every symbol",
    )  # fmt: skip


def penalty_row() -> TableRow:
    """Of T(x) = aᵀx the slope is ‖a‖ everywhere, so the penalty is (‖a‖ − 1)²."""
    random = torch.Generator().manual_seed(3)
    a = torch.randn(5, generator=random, dtype=torch.float64)
    real, drawn = (torch.randn(4, 5, generator=random, dtype=torch.float64) for _ in range(2))
    mix = torch.rand(4, generator=random, dtype=torch.float64)
    made = gradient_penalty(lambda x: x @ a, real, drawn, mix)
    error = float((made - (a.norm() - 1) ** 2).abs().max())
    return TableRow(
        "U8.7", "gradient penalty", "of a linear critic it is (‖a‖ − 1)²", error, ROUNDING,
        f"{float(made[0]):.6f}, to {error:.1e}",
    )  # fmt: skip


def energy_row() -> TableRow:
    """The autoencoder's side of the energy game over every symbol, energies from 0 up: by search
    over a grid that holds both ends, for the loss is linear between them.
    """
    p, q = draw_two(4)
    margin = 0.7
    grid = torch.linspace(0, 2 * margin, 141, dtype=torch.float64)[:, None]
    value = (p * energy_loss(grid, grid.new_full((1, 1), 2 * margin), margin)).double()
    value = value + q * energy_loss(torch.zeros_like(grid), grid, margin)
    least = float(value.amin(0).sum())
    exact = margin * float(torch.minimum(p, q).sum())
    at_rest = float((p * energy_loss(grid, grid, margin)).amin(0).sum())  # q = p
    error = max(abs(least - exact), abs(at_rest - margin))
    return TableRow(
        "U13.2", "energy-based GAN", "at the best energy its loss is m (1 − TV), and m where q = p",
        error, ROUNDING, f"{least:.6f} and {at_rest:.6f}, to {error:.1e}",
    )  # fmt: skip


def augmentation_row() -> TableRow:
    """Likelihood on changed data is cross entropy against q(x) = Σ p(x*) k(x | x*): value and
    gradient of the loss over every datum and change, against those of q.
    """
    random = torch.Generator().manual_seed(5)
    data, _ = draw_two(6)
    kernel = torch.rand(SYMBOLS, SYMBOLS, generator=random, dtype=torch.float64)
    kernel = kernel / kernel.sum(1, keepdim=True)
    logits = torch.randn(SYMBOLS, generator=random, dtype=torch.float64).requires_grad_(True)
    every = torch.arange(SYMBOLS)
    changed = F.cross_entropy(logits.expand(SYMBOLS, -1), every, reduction="none")
    loss = (data[:, None] * kernel * changed[None]).sum()
    (slope,) = torch.autograd.grad(loss, logits)
    q = data @ kernel
    exact = q * (-logits.detach().log_softmax(0))
    error = abs(float(loss.detach()) - float(exact.sum()))
    error = max(error, float((slope - (logits.detach().softmax(0) - q)).abs().max()))
    return TableRow(
        "U12.1", "data augmentation", "likelihood of changed data is cross entropy against q",
        error, ROUNDING, f"value and gradient to {error:.1e}",
    )  # fmt: skip


def worth_row() -> TableRow:
    """A linear reader with squared errors, whose gradients are known: worth = ∇ℓ_i · ∇L."""
    random = torch.Generator().manual_seed(7)
    network = nn.Linear(3, 1, bias=False).double()
    x = torch.randn(7, 3, generator=random, dtype=torch.float64)
    y = torch.randn(7, generator=random, dtype=torch.float64)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.3, -0.2, 0.5]]))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return 0.5 * (network(x)[:, 0] - y).square()

    worth = measure_worth(network, loss, (x[:4], y[:4]), (x[4:], y[4:]))
    gradients = (x @ network.weight[0].detach() - y)[:, None] * x
    exact = gradients[:4] @ gradients[4:].mean(0)
    error = float((worth - exact).abs().max())
    return TableRow(
        "U12.2", "worth of a changed picture", "∇ℓ of it times ∇L of those that steer", error,
        ROUNDING, f"to {error:.1e}",
    )  # fmt: skip


def turned_row() -> TableRow:
    """Of a linear reader of domains σ(aᵀx): ∂/∂x = −λ ½ (σ − 1) a of our pictures, −λ ½ σ a of
    theirs, and the reader's own as it is.
    """
    random = torch.Generator().manual_seed(8)
    reader, weight = nn.Linear(3, 1, bias=False).double(), 0.6
    ours, theirs = (
        torch.randn(5, 3, generator=random, dtype=torch.float64).requires_grad_(True)
        for _ in range(2)
    )
    total = domain_loss(reader, ours, theirs, weight).sum()
    made = torch.autograd.grad(total, [ours, theirs, reader.weight])
    a = reader.weight[0].detach()
    of_ours, of_theirs = (0.5 * (x.detach() @ a).sigmoid() for x in (ours, theirs))
    of_ours = of_ours - 0.5
    exact = (
        -weight * of_ours[:, None] * a, -weight * of_theirs[:, None] * a,
        (of_ours @ ours.detach() + of_theirs @ theirs.detach())[None],
    )  # fmt: skip
    error = max(float((x - y).abs().max()) for x, y in zip(made, exact, strict=True))
    return TableRow(
        "U12.3", "domain adversary", "the reader's gradient as it is, the features' turned round",
        error, ROUNDING, f"to {error:.1e}",
    )  # fmt: skip


def adversarial_rows() -> list[TableRow]:
    return [
        *divergence_rows(), best_critic_row(), penalty_row(), augmentation_row(), worth_row(),
        turned_row(), energy_row(),
    ]  # fmt: skip
