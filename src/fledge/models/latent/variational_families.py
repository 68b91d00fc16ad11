"""Families of distributions over z ∈ ℝ^d in which an approximate posterior is sought, by name:
normals, flows, gammas and Dirichlets; and a fitted one as it is written and read.

All can be drawn from with a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fledge.models.latent.coupling_flow import Flow
from fledge.models.latent.gamma_families import DirichletRatios, LogGammas
from fledge.models.latent.normal_families import IndependentNormals, NormalsMixed, OneNormal
from fledge.models.latent.variational_family import VariationalFamily

FamilyName = Literal["independent", "normal", "mixture", "flow", "gamma", "dirichlet"]
FAMILIES: tuple[FamilyName, ...] = get_args(FamilyName)


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
        "gamma": lambda: LogGammas(width),
        "dirichlet": lambda: DirichletRatios(width),
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
