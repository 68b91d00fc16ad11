"""One run has one reference: of rewards, of figures and of preferences, whatever the temperature
and whatever the support is cut to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.algorithms.preference.dpo import DPO, WeighedPairs
from fledge.algorithms.preference.kto import KTO
from fledge.algorithms.registry import find_entry, names_of
from fledge.critics import SharedCritic
from fledge.errors import UserError
from fledge.exact.enumerable import Language
from fledge.log_prob import Decoding
from fledge.models.language.heads import ScalarHead
from fledge.policy import TokenPolicy
from fledge.score.kl import stepwise_kl
from fledge.score.kl_control import KLControl
from fledge.score.scoring import kl_to
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs, Sampled, Trajectories
from tests.algorithms.enumeration import EXACT
from tests.subjects import Gradients, TableNetwork, learner, seeded, speak

LANGUAGE = Language(4, 2)  # 16 sequences
BETA, TEMPERATURE, OFF = 0.7, 0.6, -40.0
RULES = (
    Decoding(TEMPERATURE, top_k=2),
    Decoding(TEMPERATURE, top_p=0.99999),
    Decoding(TEMPERATURE, min_p=1e-5),
    Decoding(TEMPERATURE),
)


class Cut:
    """A random reference, a random reward, and the policy that does best of all that speak on a
    part S of the language only.

    S: two symbols of four after every prefix, all where the rule cuts nothing off. On S, π* ∝
    π_ref·exp(r/β), where π_ref is the whole reference at the temperature, written down here from
    its table.
    """

    def __init__(self, rule: Decoding) -> None:
        random = seeded(1)
        self.rule = rule
        table = torch.randn(len(LANGUAGE.prefixes), 4, dtype=torch.float64, generator=random)
        self.reference_logp = LANGUAGE.log_prob(table / TEMPERATURE)  # [S]
        self.reward = 0.5 * torch.randn(
            len(LANGUAGE.sequences), dtype=torch.float64, generator=random
        )
        kept = torch.ones_like(table, dtype=torch.bool)
        if rule.truncates:
            kept = torch.zeros_like(kept).scatter_(
                1, torch.rand(table.shape, generator=random).topk(2).indices, True
            )
        places = {prefix: i for i, prefix in enumerate(LANGUAGE.prefixes)}
        said = [
            all(bool(kept[places[word[:t]], word[t]]) for t in range(2))
            for word in LANGUAGE.sequences
        ]
        self.words = [i for i, inside in enumerate(said) if inside]
        worth = torch.where(
            torch.tensor(said), self.reference_logp + self.reward / BETA, -torch.inf
        )
        self.best_logp = worth.log_softmax(0)  # [S]
        best = (TEMPERATURE * LANGUAGE.logits_of(self.best_logp, torch.zeros_like(table))).clamp(
            min=OFF
        )
        self.network = TableNetwork(4, 2).hold(LANGUAGE, best)
        self.policy = TokenPolicy(self.network, rule=rule)
        self.reference = TokenPolicy(
            TableNetwork(4, 2).hold(LANGUAGE, table), rule=rule
        ).frozen_copy()
        self.fit = learner(self.policy)

    def rows(self, words: list[int]) -> Trajectories:
        group = torch.arange(len(words))
        with torch.no_grad():
            blank = speak(
                LANGUAGE, words, 4, self.reward, torch.zeros(16, 2, dtype=torch.float64), group
            )
            return blank.replace(logp=self.policy.log_prob(blank.obs, blank.action, blank.chosen))


@pytest.mark.parametrize("rule", RULES)
def test_the_policy_samples_what_the_subject_says(rule: Decoding) -> None:
    cut = Cut(rule)
    assert len(cut.words) == (4 if rule.truncates else 16)
    logp = cut.rows(cut.words).logp
    assert logp is not None
    torch.testing.assert_close(logp.sum(1), cut.best_logp[cut.words], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("rule", RULES)
def test_preferences_are_fitted_best_by_the_reference_times_exp_of_the_reward(
    rule: Decoding,
) -> None:
    """All pairs of S, each as often as Bradley and Terry prefer it so: the loss has no slope at π*,
    and has one beside it.
    """
    cut = Cut(rule)
    look = Gradients(cut.fit)
    pairs = list(permutations(cut.words, 2))
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    often = torch.sigmoid(cut.reward[first] - cut.reward[second])
    batch = WeighedPairs(cut.rows(first), cut.rows(second), often)
    algorithm = DPO(
        cut.policy, cut.fit, Stopwatch(), settings=DPO.Settings(beta=BETA), reference=cut.reference
    )
    figures = algorithm.update(batch)
    assert look.flat.abs().max() < 1e-9
    apart = cut.best_logp - cut.reference_logp
    assert figures["preferred_log_ratio"] == pytest.approx(
        ((often * apart[first]).sum() / often.sum()).item(), rel=1e-8
    )
    with torch.no_grad():
        cut.network.table.add_(
            torch.randn(cut.network.table.shape, dtype=torch.float64, generator=seeded(3)),
            alpha=0.1,
        )
    algorithm.update(batch)
    assert look.flat.abs().max() > 1e-4


def reinforce(cut: Cut) -> Any:
    return Reinforce(
        cut.policy,
        cut.fit,
        Stopwatch(),
        settings=Reinforce.Settings(baseline="none"),
        reference=cut.reference,
        kl=KLControl(BETA),
    )


def ppo(cut: Cut) -> Any:
    settings = PPO.Settings(
        gae_lambda=1.0, value_coefficient=0.0, updates_per_step=1, whiten_advantage=False
    )
    both = SharedCritic(cut.policy, ScalarHead(cut.network.width).double())
    return PPO(
        both,
        cut.fit,
        Stopwatch(),
        settings,
        generator=seeded(0),
        reference=cut.reference,
        kl=KLControl(BETA),
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", [reinforce, ppo])
def test_no_reward_less_the_kl_is_better_than_at_that_policy(
    make: Callable[[Cut], Any], rule: Decoding
) -> None:
    """The expected gradient, over all sequences that the policy says, each as often as it says it,
    is 0 there.
    """
    cut = Cut(rule)
    look, algorithm, total = Gradients(cut.fit), make(cut), torch.zeros(())
    for word in cut.words:
        algorithm.update(cut.rows([word]))
        total = total + cut.best_logp[word].exp() * look.flat
        assert look.flat.abs().max() > 1e-3
    assert total.abs().max() < 1e-9


@pytest.mark.parametrize("rule", RULES)
def test_the_figures_are_of_that_reference_too(rule: Decoding) -> None:
    cut = Cut(rule)
    rows, p = cut.rows(cut.words), cut.best_logp[cut.words].exp()
    apart = cut.best_logp - cut.reference_logp
    wanted = (p * apart[cut.words]).sum().item()
    figures = kl_to(cut.reference, Sampled.of(rows), cut.fit, p * len(p))[1]
    assert figures["kl_k1"] == pytest.approx(wanted, rel=1e-8)
    whole = cut.reference.with_rule(Decoding(TEMPERATURE))
    assert (p * stepwise_kl(cut.policy, whole, rows)).sum().item() == pytest.approx(
        wanted, rel=1e-8
    )
    assert figures["kl_k3"] >= 0


def test_a_policy_that_hardly_moved_is_at_no_negative_distance() -> None:
    """In float32, where the sum of p·log(p/q) over tokens is a rounding error of either sign."""
    cut = Cut(Decoding())
    table = cut.network.logits(LANGUAGE).detach().float()
    near = TokenPolicy(
        TableNetwork(4, 2)
        .hold(LANGUAGE, table + 1e-6 * torch.randn(table.shape, generator=seeded(0)))
        .float()
    )
    policy = TokenPolicy(TableNetwork(4, 2).hold(LANGUAGE, table).float())
    assert (stepwise_kl(policy, near, cut.rows(list(range(16)))) >= 0).all()


def test_kto_asks_a_policy_that_is_cut_off_nothing_that_it_never_says() -> None:
    cut = Cut(RULES[0])
    with pytest.raises(UserError, match="leave them out"):
        KTO(cut.policy, cut.fit, Stopwatch(), reference=cut.reference)


def with_reference(name: str) -> Callable[..., Any]:
    """What builds an algorithm of `fledge align`, or of preferences, with β where it takes one."""
    if name in ("dpo", "kto"):
        return {"dpo": DPO, "kto": KTO}[name]
    entry = find_entry("texts", name)
    settings = entry.settings("texts")
    if "threshold" in type(settings).model_fields:
        settings = settings.replace(threshold=-100.0)

    def build(policy: TokenPolicy, fit: Any, stopwatch: Stopwatch, reference: TokenPolicy) -> Any:
        given: dict[str, Any] = {
            "reference": reference, "kl": KLControl(0.3), "length_limit": 100,
        }  # fmt: skip
        if name == "control_variate":
            given["action_value"] = nn.Linear(policy.network.width, 4, bias=False).double()
            nn.init.normal_(given["action_value"].weight, generator=seeded(5))
        accepted = signature(entry.algorithm).parameters
        return entry.algorithm(
            policy,
            fit,
            stopwatch,
            settings,
            **{key: value for key, value in given.items() if key in accepted},
        )

    return build


def on_a_table(name: str, heat: float, rule: Decoding) -> tuple[Tensor, dict[str, float]]:
    """Gradient and figures of one update of a policy with the logits l/heat and a reference with
    m/heat, both under the rule.
    """
    policy, reference = (
        TokenPolicy(
            TableNetwork(4, 2).hold(
                LANGUAGE, torch.randn(5, 4, dtype=torch.float64, generator=seeded(seed)) / heat
            ),
            rule=rule,
        )
        for seed in (1, 2)
    )
    fit = learner(policy)
    look = Gradients(fit)
    words, group = [0, 3, 5, 6, 9, 11, 12, 15], torch.arange(8) // 4
    reward = torch.randn(16, dtype=torch.float64, generator=seeded(3))
    batch = speak(LANGUAGE, words, 4, reward, torch.zeros(16, 2, dtype=torch.float64), group)
    with torch.no_grad():
        batch = batch.replace(logp=policy.log_prob(batch.obs, batch.action, batch.chosen))
    if name == "ppo":
        settings = PPO.Settings(updates_per_step=1)
        both = SharedCritic(policy, ScalarHead(policy.network.width).double())
        algorithm: Any = PPO(
            both,
            fit,
            Stopwatch(),
            settings,
            generator=seeded(0),
            reference=reference.frozen_copy(),
            kl=KLControl(0.3),
        )
    else:
        algorithm = with_reference(name)(
            policy, fit, Stopwatch(), reference=reference.frozen_copy()
        )
    figures = algorithm.update(Pairs(batch[:4], batch[4:]) if name == "dpo" else batch)
    return look.taken[-1][0], figures


@pytest.mark.parametrize("name", [*names_of("texts"), "dpo", "kto"])
def test_a_temperature_divides_the_logits_of_policy_and_reference_alike(name: str) -> None:
    """Logits l and m at temperature τ are the logits l/τ and m/τ at 1: the same figures, and by the
    chain rule 1/τ of the gradient.
    """
    at_tau, figures = on_a_table(name, 1.0, Decoding(TEMPERATURE))
    at_one, same = on_a_table(name, TEMPERATURE, Decoding())
    torch.testing.assert_close(at_tau, at_one / TEMPERATURE, **EXACT)
    assert at_tau.abs().max() > 1e-4
    for figure in figures.keys() - {"grad_norm"}:
        assert math.isclose(figures[figure], same[figure], rel_tol=1e-9, abs_tol=1e-12), figure
