"""A trainer of agents and its setting become a question: the row that says what is claimed, the
world at its discount, the file that builds it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.verify.referee.continuous import continuous_problem
from fledge.verify.referee.inverse import inverse_problem
from fledge.verify.referee.world_actors import ACTORS
from fledge.verify.referee.world_question import (
    WorldHearing,
    WorldPeer,
    draw_rollouts,
    world_problem,
)
from fledge.verify.referee.world_row import Trainer, WorldRow
from fledge.verify.referee.world_values import VALUES

_ALL = ACTORS | VALUES
_PACKAGES = list(dict.fromkeys(name.partition(":")[0] for name in _ALL))
# A package's trainers one after another.
WORLD_TRAINERS: dict[str, Trainer] = {
    name: _ALL[name]
    for name in sorted(_ALL, key=lambda each: _PACKAGES.index(each.partition(":")[0]))
}


PINNED = ("d3rlpy", "imitation")
OF_FILES = ("cleanrl:ppo",)  # no package: the user gives the file
# What packages call the weight of the entropy, γ and λ.
ENTROPY = ("ent_coef", "entropy_coeff", "ent_weight", "entropy")
DISCOUNT = ("gamma", "discount")
TRACE = ("gae_lambda", "lmbda")


def hear_world(name: str, setting: Mapping[str, Any], file: Path | None = None) -> WorldHearing:
    """The row with this setting; where there is none, one of which nothing is claimed."""
    trainer = WORLD_TRAINERS[name]
    row = next((each for each in trainer.rows if each.setting == setting), None)
    if row is None:
        first = trainer.rows[0]
        row = replace(first, claim="no row of ours says what this is", equation="")
        if setting.get("entropy_bonus") is False:
            row = replace(row, entropy=0.0)
    return WorldHearing(
        name,
        dict(setting),
        row.claim,
        row.equation,
        trainer.family,
        _pose(name, row, setting),
        partial(_build, name, dict(setting), file),
        entropy=_read(name, setting, ENTROPY, row.entropy),
        minibatches=trainer.minibatches,
        resumes=not setting,
        file=file,
    )


def _pose(name: str, row: WorldRow, setting: Mapping[str, Any]) -> Any:
    """The problem at the setting's discount, trace, entropy and noise."""
    gamma = _read(name, setting, DISCOUNT, row.gamma)
    family = WORLD_TRAINERS[name].family
    if family == "inverse":
        return inverse_problem(gamma)
    if family != "continuous":
        return world_problem(family, gamma, _read(name, setting, TRACE, row.trace))
    alpha = _read(name, setting, ENTROPY, row.entropy)
    noise = _read(name, setting, ("target_policy_noise",), 0.2)
    return continuous_problem(name.endswith(":sac"), gamma, alpha, noise)


def _read(name: str, setting: Mapping[str, Any], keys: Sequence[str], otherwise: float) -> float:
    """Raises UserError for what is no number from 0 to 1."""
    for key in keys:
        if key in setting and setting[key] != "auto":
            value = setting[key]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1:
                raise UserError(
                    f"{key}={value} was given to peer={name}: give a number from 0 to 1."
                )
            return float(value)
    return otherwise


def _build(name: str, setting: dict[str, Any], file: Path | None, problem: Any) -> WorldPeer:
    """Raises UserError where the package is not installed or refuses the setting, and where a file
    is wanted and there is none.
    """
    package = name.partition(":")[0]
    own = name.partition(":")[2] + ".py"
    if name in OF_FILES and (file is None or not file.is_file()):
        what = "no file was given" if file is None else f"there is no file {file}"
        raise UserError(f"peer={name} runs {package}'s file, and {what}: give file={own}.")
    more = () if file is None else (file,)
    try:
        module = importlib.import_module(f"fledge.verify.referee.{WORLD_TRAINERS[name].adapter}")
        peer: WorldPeer = module.build_peer(name, setting, problem, *more)
        peer.answer(next(draw_rollouts(problem)))
    except ImportError as error:
        way = "pip install 'fledge[referee]'"
        if name in OF_FILES:
            way = f"pip install {error.name or package}"
        elif package in PINNED:
            way = (
                f"{package} pins an older gymnasium than fledge's, so install it into an "
                "environment of its own and give fledge's src/ as PYTHONPATH"
            )
        raise UserError(
            f"peer={name} wants {package}, which cannot be imported here ({error}): {way}."
        ) from error
    except (TypeError, ValueError, KeyError) as error:
        told = " ".join(f"{key}={value}" for key, value in setting.items())
        raise UserError(f"{name} refuses {told or 'this'}: {error}") from error
    return peer
