"""What every fitted model of something unseen can be asked, and how it is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.models.latent.bayesian_mixture import BayesianMixture
from fledge.models.latent.centres import Centres
from fledge.models.latent.discrete_mixture import DiscreteMixture
from fledge.models.latent.factor_mixture import FactorMixture
from fledge.models.latent.factors import Factors
from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.models.latent.label_model import LabelModel
from fledge.models.latent.state_space import StateSpace
from fledge.models.latent.variational_families import VariationalPosterior
from fledge.runs.atomic import write_text
from fledge.tensor_file import write_tensors


class LatentModel(Protocol):
    """x: [N, D] float64.  `card` and `tensors` are all of it, and `restore` reads them again."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), in nats.  -> [N]"""
        ...

    def count_parameters(self) -> int: ...
    def card(self) -> dict[str, Any]: ...
    def tensors(self) -> dict[str, Tensor]: ...
    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> LatentModel: ...


MODELS: dict[str, type[LatentModel]] = {
    "gmm": GaussianMixture,
    "bayes_gmm": BayesianMixture,
    "bbvi": VariationalPosterior,
    "categorical": DiscreteMixture,
    "kmeans": Centres,
    "fa": Factors,
    "mfa": FactorMixture,
    "ppca": Factors,
    "weak": LabelModel,
    "hmm": HiddenMarkov,
    "kalman": StateSpace,
}


def save_latent(folder: Path, model: LatentModel, columns: Sequence[str]) -> None:
    """config.json and model.safetensors, with the names of the columns it was fitted to."""
    card = {**model.card(), "columns": list(columns)}
    write_text(folder / "config.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    write_tensors(folder / "model.safetensors", model.tensors())


def load_latent(folder: Path) -> tuple[LatentModel, list[str]]:
    """The model and its columns.  Raises UserError for a folder that holds none."""
    card = read_json(folder / "config.json", dict[str, Any], mend="fit the model again")
    kind = MODELS.get(str(card.get("model")))
    try:
        if kind is None:
            raise KeyError(f"model {card.get('model')!r}")
        return kind.restore(card, load_file(folder / "model.safetensors")), list(card["columns"])
    except (KeyError, SafetensorError, OSError, TypeError) as error:
        raise UserError(
            f"{folder} holds no model of `fledge fit` ({error}): fit it again, or give another."
        ) from error
