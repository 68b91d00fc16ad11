"""Which claim a setting falls under, what the problem holds of it, and what cannot be asked."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
import torch
from rich.console import Console

from fledge.errors import UserError
from fledge.exact.problem import Problem
from fledge.recipes.studies import referee
from fledge.runs.show import Show
from fledge.verify.referee.language_rows import DPO_ROWS, GRPO_ROWS
from fledge.verify.referee.page import render_page
from fledge.verify.referee.peers import select_hearings
from fledge.verify.referee.question import Answer, Hearing, Step
from fledge.verify.referee.ruling import rule


class Pairwise:
    """−log σ(βΔ) by autograd, DPO's loss; or nothing that is a number."""

    name, version = "stub:pairs", "1"
    pads_left = False

    def __init__(self, problem: Problem, lost: bool = False) -> None:
        self.problem, self.lost = problem, lost

    def answer(self, step: Step) -> Answer:
        p, half = self.problem, len(step.words) // 2
        assert p.reference is not None
        table = p.logits.clone().requires_grad_(True)
        ratio = (p.log_prob(table) - p.log_prob(p.reference))[list(step.words)]
        margin = p.beta * (ratio[:half] - ratio[half:])
        loss = -torch.nn.functional.logsigmoid(margin).mean()
        (slope,) = torch.autograd.grad(loss, table)
        return Answer(-slope * (torch.nan if self.lost else 1))


@pytest.mark.parametrize(
    ("peer", "setting", "row"),
    [
        ("trl:dpo", {"loss_type": "ipo", "beta": 0.3}, DPO_ROWS[2]),
        ("trl:dpo", {"beta": 0.3}, DPO_ROWS[0]),
        ("trl:grpo", {"temperature": 0.5}, GRPO_ROWS[0]),
        ("trl:grpo", {"scale_rewards": "none", "loss_type": "dapo"}, GRPO_ROWS[8]),
    ],
)
def test_a_row_holds_at_any_size_of_what_changes_no_claim(
    peer: str, setting: dict[str, Any], row: tuple[dict[str, Any], str, str]
) -> None:
    [hearing] = select_hearings(peer, setting)
    assert (hearing.claim, hearing.equation) == row[1:]
    assert hearing.setting == setting


def test_an_agent_s_settings_are_those_of_its_world() -> None:
    given = {"gamma": 0.5, "gae_lambda": 0.25, "ent_coef": 0.1}
    hearing: Any = select_hearings("tianshou:ppo", given)[0]
    assert (hearing.problem.gamma, hearing.problem.trace) == (0.5, 0.25)
    assert (hearing.entropy, hearing.equation) == (0.1, "")
    hearing = select_hearings("stable_baselines3:sac", {"ent_coef": 0.3, "gamma": 0.5})[0]
    assert (hearing.problem.alpha, hearing.problem.gamma) == (0.3, 0.5)


def test_what_a_trainer_alone_has_stays_its_own() -> None:
    """Tokens are learned at no temperature and with no β: the problem has neither."""
    [hearing] = select_hearings("trl:sft", {"temperature": 2.0, "beta": 0.1})
    assert (hearing.problem.temperature, hearing.problem.beta) == (1.0, 0.0)
    build: Any = hearing.build
    assert build.args[1] == {"temperature": 2.0, "beta": 0.1}


def test_where_nothing_is_claimed_nothing_differs() -> None:
    [hearing] = select_hearings("trl:dpo", {"loss_type": "of_tomorrow"})
    assert isinstance(hearing, Hearing)
    ruling = rule(dataclasses.replace(hearing, build=Pairwise))
    assert ruling.faults == ()
    assert ruling.equation == "−log σ(βΔ), log-ratios summed over tokens"
    assert (ruling.cosine, ruling.scale) == pytest.approx((1, 1))


def test_a_trainer_of_no_numbers_is_a_row() -> None:
    [hearing] = select_hearings("trl:dpo", {"beta": 0.1})
    assert isinstance(hearing, Hearing)
    ruling = rule(dataclasses.replace(hearing, build=lambda problem: Pairwise(problem, lost=True)))
    assert (ruling.lost, ruling.cosine, ruling.equation) == (pytest.approx(1), 0.0, "")
    [said] = [fault for fault in ruling.faults if "biased" not in fault]
    assert "no number in 100.0% of the batches" in said
    row = ruling.as_json() | {"measured": "2026-11-30"}
    assert "| no number |" in render_page([row], "Measured here.", 3)


@pytest.mark.parametrize(
    ("peer", "setting", "said"),
    [
        ("trl:grpo", {"beta": "much"}, "beta=much was given to peer=trl:grpo: give a number from"),
        ("trl:grpo", {"temperature": 0}, "temperature=0 was given to peer=trl:grpo: give a number"),
        ("trl:dpo", {"beta": 0.0}, "beta=0.0 was given to peer=trl:dpo: give a number above 0"),
        ("stable_baselines3:ppo", {"gamma": 2}, "gamma=2 was given to peer=stable_baselines3:ppo"),
        ("torchrl:a2c", {"lmbda": "all"}, "give a number from 0 to 1"),
        ("stable_baselines3:sac", {"ent_coef": "auto_0.1"}, "ent_coef=auto_0.1 was given to peer="),
    ],
)
def test_a_number_that_cannot_be_is_one_sentence(
    peer: str, setting: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        select_hearings(peer, setting)


def test_of_all_what_is_not_installed_is_said_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """imitation and d3rlpy are never there beside the others; asked for by name it is an error."""
    [own] = select_hearings("fledge:rloo", {})

    def refuse(problem: Any) -> Any:
        raise UserError("peer=imitation:bc wants imitation")

    absent: Any = dataclasses.replace(own, peer="imitation:bc", build=refuse)
    monkeypatch.setattr(referee, "select_hearings", lambda peer, told, file: [absent, absent, own])
    screen = io.StringIO()
    rows = referee.hear_peers("all", {}, Show(Console(file=screen, width=200)))["rows"]
    assert [row["peer"] for row in rows] == ["fledge:rloo"]
    assert screen.getvalue().count("left out: peer=imitation:bc wants imitation") == 1
    with pytest.raises(UserError, match="wants imitation"):
        referee.hear_peers("imitation", {}, Show(Console(file=screen)))
