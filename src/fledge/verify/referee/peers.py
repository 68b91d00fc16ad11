"""Who is heard: every peer with the settings that its row names, what its documents say of them,
and the equation that this is. Nothing of a peer is imported before it is asked.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from fledge.algorithms.policy.grpo import DAPO, DR_GRPO, GRPO
from fledge.algorithms.policy.reinforce import RLOO, Reinforce
from fledge.errors import UserError
from fledge.exact.problem import Problem
from fledge.verify.referee.equations import name_policy
from fledge.verify.referee.own_peer import OwnPeer
from fledge.verify.referee.question import GROUP, Hearing, Peer, Step, referee_problem

SEQUENCES = "mean over sequences of the mean over tokens"
TOKENS = "mean over all tokens"
CONSTANT = "sum over tokens / (rows × longest allowed)"
SUMS = "sum over tokens / rows"
GROUP_STD, PLAIN, OTHERS = "(r − mean)/(std + ε)", "r − mean", "r − mean of the others"
BATCH_STD = "(r − mean)/(std of the batch + ε)"
WHITENED = "r − mean of the others, whitened over the batch"
DEFAULT_BETA = {"trl:grpo": 0.0, "trl:rloo": 0.05, "trl:dpo": 0.1}
# Of a trainer's settings, those that the problem holds; all others are the trainer's alone.
HELD: dict[str, tuple[str, ...]] = {
    "policy": ("beta", "temperature"), "pairs": ("beta",), "likelihood": (),
}  # fmt: skip
# The one of them that changes no claim: a row holds at any.
FREE = {"policy": "temperature", "pairs": "beta"}
FAMILIES = {
    "trl:grpo": "policy",
    "trl:rloo": "policy",
    "trl:sft": "likelihood",
    "trl:dpo": "pairs",
    "transformers:trainer": "likelihood",
    "fledge:grpo": "policy",
    "fledge:dr_grpo": "policy",
    "fledge:dapo": "policy",
    "fledge:rloo": "policy",
}

_LENGTH = "“normalizing over sequence length”"
_GLOBAL = "“the number of active tokens in the global accumulated batch”"
_LOCAL = "“the number of active token in the local batch”"
_STATED = "“a global constant”"
_GROUPED = "“scaled by the standard deviation within each group”"
# setting, what the documents say, equation
GRPO_ROWS: list[tuple[dict[str, Any], str, str]] = [
    (
        {},
        f"“the number of active token in the global accumulated batch”, {_GROUPED}",
        name_policy(GROUP_STD, TOKENS),
    ),
    ({"loss_type": "grpo"}, _LENGTH, name_policy(GROUP_STD, SEQUENCES)),
    ({"loss_type": "bnpo"}, _LOCAL, name_policy(GROUP_STD, TOKENS)),
    ({"loss_type": "dr_grpo"}, _STATED, name_policy(GROUP_STD, CONSTANT)),
    ({"loss_type": "cispo"}, _GLOBAL, name_policy(GROUP_STD, TOKENS)),
    (
        {"loss_type": "cispo", "epsilon_high": 5.0},
        f"{_GLOBAL}; “the recommended value is 5.0”",
        name_policy(GROUP_STD, TOKENS),
    ),
    (
        {"loss_type": "sapo"},
        "a soft gate in place of clipping; on policy its slope is 1",
        name_policy(GROUP_STD, SEQUENCES),
    ),
    (
        {"loss_type": "luspo", "importance_sampling_level": "sequence"},
        "“scales each sequence's loss by its length”",
        name_policy(GROUP_STD, SUMS),
    ),
    (
        {"loss_type": "dapo", "scale_rewards": "none"},
        "“no scaling is applied”",
        name_policy(PLAIN, TOKENS),
    ),
    (
        {"loss_type": "dapo", "scale_rewards": "batch"},
        "“scaled by the standard deviation across the entire batch”",
        name_policy(BATCH_STD, TOKENS),
    ),
    (
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        "Dr. GRPO as its paper has it: no std, a constant in place of the length",
        name_policy(PLAIN, CONSTANT),
    ),
    (
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        "GSPO: one ratio a sequence, the mean of its steps'",
        name_policy(GROUP_STD, SEQUENCES),
    ),
    (
        {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False},
        "GRPO as its paper has it: k3 beside the loss, β = 0.04",
        name_policy(GROUP_STD, SEQUENCES, "k3 in the loss"),
    ),
    (
        {"loss_type": "grpo", "beta": 0.04},
        "k3 times the ratio, by default: on policy its gradient is that of k2",
        name_policy(GROUP_STD, SEQUENCES, "k2 in the loss"),
    ),
    (
        {
            "loss_type": "dr_grpo",
            "scale_rewards": "none",
            "beta": 0.5,
            "use_bias_correction_kl": False,
        },
        "k3 beside the loss, weighed enough to be seen",
        name_policy(PLAIN, CONSTANT, "k3 in the loss"),
    ),
    (
        {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.5},
        "k3 times the ratio, weighed enough to be seen",
        name_policy(PLAIN, CONSTANT, "k2 in the loss"),
    ),
    (
        {"loss_type": "dapo", "mask_truncated_completions": True},
        "“truncated completions are excluded from the loss”",
        name_policy(GROUP_STD, TOKENS) + "; truncated sequences are left out",
    ),
    (
        {"loss_type": "dr_grpo", "scale_rewards": "none", "temperature": 0.5},
        "trained at the temperature that was sampled",
        name_policy(PLAIN, CONSTANT),
    ),
]
RLOO_ROWS: list[tuple[dict[str, Any], str, str]] = [
    (
        {},
        "leave-one-out, KL in the reward: unbiased",
        name_policy(OTHERS, SUMS, "k1 in the reward"),
    ),
    ({"beta": 0.0}, "leave-one-out: unbiased", name_policy(OTHERS, SUMS)),
    ({"beta": 0.0, "temperature": 0.5}, "leave-one-out: unbiased", name_policy(OTHERS, SUMS)),
    (
        {"beta": 0.0, "normalize_advantages": True},
        "advantages normalised over the generation batch",
        name_policy(WHITENED, SUMS),
    ),
]
_COUNTED = "the mean over all tokens of the accumulated batch"
SFT_ROWS: list[tuple[dict[str, Any], str, str]] = [
    ({}, _COUNTED, TOKENS),
    (
        {"loss_type": "dft"},
        "DFT: each token's loss times its probability, detached",
        f"{TOKENS}; each token weighed by its probability",
    ),
]
TRAINER_ROWS: list[tuple[dict[str, Any], str, str]] = [({}, _COUNTED, TOKENS)]
_SUMMED, _AVERAGED = "log-ratios summed over tokens", "log-ratios averaged over tokens"
DPO_ROWS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "Rafailov et al. 2023, eq. 7", f"−log σ(βΔ), {_SUMMED}"),
    ({"loss_type": "hinge"}, "SLiC's hinge on DPO's margin", f"max(0, 1 − βΔ), {_SUMMED}"),
    ({"loss_type": "ipo"}, "Azar et al. 2023, eq. 17", f"(Δ − 1/2β)², {_SUMMED}"),
    ({"loss_type": "sigmoid_norm"}, "DPO on means over tokens", f"−log σ(βΔ), {_AVERAGED}"),
]
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
TABLES = {
    "trl:grpo": GRPO_ROWS,
    "trl:rloo": RLOO_ROWS,
    "trl:sft": SFT_ROWS,
    "trl:dpo": DPO_ROWS,
    "transformers:trainer": TRAINER_ROWS,
}


def list_peers() -> list[str]:
    return list(FAMILIES)


def select_hearings(peer: str, setting: Mapping[str, Any]) -> list[Hearing]:
    """All rows of a peer, of a package, or of everyone ("all"); with settings, that one row.

    Raises UserError for a peer that is not known, or settings of more than one.
    """
    chosen = [name for name in FAMILIES if peer in ("all", name, name.partition(":")[0])]
    if not chosen:
        raise UserError(
            f"there is no peer {peer}: give one of {', '.join(FAMILIES)}; a package, such as trl; "
            "or all."
        )
    if not setting:
        return [hearing for name in chosen for hearing in _list_rows(name)]
    if len(chosen) > 1 or peer.startswith("fledge"):
        raise UserError(
            f"peer={peer} was given with the setting {next(iter(setting))}: settings go to one "
            f"trainer of another package, such as peer={next(iter(TABLES))}."
        )
    (name,) = chosen
    free = FREE.get(FAMILIES[name])
    for leave_out in ((), (free,)):
        asked = {key: value for key, value in setting.items() if key not in leave_out}
        for own, claim, equation in TABLES[name]:
            if {key: value for key, value in own.items() if key not in leave_out} == asked:
                return [_hear(name, dict(setting), claim, equation)]
    beside = ": beside DPO's loss" if FAMILIES[name] == "pairs" else ""
    return [_hear(name, dict(setting), f"no row of ours says what this is{beside}", "")]


def _list_rows(name: str) -> Iterator[Hearing]:
    if name in TABLES:
        for setting, claim, equation in TABLES[name]:
            yield _hear(name, setting, claim, equation)
        return
    make, claim, equation = OWN_ROWS[name.partition(":")[2]]
    problem = referee_problem()
    build = partial(OwnPeer, name, make)
    yield Hearing(name, {}, claim, equation, "policy", problem, build, unbiased=claim == "unbiased")


def _hear(name: str, setting: dict[str, Any], claim: str, equation: str) -> Hearing:
    """Raises UserError for a number that the problem cannot hold."""
    held = {"beta": DEFAULT_BETA.get(name, 0.0), "temperature": 1.0}
    for key in setting.keys() & HELD[FAMILIES[name]]:
        # Of pairs, β = 0 is a loss without a slope.
        zero = key == "beta" and FAMILIES[name] == "policy"
        held[key] = _read_number(name, key, setting[key], zero)
    problem = referee_problem(**held)
    passed = {key: value for key, value in setting.items() if key not in HELD[FAMILIES[name]]}
    return Hearing(
        name,
        setting,
        claim,
        equation,
        FAMILIES[name],
        problem,
        partial(_build, name, passed),
        unbiased="unbiased" in claim,
    )


def _read_number(name: str, key: str, value: Any, zero: bool) -> float:
    """Raises UserError for what is none, or is not above 0. zero: whether 0 is a number for it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and math.isfinite(value) and (value > 0 or (zero and value == 0)):
        return float(value)
    wanted = "a number from 0 on" if zero else "a number above 0"
    raise UserError(f"{key}={value} was given to peer={name}: give {wanted}.")


def _build(name: str, setting: dict[str, Any], problem: Problem) -> Peer:
    """Raises UserError where the package is not installed or refuses the setting."""
    package, _, kind = name.partition(":")
    own = "trl_policy" if FAMILIES[name] == "policy" else "hugging_face"
    try:
        module = importlib.import_module(f"fledge.verify.referee.{own}")
    except ImportError as error:
        raise UserError(
            f"peer={name} wants {package}, which cannot be imported here ({error}): "
            "pip install 'fledge[referee]'"
        ) from error
    build: Callable[..., Peer] = (
        partial(module.build_policy, kind)
        if FAMILIES[name] == "policy"
        else partial(module.build_trainer, name)
    )
    trial = (0, 1) if FAMILIES[name] == "pairs" else tuple(range(GROUP))
    try:
        peer = build(setting, problem)
        peer.answer(Step(trial))
    except (TypeError, ValueError, KeyError) as error:
        told = " ".join(f"{key}={value}" for key, value in setting.items())
        raise UserError(f"{name} {module.version} refuses {told or 'this'}: {error}") from error
    return peer
