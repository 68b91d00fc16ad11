"""Keeps what a mixture or a model of sequences was at some of its steps, and makes a film of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.models.latent.centres import Centres
from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.models.latent.state_space import StateSpace
from fledge.recipes.latent.sequence_film import film_sequence
from fledge.report.mixture_film import Frame, draw_film
from fledge.rows.points import Points
from fledge.rows.sequences import Sequences

OF_SEQUENCES = (HiddenMarkov, StateSpace)
MOST_POINTS, MOST_COMPONENTS = 200, 24  # that a picture still shows


class Filmed:
    """An algorithm that is watched: at step 0, 1, 2, 3, 4, 6, 8, 12, 16, … what it is, is kept."""

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm
        self.steps = 0
        self.kept: list[tuple[int, dict[str, Any], dict[str, Tensor]]] = []

    @property
    def unfinished(self) -> Any:
        return self.algorithm.unfinished

    def update(self, batch: Any, between_steps: Callable[[], None] = lambda: None) -> Any:
        if not self.steps:
            self._keep()
        figures = self.algorithm.update(batch, between_steps)
        self.steps += 1
        if is_kept(self.steps):
            self._keep()
        return figures

    def _keep(self) -> None:
        model = getattr(self.algorithm.model, "normals", self.algorithm.model)
        mixture = isinstance(model, GaussianMixture | Centres)
        if (mixture and model.components <= MOST_COMPONENTS) or isinstance(model, OF_SEQUENCES):
            self.kept.append((self.steps, model.card(), model.tensors()))

    def draw(self, points: Points | Sequences) -> str | None:
        """The film, up to the model as it is now; None of a model that has no picture."""
        last = getattr(self.algorithm.model, "normals", self.algorithm.model)
        if not self.kept:
            return None
        shown = [each for each in self.kept if each[0] < self.steps]
        shown.append((self.steps, last.card(), last.tensors()))
        if isinstance(points, Sequences):
            alike = last.count_parameters()
            models = [(step, type(last).restore(card, kept)) for step, card, kept in shown]
            return film_sequence(
                points, [each for each in models if each[1].count_parameters() == alike]
            )
        # several numbers of components, one after the other: the film is of the last model's kind
        size = len(last.tensors()["mean"])
        shown = [each for each in shown if len(each[2]["mean"]) == size]
        some = choose_shown(points)
        axes, names = choose_axes(some, points.columns)
        frames = [
            make_frame(step, type(last).restore(card, kept), some, axes)
            for step, card, kept in shown
        ]
        flat = (torch.where(some.isnan(), some.nanmean(0), some) @ axes).numpy()
        return draw_film(flat, frames, names, f"{size} components, step by step")

    def state_dict(self) -> dict[str, Any]:
        return {
            "algorithm": self.algorithm.state_dict(), "steps": self.steps,
            "kept": [list(each) for each in self.kept],
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.algorithm.load_state_dict(state["algorithm"])
        self.steps = state["steps"]
        self.kept = [(step, card, tensors) for step, card, tensors in state["kept"]]


def is_kept(step: int) -> bool:
    """1, 2, 3, 4, 6, 8, 12, …: powers of two, and half-way between."""
    return step & (step - 1) == 0 or (step % 3 == 0 and (step // 3) & (step // 3 - 1) == 0)


def choose_shown(points: Points) -> Tensor:
    """Evenly out of the file.  -> [n, D]"""
    apart = max(1, -(-len(points) // MOST_POINTS))
    return points.x[::apart]


def choose_axes(x: Tensor, columns: tuple[str, ...]) -> tuple[Tensor, tuple[str, str]]:
    """Two directions of the data, and their names: its columns where there are two, else its first
    principal axes.  -> [D, 2]
    """
    D = x.shape[1]
    if D == 2:
        return torch.eye(2, dtype=x.dtype), (columns[0], columns[1])
    if D == 1:
        return torch.tensor([[1.0, 0.0]], dtype=x.dtype), (columns[0], "")
    filled = torch.where(x.isnan(), x.nanmean(0), x)
    _, vector = torch.linalg.eigh(torch.cov(filled.T))
    return vector[:, [-1, -2]], ("first principal axis", "second principal axis")


def make_frame(step: int, model: Any, x: Tensor, axes: Tensor) -> Frame:
    """What is seen of a model in the two directions."""
    K = model.components
    if isinstance(model, GaussianMixture):
        weight, covariance = model.weight, model.expand()
        if not model.has_matrices:
            covariance = torch.diag_embed(covariance)
    else:
        weight = torch.full((K,), 1 / K, dtype=torch.float64)
        covariance = torch.zeros(K, x.shape[1], x.shape[1], dtype=torch.float64)
    flat = axes.T @ covariance @ axes
    return Frame(
        step,
        weight.numpy(),
        (model.mean @ axes).numpy(),
        flat.numpy(),
        np.asarray(model.responsibility(x)),
    )
