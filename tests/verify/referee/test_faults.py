"""A trainer with one known fault each: the referee names it, and says nothing of a right one."""

from __future__ import annotations

from functools import partial

import pytest

from fledge.verify.referee.equations import name_policy
from fledge.verify.referee.question import Hearing, referee_problem
from fledge.verify.referee.ruling import Ruling, rule
from tests.verify.referee.stub import StubPeer

STD = "(r − mean)/(std + ε)"
TOKENS, ROWS = "mean over all tokens", "mean over sequences of the mean over tokens"


def hear(fault: str, average: str = "token", beta: float = 0.0, tau: float = 1.0, kl: str = "k3"):
    equations = {
        "token": name_policy(STD, TOKENS),
        "row": name_policy(STD, ROWS),
        "sum": name_policy("r − mean of the others", "sum over tokens / rows"),
    }
    claimed = equations[average] + ("; k3 in the loss" if beta else "")
    return rule(
        Hearing(
            "stub:policy",
            {},
            "what it says",
            claimed,
            "policy",
            referee_problem(beta, tau),
            partial(StubPeer, fault=fault, average=average, kl=kl),
            unbiased=average == "sum",
        )
    )


@pytest.mark.parametrize("average", ["token", "row", "sum"])
def test_a_right_trainer_has_no_fault(average: str) -> None:
    ruling = hear("", average)
    assert ruling.faults == ()
    assert max(ruling.pieces, ruling.padding, ruling.garbage, ruling.leak, ruling.lost) < 1e-12
    if average == "sum":
        assert ruling.scale == pytest.approx(1)
        assert ruling.bias < 1e-12


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("micro-batch mean", "averaged over each micro-batch's tokens"),
        ("row mean", f"computes “{ROWS}”, claims “{TOKENS}”"),
        ("padding", "padding is counted"),
        ("stop token", "the stop token is not trained"),
        ("mask off by one", "the mask is off by one: the first step is not trained"),
        ("truncated", "truncated sequences are left out"),
        ("no epsilon", "where a group's rewards are equal"),
        ("ddof", "std over G"),
        ("old not detached", "the gradient is 0"),
        ("whitened", "advantages are normalised over the micro-batch"),
        ("garbage", "lies after a sequence's end"),
    ],
)
def test_the_fault_is_named(fault: str, words: str) -> None:
    assert any(words in said for said in hear(fault).faults), hear(fault).faults


def test_a_baseline_that_holds_its_own_sample_is_named_with_its_scale() -> None:
    ruling = hear("own baseline", "sum")
    assert any("(G−1)/G: each sample is in its own baseline" in said for said in ruling.faults)
    assert ruling.scale == pytest.approx(2 / 3)
    assert ruling.bias < 1e-12


def test_an_ignored_temperature_is_named() -> None:
    assert hear("", tau=0.5).faults == ()
    assert any("temperature is ignored" in said for said in hear("temperature", tau=0.5).faults)


def test_a_penalty_with_another_gradient_is_named() -> None:
    assert hear("", beta=0.5).faults == ()
    said = hear("", beta=0.5, kl="k1").faults
    assert any("computes “k1 in the loss”, claims “k3 in the loss”" in each for each in said), said


def test_a_row_is_json_without_numbers_that_are_none() -> None:
    row: Ruling = hear("old not detached")
    assert row.as_json()["bias"] is None
    assert row.as_json()["cosine"] == 0.0
