"""The algorithms of `fledge align` by name: what builds each, and which fields of the command line
are its own settings.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fledge.algorithms.likelihood.expectation_maximisation import (
    ExpectationMaximisation,
    best_of_n,
    rest_em,
    star,
)
from fledge.algorithms.policy.cispo import cispo
from fledge.algorithms.policy.control_variate import ControlVariate
from fledge.algorithms.policy.grpo import GRPO, dapo, dr_grpo
from fledge.algorithms.policy.gspo import gspo
from fledge.algorithms.policy.off_policy import OffPolicy
from fledge.algorithms.policy.reinforce import Reinforce, rloo
from fledge.algorithms.policy.reward_weighted import RewardWeighted, awr
from fledge.algorithms.preference.online_dpo import OnlineDPO
from fledge.errors import UserError
from fledge.learner import Learner
from fledge.sample.hints import HINT
from fledge.score.scoring import kl_to
from fledge.user_code import call, load_module


@dataclass(frozen=True)
class Kind:
    """make: (policy, learner, stopwatch, *, reference, kl, …settings) -> Algorithm. settings: field
    of AlignConfig -> argument.

    sampler: fields of AlignConfig that say how it samples -> what they are where the user gives
        none. pieces: what each pass over a
    batch is cut into, and epochs: how many passes there are, where the user gives neither.
    restarts: every batch is a training of its own, from the base, with the whole of the schedule.
    """

    make: Callable[..., Any]
    settings: Mapping[str, str] = field(default_factory=dict)
    compares: bool = True  # the answers to one prompt with each other: it wants two or more
    sampler: Mapping[str, Any] = field(default_factory=dict)
    samples_of_base: bool = False  # it learns from what the base says, not from what it says itself
    pieces: int = 1
    epochs: int = 1
    restarts: bool = False

    @property
    def several_steps(self) -> bool:
        return "updates_per_step" in self.settings


def name_settings(*names: str, **renamed: str) -> dict[str, str]:
    """Field of AlignConfig -> argument: the same word, but for those that are renamed."""
    return {name: name for name in names} | renamed


STEPS = name_settings("updates_per_step", "epochs")
CLIP = STEPS | name_settings("clip_low", "clip_high")
WEIGHTED = STEPS | name_settings("weight_cap", reward_temperature="temperature")

# An M-step begins at the base and its result is the policy: in one optimizer step, as others make
# on a batch, it learns nothing.
M_STEP: dict[str, Any] = {"pieces": 8, "epochs": 4, "restarts": True}

KINDS: dict[str, Kind] = {
    "reinforce": Kind(
        Reinforce, name_settings("baseline", "baseline_value", "gamma"), compares=False,
    ),
    "rloo": Kind(rloo, name_settings("gamma")),
    "grpo": Kind(GRPO, CLIP),
    "dr_grpo": Kind(dr_grpo, CLIP),
    "dapo": Kind(dapo, CLIP | name_settings(max_new_tokens="length_limit"), sampler={"redraws": 3}),
    "gspo": Kind(gspo, CLIP),
    "cispo": Kind(cispo, CLIP),
    "off_policy": Kind(
        OffPolicy, name_settings("baseline_value", "gamma", "truncate_at", importance="weights"),
        compares=False, samples_of_base=True,
    ),
    "control_variate": Kind(ControlVariate, name_settings("value_coefficient"), compares=False),
    "rwr": Kind(RewardWeighted, WEIGHTED),
    "awr": Kind(awr, WEIGHTED),
    "em": Kind(ExpectationMaximisation, STEPS | name_settings("keep", "threshold"), compares=False),
    "rest_em": Kind(rest_em, STEPS | name_settings("keep", "threshold"), compares=False, **M_STEP),
    "star": Kind(
        star, STEPS | name_settings("threshold"), compares=False, sampler={"hint": HINT}, **M_STEP,
    ),
    "best_of_n": Kind(best_of_n, STEPS),
    "online_dpo": Kind(OnlineDPO, {"kl_coefficient": "beta"}),
}  # fmt: skip
# made of the base's own answers, then as `fledge prefer`
FROM_PAIRS = (
    "dpo",
    "ipo",
    "kto",
    "orpo",
    "simpo",
)
PPO_SETTINGS = {
    "gamma", "gae_lambda", "updates_per_step", "epochs", "clip_low", "clip_high", "value_clip",
    "value_coefficient", "entropy_coefficient", "update_kl", "critic", "ptx_coefficient",
    "ptx_data", "ptx_tokens_per_step",
}  # fmt: skip
EVERYONES = {"max_new_tokens", "kl_coefficient"}
NAMES = (*KINDS, "ppo", *FROM_PAIRS)


def settings_of(name: str) -> set[str]:
    """The fields that mean something to this algorithm and not to all."""
    if name == "ppo":
        return PPO_SETTINGS
    return {*KINDS[name].settings, *KINDS[name].sampler} if name in KINDS else set()


ALL_SETTINGS = set().union(*map(settings_of, NAMES)) - EVERYONES


def check_algorithm(name: str, given: set[str]) -> None:
    """Raises UserError for an algorithm that is not known, and for settings that were given to one
    that has none such.
    """
    if name not in NAMES and ".py:" not in name:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"perhaps you meant {near[0]}" if near else "give FILE.py:Class for one of your own"
        raise UserError(f"there is no algorithm {name}: {hint}. Known: {', '.join(NAMES)}.")
    for setting in sorted(given & ALL_SETTINGS - settings_of(name)):
        whose = ", ".join(other for other in NAMES if setting in settings_of(other))
        raise UserError(f"{setting} is a setting of algorithm={whose}: {name} has none.")


def count_optimizer_steps(config: Any) -> tuple[int, int]:
    """On one batch of samples, and in how many passes over it: what is given, else the algorithm's
    own.

    epochs alone: each pass in as many pieces as the algorithm cuts it, fewer where that does not
        divide the rows.
    """
    kind = KINDS.get(config.algorithm)
    pieces, passes = (
        (kind.pieces, kind.epochs) if kind else (4 if config.algorithm == "ppo" else 1, 1)
    )
    epochs = config.epochs or (passes if config.updates_per_step is None else 1)
    pieces = math.gcd(pieces, config.prompts_per_step * config.samples_per_prompt)
    return config.updates_per_step or epochs * pieces, epochs


def build(kind: Kind, config: Any, *parts: Any, **named: Any) -> Any:
    """The algorithm with the settings that are given; the rest are its own defaults."""
    accepted = inspect.signature(kind.make).parameters
    values = {argument: getattr(config, name) for name, argument in kind.settings.items()}
    if kind.several_steps:
        values["updates_per_step"], values["epochs"] = count_optimizer_steps(config)
    given = {argument: value for argument, value in values.items() if value is not None}
    return kind.make(
        *parts, **{name: value for name, value in named.items() if name in accepted}, **given
    )


def choose_sampler_settings(config: Any) -> dict[str, Any]:
    """How the config's algorithm samples, beyond what every one does: what is given, and the rest
    its own defaults.
    """
    usual = KINDS[config.algorithm].sampler if config.algorithm in KINDS else {}
    given = {name: getattr(config, name) for name in usual}
    return {name: usual[name] if value is None else value for name, value in given.items()}


class Own:
    """A user's algorithm in a run: what it leaves out (the KL to the base, its state) is added."""

    unfinished = None  # it makes one step, or all of them, between two saves

    def __init__(
        self, algorithm: Any, learner: Learner, reference: Any, kl: Any, path: Path
    ) -> None:
        self.algorithm, self.learner, self.reference, self.kl, self.path = (
            algorithm,
            learner,
            reference,
            kl,
            path,
        )

    def update(
        self, batch: Any, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        batch = batch.to(self.learner.device)
        distance = kl_to(self.reference, batch, self.learner)[1]
        figures = call(self.path, "update", self.algorithm.update, "on a batch of samples", batch)
        if not isinstance(figures, Mapping):
            given = type(figures).__name__
            raise UserError(
                f"{self.path}: update(batch) returned {given}: return a dict of figures, as "
                "learner.step does."
            )

        def plain() -> dict[str, float]:
            return {str(name): float(value) for name, value in figures.items()}

        return distance | call(self.path, "update", plain, "as its figures were read")

    def state_dict(self) -> dict[str, Any]:
        keeps = getattr(self.algorithm, "state_dict", None)
        own = call(self.path, "state_dict", keeps, "as it was saved") if keeps else None
        return {"learner": self.learner.state_dict(), "kl": self.kl.state_dict(), "own": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.kl.load_state_dict(state["kl"])
        if state["own"] is not None:
            load = self.algorithm.load_state_dict
            call(self.path, "load_state_dict", load, "as the run was continued", state["own"])


def load_algorithm(name: str, policy: Any, learner: Learner, stopwatch: Any, **named: Any) -> Own:
    """FILE.py:Class, built as Class(policy, learner, stopwatch) with reference= and kl= if it takes
    them.

    Raises UserError for a file or a class that is not there, and for what goes wrong in it.
    """
    file, _, wanted = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UserError(
            f"there is no file {path}: give algorithm=FILE.py:Class for one of your own."
        )
    module = load_module(path)
    algorithm_class: Any = getattr(module, wanted, None)
    if not callable(getattr(algorithm_class, "update", None)):
        classes = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and hasattr(value, "update")
        ]
        raise UserError(
            f"{path} has no class {wanted} with update(batch)"
            + (f": it has {', '.join(classes)}." if classes else ".")
        )
    accepted = inspect.signature(algorithm_class).parameters
    passed = {key: value for key, value in named.items() if key in accepted}

    def make() -> Any:
        return algorithm_class(policy, learner, stopwatch, **passed)

    return Own(
        call(path, wanted, make, "while it was made"),
        learner,
        named["reference"],
        named["kl"],
        path,
    )
