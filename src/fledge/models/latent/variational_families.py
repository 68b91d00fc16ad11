"""Families of distributions over z ∈ ℝ^d in which an approximate posterior is sought: independent
normals, one normal, a mixture of normals, a flow of affine couplings.

All can be drawn from with a gradient: of normals and flows z = f(ε; φ); of a mixture, which no
smooth f makes, implicitly (Figurnov, Mohamed & Mnih 2018, eq. 6 and §3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fledge.models.latent.gaussian_mixture import LOG_2PI

FamilyName = Literal["independent", "normal", "mixture", "flow"]
FAMILIES: tuple[FamilyName, ...] = get_args(FamilyName)


class VariationalFamily(nn.Module):
    """q(z; φ). width: d. The parameters are float64, and so is every z."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        """z with a gradient to φ.  -> [n, d]"""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z).  [n, d] -> [n]"""
        raise NotImplementedError

    def _noise(self, samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn(samples, self.width, generator=generator, dtype=torch.float64)


class IndependentNormals(VariationalFamily):
    """Π_i N(z_i; μ_i, σ_i²): the mean field."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.mean = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.log_sd = nn.Parameter(torch.zeros(width, dtype=torch.float64))

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        return self.mean + self.log_sd.exp() * self._noise(samples, generator)

    def log_prob_each(self, z: Tensor) -> Tensor:
        """log q(z_i).  [n, d] -> [n, d]"""
        return normal_log_prob(z, self.mean, self.log_sd)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.log_prob_each(z).sum(1)


class OneNormal(VariationalFamily):
    """N(z; μ, L Lᵀ), L lower triangular."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.mean = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.log_diagonal = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.below = nn.Parameter(torch.zeros(width, width, dtype=torch.float64))

    def root(self) -> Tensor:
        """L.  [d, d]"""
        return self.below.tril(-1) + torch.diag(self.log_diagonal.exp())

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        return self.mean + self._noise(samples, generator) @ self.root().T

    def log_prob(self, z: Tensor) -> Tensor:
        noise = torch.linalg.solve_triangular(self.root(), (z - self.mean).T, upper=False)
        constant = self.log_diagonal.sum() + 0.5 * self.width * LOG_2PI
        return -0.5 * noise.square().sum(0) - constant


class NormalsMixed(VariationalFamily):
    """Σ_k π_k Π_i N(z_i; μ_ki, σ_ki²)."""

    def __init__(self, width: int, components: int, generator: torch.Generator) -> None:
        super().__init__(width)
        size = (components, width)
        apart = torch.randn(size, generator=generator, dtype=torch.float64)
        self.logits = nn.Parameter(torch.zeros(components, dtype=torch.float64))
        self.mean = nn.Parameter(apart)
        self.log_sd = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def _draw_plain(self, samples: int, generator: torch.Generator) -> Tensor:
        share = self.logits.softmax(0)
        k = torch.multinomial(share, samples, replacement=True, generator=generator)
        return self.mean[k] + self.log_sd[k].exp() * self._noise(samples, generator)

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        """With F_i(z_i | z_<i; φ) held where it is, dz/dφ = −(∂F/∂z)⁻¹ ∂F/∂φ."""
        z = self._draw_plain(samples, generator)
        if not torch.is_grad_enabled():
            return z
        at = z.clone().requires_grad_()
        level = self.cumulate(at)
        slope = torch.stack(
            [
                torch.autograd.grad(level[:, i].sum(), at, retain_graph=True)[0]
                for i in range(self.width)
            ],
            1,
        )  # [n, d, d], lower triangular, q(z_i | z_<i) on its diagonal
        moved = self.cumulate(z)
        moved = (moved - moved.detach())[:, :, None]
        return z - torch.linalg.solve_triangular(slope, moved, upper=False)[:, :, 0]

    def cumulate(self, z: Tensor) -> Tensor:
        """F_i(z_i | z_<i), which are independent and uniform.  [n, d] -> [n, d]"""
        log_share = self.logits.log_softmax(0).expand(len(z), -1)
        levels = []
        for i in range(self.width):
            apart = (z[:, i, None] - self.mean[:, i]) / self.log_sd[:, i].exp()
            levels.append((log_share.softmax(1) * torch.special.ndtr(apart)).sum(1))
            one = -0.5 * (apart.square() + LOG_2PI) - self.log_sd[:, i]
            log_share = log_share + one
        return torch.stack(levels, 1)

    def log_prob(self, z: Tensor) -> Tensor:
        each = normal_log_prob(z[:, None, :], self.mean, self.log_sd).sum(2)  # [n, K]
        return (each + self.logits.log_softmax(0)).logsumexp(1)


class Coupling(nn.Module):
    """Half of the coordinates shifted and scaled by what a small network makes of the other half
    (Dinh, Sohl-Dickstein & Bengio 2017, eqs. 4–8). At first it changes nothing.
    """

    def __init__(self, width: int, hidden: int, odd: bool, generator: torch.Generator) -> None:
        super().__init__()
        place = torch.arange(width)
        self.kept = place[place % 2 == int(odd)]
        self.moved = place[place % 2 != int(odd)]
        inside = len(self.kept)
        first = torch.randn(hidden, inside, generator=generator, dtype=torch.float64)
        self.first = nn.Parameter(first / math.sqrt(max(1, inside)))
        self.bias = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))
        self.last = nn.Parameter(torch.zeros(2 * len(self.moved), hidden, dtype=torch.float64))
        self.offset = nn.Parameter(torch.zeros(2 * len(self.moved), dtype=torch.float64))

    def _read(self, z: Tensor) -> tuple[Tensor, Tensor]:
        inside = (z[:, self.kept] @ self.first.T + self.bias).tanh()
        shift, scale = (inside @ self.last.T + self.offset).chunk(2, 1)
        return shift, 2 * (scale / 2).tanh()  # no coordinate grows more than e² a layer

    def go(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """-> f(z) [n, d], log |det ∂f/∂z| [n]"""
        shift, scale = self._read(z)
        out = z.index_copy(1, self.moved, z[:, self.moved] * scale.exp() + shift)
        return out, scale.sum(1)

    def go_back(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """-> f⁻¹(z) [n, d], log |det ∂f⁻¹/∂z| [n]"""
        shift, scale = self._read(z)
        out = z.index_copy(1, self.moved, (z[:, self.moved] - shift) * (-scale).exp())
        return out, -scale.sum(1)


class Flow(VariationalFamily):
    """z = μ + σ f_L(… f_1(ε)), ε standard normal, f affine couplings of alternate halves."""

    def __init__(self, width: int, layers: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__(width)
        self.ends = IndependentNormals(width)
        self.layers = nn.ModuleList(
            Coupling(width, hidden, bool(layer % 2), generator) for layer in range(layers)
        )

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        z = self._noise(samples, generator)
        for layer in self.layers:
            z, _ = layer.go(z)  # pyright: ignore[reportCallIssue]
        return self.ends.mean + self.ends.log_sd.exp() * z

    def log_prob(self, z: Tensor) -> Tensor:
        z = (z - self.ends.mean) * (-self.ends.log_sd).exp()
        log_det = -self.ends.log_sd.sum()
        for layer in reversed(list(self.layers)):
            z, more = layer.go_back(z)  # pyright: ignore[reportCallIssue]
            log_det = log_det + more
        return log_det - 0.5 * (z.square() + LOG_2PI).sum(1)


def normal_log_prob(z: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """log N(z; mean, sd²), element by element."""
    return -0.5 * (((z - mean) * (-log_sd).exp()).square() + LOG_2PI) - log_sd


def make_family(
    name: FamilyName, width: int, generator: torch.Generator, *, components: int = 4,
    layers: int = 6, hidden: int = 16,
) -> VariationalFamily:  # fmt: skip
    """components: of a mixture. layers, hidden: of a flow."""
    kinds: Mapping[FamilyName, Callable[[], VariationalFamily]] = {
        "independent": lambda: IndependentNormals(width),
        "normal": lambda: OneNormal(width),
        "mixture": lambda: NormalsMixed(width, components, generator),
        "flow": lambda: Flow(width, layers, hidden, generator),
    }
    return kinds[name]()


class VariationalPosterior:
    """A fitted q(z), as it is written and read. names: of z's coordinates."""

    def __init__(
        self, family: VariationalFamily, card: Mapping[str, Any], names: tuple[str, ...]
    ) -> None:
        self.family, self.made, self.names = family, dict(card), names

    @torch.no_grad()
    def log_prob(self, x: Tensor) -> Tensor:
        """log q(z) of places in the space of z, not of points.  [n, d] -> [n]"""
        return self.family.log_prob(x)

    @torch.no_grad()
    def sample(self, samples: int, generator: torch.Generator) -> Tensor:
        return self.family.draw(samples, generator)

    def count_parameters(self) -> int:
        return sum(each.numel() for each in self.family.parameters())

    def card(self) -> dict[str, Any]:
        return {"model": "bbvi", **self.made, "names": list(self.names)}

    def tensors(self) -> dict[str, Tensor]:
        state = self.family.state_dict()
        return {name: each.detach().contiguous().clone() for name, each in state.items()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> VariationalPosterior:
        made = {name: value for name, value in card.items() if name in cls.MADE_OF}
        family = make_family(generator=torch.Generator(), **made)
        family.load_state_dict(dict(tensors))
        return cls(family, made, tuple(card["names"]))

    MADE_OF = ("name", "width", "components", "layers", "hidden")
