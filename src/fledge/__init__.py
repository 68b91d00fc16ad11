"""fledge raises a language model from raw text to an aligned policy. Each name is loaded when it is
used: `import fledge` alone imports nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from fledge.waiting import wait_asleep

__version__ = "0.2.0"

_NAMES = {
    "UserError": "fledge.errors",
    "Diverged": "fledge.errors",
    "Interrupted": "fledge.loop",
    "FactorAnalysis": "fledge.front.estimators",
    "GaussianMixture": "fledge.front.estimators",
    "KMeans": "fledge.front.estimators",
    "ProbabilisticPCA": "fledge.front.estimators",
    "BayesianGaussianMixture": "fledge.front.mixture_estimators",
    "BernoulliMixture": "fledge.front.mixture_estimators",
    "CategoricalMixture": "fledge.front.mixture_estimators",
    "FactorMixture": "fledge.front.mixture_estimators",
    "HiddenMarkovModel": "fledge.front.sequence_estimators",
    "KalmanFilter": "fledge.front.sequence_estimators",
    "Agent": "fledge.recipes.control.agents",
    "EncoderModel": "fledge.front.encoder_model",
    "Model": "fledge.front.model",
    "RewardModel": "fledge.front.reward_model",
    "Task": "fledge.front.given",
    "Tokenizer": "fledge.text.tokenizer",
    "TrainedRun": "fledge.front.trained_run",
    "load": "fledge.front.loading",
    "load_agent": "fledge.front.loading",
    "load_encoder": "fledge.front.loading",
    "load_reward_model": "fledge.front.loading",
    "load_tokenizer": "fledge.text.tokenizer",
    "open_run": "fledge.front.loading",
}
# Rooms and files of the package that bear the name of a verb: `fledge.sample` is the room and,
# called, the verb. Whichever of the two Python comes upon first, both work.
_ROOMS = ("evaluate", "fit", "plan", "report", "runs", "sample", "scale", "serve", "verify")
_VERBS = "fledge.front.names"


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"fledge.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if not name.startswith("_"):
        verb = importlib.import_module(_VERBS).find(name)
        if verb is not None:
            return verb
    raise AttributeError(f"module 'fledge' has no attribute {name!r}")


def __dir__() -> list[str]:
    verbs = importlib.import_module(_VERBS).names()
    return sorted({"__version__", *_NAMES, *verbs})


class _Room(ModuleType):
    """A room that can be called as its verb."""

    def __call__(self, *given: Any, **fields: Any) -> Any:
        verb = importlib.import_module(_VERBS).find(self.__name__.rpartition(".")[2])
        return verb(*given, **fields)


class _Door(ModuleType):
    """This module: it makes rooms that can be called of those that Python hangs into it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOMS and type(value) is ModuleType:
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door
wait_asleep()
