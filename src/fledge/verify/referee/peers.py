"""Who is heard: every peer with the settings that its row names, what its documents say of them,
and the equation that this is. Nothing of a peer is imported before it is asked.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fledge.algorithms.policy.grpo import DAPO, DR_GRPO, GRPO
from fledge.algorithms.policy.reinforce import RLOO, Reinforce
from fledge.errors import UserError
from fledge.exact.problem import Problem
from fledge.verify.referee.core_loss_rows import CORE_LOSS_ROWS
from fledge.verify.referee.equations import name_policy
from fledge.verify.referee.language_rows import (
    LANGUAGE_ROWS,
    OTHERS,
    PLAIN,
    SEQUENCES,
    SUMS,
    TOKENS,
)
from fledge.verify.referee.own_peer import OwnPeer
from fledge.verify.referee.question import (
    GROUP,
    PAIRED,
    Hearing,
    Peer,
    Step,
    referee_problem,
)
from fledge.verify.referee.world_question import WorldHearing
from fledge.verify.referee.world_rows import OF_FILES, WORLD_TRAINERS, hear_world

DEFAULT_BETA = {
    "trl:grpo": 0.0, "trl:rloo": 0.05, "trl:dpo": 0.1,
    "trl:online_dpo": 0.1, "trl:kto": 0.1, "trl:orpo": 0.1, "trl:cpo": 0.1, "openrlhf:dpo": 0.1,
}  # fmt: skip
# Where a policy's β has other names: those, the switches without which there is none, the default.
PENALTIES: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    "verl": (("kl_loss_coef", "kl_coef"), ("use_kl_loss", "use_kl_in_reward"), 0.001),
    "openrlhf": (("init_coef",), ("use_loss",), 0.01),
}
# Of a trainer's settings, those that the problem holds; all others are the trainer's alone.
HELD: dict[str, tuple[str, ...]] = {
    "policy": ("beta", "temperature"), "pairs": ("beta",), "unpaired": ("beta",),
    "likelihood": (), "scores": (), "distillation": (),
}  # fmt: skip
# The one of them that changes no claim: a row holds at any.
FREE = {"policy": "temperature", "pairs": "beta", "unpaired": "beta"}
# Losses that hold a factor fixed which their value does not: no differences can be taken of them.
DETACHED = ({"loss_type": "cispo"}, {"loss_type": "dft"}, {"loss_mode": "cispo"},
            {"kl_loss_type": "k3+"}, {"unbiased_gradient": True})  # fmt: skip
# Trainers whose step in two processes is compared with that in one, at settings whose loss might
# depend on it.
SPREADS = ("trl:grpo", "trl:rloo", "trl:sft", "trl:dpo", "transformers:trainer")
# The file that builds a peer.
ADAPTERS = {
    "trl:grpo": "trl_policy",
    "trl:rloo": "trl_policy",
    "trl:sft": "hugging_face",
    "trl:dpo": "hugging_face",
    "trl:reward": "trl_reward",
    "transformers:trainer": "hugging_face",
    "transformers:trainer_own_model": "hugging_face",
    **{name: f"{name.partition(':')[0]}_peer" for name in CORE_LOSS_ROWS},
}
_ROWS = LANGUAGE_ROWS | CORE_LOSS_ROWS
# Packages that pin others of which fledge takes newer ones.
PINNED = ("verl", "openrlhf")
FAMILIES = {
    "trl:grpo": "policy",
    "trl:rloo": "policy",
    "trl:sft": "likelihood",
    "trl:dpo": "pairs",
    "trl:online_dpo": "pairs",
    "trl:kto": "unpaired",
    "trl:orpo": "pairs",
    "trl:cpo": "pairs",
    "trl:reward": "scores",
    "trl:gkd": "distillation",
    "transformers:trainer": "likelihood",
    "transformers:trainer_own_model": "likelihood",
    "verl:grpo": "policy",
    "verl:rloo": "policy",
    "verl:reinforce_plus_plus": "policy",
    "verl:reinforce_plus_plus_baseline": "policy",
    "openrlhf:policy": "policy",
    "openrlhf:sft": "likelihood",
    "openrlhf:dpo": "pairs",
    "openrlhf:reward": "scores",
    "fledge:grpo": "policy",
    "fledge:dr_grpo": "policy",
    "fledge:dapo": "policy",
    "fledge:rloo": "policy",
}

OWN_ROWS: dict[str, tuple[Any, str, str]] = {
    "grpo": (
        GRPO,
        "biased: the group's standard deviation and the row's length divide",
        name_policy("(r − mean)/std", SEQUENCES),
    ),
    "dr_grpo": (
        partial(GRPO, settings=DR_GRPO),
        "unbiased up to scale (G-1)/G",
        name_policy(PLAIN, SUMS),
    ),
    "dapo": (
        partial(GRPO, settings=DAPO),
        "biased: the group's standard deviation and the number of tokens divide",
        name_policy("(r − mean)/std", f"{TOKENS} of groups whose rewards differ"),
    ),
    "rloo": (partial(Reinforce, settings=RLOO), "unbiased", name_policy(OTHERS, SUMS)),
}


def list_peers() -> list[str]:
    """Trainers of language models, of agents, and our own."""
    own = [name for name in FAMILIES if name.startswith("fledge:")]
    others = [name for name in FAMILIES if name not in own]
    return [*others, *WORLD_TRAINERS, *own]


def select_hearings(
    peer: str, setting: Mapping[str, Any], file: Path | None = None
) -> list[Hearing | WorldHearing]:
    """All rows of a peer, of a package, or of everyone ("all"); with settings, that one row. file:
    the user's, for a trainer that is one.

    Raises UserError for a peer that is not known, settings of more than one, or a file for whom
    none is wanted.
    """
    chosen = [name for name in list_peers() if peer in ("all", name, name.partition(":")[0])]
    if not chosen:
        raise UserError(
            f"there is no peer {peer}: give one of {', '.join(list_peers())}; a package, such "
            "as trl; or all."
        )
    if file is not None and not set(chosen) <= set(OF_FILES):
        raise UserError(
            f"file={file} says nothing to peer={peer}: only {' and '.join(OF_FILES)} runs a file."
        )
    if not setting:
        return [hearing for name in chosen for hearing in _list_rows(name, file)]
    if len(chosen) > 1 or peer.startswith("fledge"):
        raise UserError(
            f"peer={peer} was given with the setting {next(iter(setting))}: settings go to one "
            f"trainer of another package, such as peer={next(iter(LANGUAGE_ROWS))}."
        )
    (name,) = chosen
    if name in WORLD_TRAINERS:
        return [hear_world(name, setting, file)]
    free = FREE.get(FAMILIES[name])
    for leave_out in ((), (free,)):
        asked = {key: value for key, value in setting.items() if key not in leave_out}
        for own, claim, equation in _ROWS[name]:
            if {key: value for key, value in own.items() if key not in leave_out} == asked:
                return [_hear(name, dict(setting), claim, equation)]
    beside = ": beside DPO's loss" if FAMILIES[name] == "pairs" else ""
    return [_hear(name, dict(setting), f"no row of ours says what this is{beside}", "")]


def _list_rows(name: str, file: Path | None) -> Iterator[Hearing | WorldHearing]:
    if name in WORLD_TRAINERS:
        yield from (hear_world(name, row.setting, file) for row in WORLD_TRAINERS[name].rows)
        return
    if name in _ROWS:
        for setting, claim, equation in _ROWS[name]:
            yield _hear(name, setting, claim, equation)
        return
    make, claim, equation = OWN_ROWS[name.partition(":")[2]]
    problem = referee_problem()
    build = partial(OwnPeer, name, make)
    yield Hearing(name, {}, claim, equation, "policy", problem, build, unbiased=claim == "unbiased")


def _hear(name: str, setting: dict[str, Any], claim: str, equation: str) -> Hearing:
    """Raises UserError for a number that the problem cannot hold."""
    held = {"beta": _weigh_penalty(name, setting), "temperature": 1.0}
    for key in setting.keys() & HELD[FAMILIES[name]]:
        # Of pairs, β = 0 is a loss without a slope.
        zero = key == "beta" and FAMILIES[name] == "policy"
        held[key] = _read_number(name, key, setting[key], zero)
    problem = referee_problem(**held)
    weights = PENALTIES.get(name.partition(":")[0], ((), (), 0.0))[0]
    taken = {*HELD[FAMILIES[name]], *weights}
    passed = {key: value for key, value in setting.items() if key not in taken}
    return Hearing(
        name,
        setting,
        claim,
        equation,
        FAMILIES[name],
        problem,
        partial(_build, name, passed),
        unbiased="unbiased" in claim,
        resumes=not setting or "num_iterations" in setting,
        spreads=name in SPREADS and (not setting or setting.get("loss_type") in ("bnpo", "sft")),
        detached=any(each.items() <= setting.items() for each in DETACHED),
    )


def _weigh_penalty(name: str, setting: Mapping[str, Any]) -> float:
    """β by whatever name it has. Raises UserError for what is no number from 0 on."""
    package = name.partition(":")[0]
    if package not in PENALTIES or FAMILIES[name] != "policy":
        return DEFAULT_BETA.get(name, 0.0)
    keys, switches, otherwise = PENALTIES[package]
    if not any(setting.get(switch) for switch in switches):
        return 0.0
    given = [_read_number(name, key, setting[key], True) for key in keys if key in setting]
    return given[0] if given else otherwise


def _read_number(name: str, key: str, value: Any, zero: bool) -> float:
    """Raises UserError for what is none, or is not above 0. zero: whether 0 is a number for it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and math.isfinite(value) and (value > 0 or (zero and value == 0)):
        return float(value)
    wanted = "a number from 0 on" if zero else "a number above 0"
    raise UserError(f"{key}={value} was given to peer={name}: give {wanted}.")


def _build(name: str, setting: dict[str, Any], problem: Problem) -> Peer:
    """Raises UserError where the package is not installed or refuses the setting."""
    package = name.partition(":")[0]
    own = ADAPTERS.get(name, "trl_preference")
    try:
        module = importlib.import_module(f"fledge.verify.referee.{own}")
    except ImportError as error:
        way = (
            f"pip install --no-deps {package} into an environment of its own (docs/referee.md)"
            if package in PINNED
            else "pip install 'fledge[referee]'"
        )
        raise UserError(
            f"peer={name} wants {package}, which cannot be imported here ({error}): {way}"
        ) from error
    build: Callable[..., Peer] = module.build_peer
    trial = (0, 1) if FAMILIES[name] in PAIRED else tuple(range(GROUP))
    try:
        peer = build(name, setting, problem)
        peer.answer(Step(trial))
    except (TypeError, ValueError, KeyError) as error:
        told = " ".join(f"{key}={value}" for key, value in setting.items())
        raise UserError(f"{name} {module.version} refuses {told or 'this'}: {error}") from error
    return peer
