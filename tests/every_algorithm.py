"""Every algorithm on a batch that has everything in it, in float64, with its gradient laid open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from fledge.algorithms.likelihood.carried import Carried
from fledge.algorithms.likelihood.contrastive import Contrastive
from fledge.algorithms.likelihood.distillation import Distillation
from fledge.algorithms.likelihood.labelling import Labelling
from fledge.algorithms.likelihood.masked import Masked, MaskedModel
from fledge.algorithms.likelihood.replaced import Replaced
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.policy.ppo import PPO, Pretraining
from fledge.algorithms.policy.reinforce import Baseline, Reinforce
from fledge.algorithms.preference.dpo import DPO, IPO
from fledge.algorithms.preference.kto import KTO
from fledge.algorithms.preference.online_dpo import OnlineDPO
from fledge.algorithms.preference.orpo import ORPO
from fledge.algorithms.preference.reward_model import RewardModelling
from fledge.algorithms.preference.simpo import SimPO
from fledge.critics import SeparateCritic, SharedCritic
from fledge.divergence import forward_kl, jensen_shannon, reverse_kl
from fledge.learner import Learner
from fledge.models.language.encoder import Encoder, EncoderConfig, with_classifier
from fledge.models.language.encoder_config import Classifier
from fledge.models.language.heads import ScalarHead, ScalarModel
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.recurrent_config import RecurrentConfig
from fledge.policy import TokenPolicy
from fledge.sample.masked_rows import MaskedRows
from fledge.sample.sentences import Encoded, stack_labelled, stack_pairs, stack_tagged
from fledge.score.kl_control import KLControl
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs, Trajectories
from tests.subjects import Gradients, learner, policy_of, rollouts, seeded, transformer

SETTINGS = PPO.Settings(
    entropy_coefficient=0.1,
    updates_per_step=1,
    gamma=0.97,
    gae_lambda=0.9,
    value_clip=0.2,
)


@dataclass
class Case:
    algorithm: Any
    learner: Learner
    gradients: Gradients
    batch: Any

    def gradient(self) -> tuple[torch.Tensor, dict[str, float]]:
        """Of one update, with its figures."""
        figures = self.algorithm.update(self.batch)
        return self.gradients.flat, figures


class Repeat:
    """The same text again and again: a sampler for the γ_ptx term."""

    def __init__(self, batch: Trajectories) -> None:
        self.batch, self.given = batch, 0

    def __iter__(self) -> Iterator[Trajectories]:
        return self

    def __next__(self) -> Trajectories:
        self.given += 1
        return self.batch

    def state_dict(self) -> dict[str, Any]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.given = state["given"]


def policy(seed: int = 0) -> TokenPolicy:
    return policy_of(transformer(seed, dtype=torch.float64), chunk=7)


def scalar_head(bias: bool) -> ScalarHead:
    """Away from zero, so that the trunk has a gradient too."""
    head = ScalarHead(16, bias)
    nn.init.normal_(head.linear.weight, std=0.5, generator=seeded(9))
    return head.double()


def _supervised(rows: slice, micro: int | None) -> Case:
    actor = policy()
    fit = learner(actor, rows_per_micro_batch=micro)
    return Case(Supervised(actor, fit, Stopwatch()), fit, Gradients(fit), rollouts(actor)[rows])


def _carried(rows: slice, micro: int | None) -> Case:
    """In the middle of a run: every row has a state to begin from, some open a document."""
    config = RecurrentConfig(vocab_size=16, cell="lstm", context=32, layers=2, width=8)
    actor = TokenPolicy(Recurrent(config, border=15, generator=seeded(3)).double(), chunk=7)
    fit = learner(actor, rows_per_micro_batch=micro)
    batch = rollouts(policy())[rows]
    batch.obs[0, [0, 4]] = 15
    algorithm = Carried(actor, fit, Stopwatch())
    state = torch.randn(len(batch), 2, 16, dtype=torch.float64, generator=seeded(4))
    algorithm.state = state
    return Case(algorithm, fit, Gradients(fit), batch)


def masked(rows: slice, micro: int | None, *, replaced: bool = False) -> Case:
    """16 rows of 4 to 11 tokens, of which two in three have a second text; replaced: with a
    generator beside.
    """
    sizes: dict[str, Any] = {"width": 16, "heads": 2, "layers": 2, "context": 12}
    kind: dict[str, Any] = {"replaced": True} if replaced else {"next": True, "pooler": True}
    heads: dict[str, Any] = {"masked": True, "transform": True}
    config = EncoderConfig(11, **sizes, **(kind if replaced else kind | heads))
    network = Encoder(config, border=1, generator=seeded(2)).double()
    filler = EncoderConfig(11, **sizes | {"width": 8}, **heads)
    generator = Encoder(filler, border=1, generator=seeded(3)).double() if replaced else None
    model = MaskedModel(network, generator)
    fit = learner(model, rows_per_micro_batch=micro)
    size = torch.arange(16) % 8 + 4
    inside = torch.arange(11) < size[:, None]
    target = torch.randint(2, 11, (16, 11), generator=seeded(4)).where(inside, 0)
    target[:, 0] = 1
    chosen = inside & (torch.rand(16, 11, generator=seeded(5)) < 0.4)
    chosen[:, 0] = False
    chosen[0, 1] = True
    types = (torch.arange(11) > 3).long().expand(16, 11)
    batch = MaskedRows(
        target.masked_fill(chosen, 10), target, chosen, types, size,
        torch.arange(16) % 3 - 1,
        torch.rand(16, 11, dtype=torch.float64, generator=seeded(6)),
    )[rows]  # fmt: skip
    algorithm = (
        Replaced(model, fit, Stopwatch(), torch.arange(11) > 1)
        if replaced
        else Masked(model, fit, Stopwatch())
    )
    return Case(algorithm, fit, Gradients(fit), batch)


def labelled(rows: slice, micro: int | None, *, kind: str) -> Case:
    """16 rows of 2 to 9 tokens: with a label, with tags of two in three tokens, or side by side
    with others that mean the same.
    """
    config = EncoderConfig(11, width=16, heads=2, layers=2, context=12)
    trunk = Encoder(config, generator=seeded(2))
    said: Classifier = {"labels": "sequence", "tags": "token"}.get(kind, "")  # pyright: ignore
    network = with_classifier(trunk, said, ("a", "b", "c"), seeded(3)).double()
    fit = learner(network, rows_per_micro_batch=micro)
    draw = seeded(4)
    texts = [
        Encoded(
            tuple(torch.randint(1, 11, (2 + n % 8,), generator=draw).tolist()), (0,) * (2 + n % 8)
        )
        for n in range(32)
    ]
    batch: Any = stack_pairs([(a, a, b) for a, b in zip(texts[:16], texts[16:], strict=True)])
    if kind == "labels":
        batch = stack_labelled([(text, n % 3) for n, text in enumerate(texts[:16])])
    elif kind == "tags":
        tags = [tuple(t % 3 - 1 for t in range(len(text))) for text in texts[:16]]
        batch = stack_tagged(list(zip(texts[:16], tags, strict=True)))
    algorithm = (
        Labelling(network, fit, Stopwatch())
        if said
        else Contrastive(network, fit, Stopwatch(), dimensions=(16, 5))
    )
    return Case(algorithm, fit, Gradients(fit), batch[rows])


def _reward_model(rows: slice, micro: int | None) -> Case:
    model = ScalarModel(transformer(0, dtype=torch.float64))
    model.head = scalar_head(bias=False)
    fit = learner(model, rows_per_micro_batch=micro)
    pairs = Pairs(rollouts(policy(), seed=1), rollouts(policy(), seed=2))[rows]
    return Case(RewardModelling(model, fit, Stopwatch(), margin=0.1), fit, Gradients(fit), pairs)


def _reinforce(baseline: Baseline) -> Callable[[slice, int | None], Case]:
    def make(rows: slice, micro: int | None) -> Case:
        actor = policy()
        fit = learner(actor, rows_per_micro_batch=micro)
        algorithm = Reinforce(
            actor,
            fit,
            Stopwatch(),
            settings=Reinforce.Settings(baseline=baseline, gamma=0.97),
            reference=policy(5).frozen_copy(),
            kl=KLControl(0.1, 0.5),
        )
        return Case(algorithm, fit, Gradients(fit), rollouts(actor)[rows])

    return make


def _on_pairs(make: Callable[..., Any], **settings: Any) -> Callable[[slice, int | None], Case]:
    def case(rows: slice, micro: int | None) -> Case:
        actor = policy()
        fit = learner(actor, rows_per_micro_batch=micro)
        pairs = Pairs(rollouts(actor, seed=1), rollouts(actor, seed=2))[rows]
        return Case(make(actor, fit, Stopwatch(), **settings), fit, Gradients(fit), pairs)

    return case


def _on_rows(make: Callable[..., Any], **settings: Any) -> Callable[[slice, int | None], Case]:
    def case(rows: slice, micro: int | None) -> Case:
        actor = policy()
        fit = learner(actor, rows_per_micro_batch=micro)
        return Case(
            make(actor, fit, Stopwatch(), **settings), fit, Gradients(fit), rollouts(actor)[rows]
        )

    return case


def ppo(rows: slice, micro: int | None, *, shared: bool = True, **settings: Any) -> Case:
    actor = policy()
    if shared:
        both: nn.Module = SharedCritic(actor, scalar_head(bias=True))
    else:
        critic = ScalarModel(transformer(3, dtype=torch.float64), bias=True)
        critic.head = scalar_head(bias=True)
        both = SeparateCritic(actor, critic)
    fit = learner(both, rows_per_micro_batch=micro)
    text = rollouts(actor, seed=8)[rows]
    algorithm = PPO(
        both,  # pyright: ignore[reportArgumentType]
        fit,
        Stopwatch(),
        SETTINGS.replace(**settings),
        generator=seeded(4),
        reference=policy(5).frozen_copy(),
        kl=KLControl(0.1, 0.5),
        pretraining=Pretraining(actor, Repeat(text), 0.5),
    )
    return Case(algorithm, fit, Gradients(fit), rollouts(actor)[rows])


EVERY: dict[str, Callable[[slice, int | None], Case]] = {
    "supervised": _supervised,
    "carried": _carried,
    "reward model": _reward_model,
    "reinforce, no baseline": _reinforce("none"),
    "reinforce, batch": _reinforce("batch"),
    "reinforce, group": _reinforce("group"),
    "reinforce, leave one out": _reinforce("leave_one_out"),
    "ppo, shared trunk": lambda rows, micro: ppo(rows, micro),
    "ppo, two networks": lambda rows, micro: ppo(rows, micro, shared=False),
}
OTHER = policy(5).frozen_copy()  # a reference, a teacher
PREFERENCES: dict[str, Callable[[slice, int | None], Case]] = {
    "dpo": _on_pairs(DPO, reference=OTHER),
    "ipo": _on_pairs(partial(DPO, settings=IPO), reference=OTHER),
    "simpo": _on_pairs(SimPO),
    "orpo": _on_pairs(ORPO),
    "kto": _on_rows(KTO, settings=KTO.Settings(beta=0.2), reference=OTHER),
    "online dpo": _on_rows(OnlineDPO, reference=OTHER),
}
DISTILLATION: dict[str, Callable[[slice, int | None], Case]] = {
    "distillation, forward": _on_rows(Distillation, teacher=OTHER, kind=forward_kl),
    "distillation, reverse": _on_rows(Distillation, teacher=OTHER, kind=reverse_kl),
    "distillation, jsd": _on_rows(
        Distillation, teacher=OTHER, kind=partial(jensen_shannon, beta=0.3)
    ),
}
EVERY |= PREFERENCES | DISTILLATION
# Of encoders, whose rows are of a kind of their own.
MASKED: dict[str, Callable[[slice, int | None], Case]] = {
    "masked": lambda rows, micro: masked(rows, micro),
    "replaced": lambda rows, micro: masked(rows, micro, replaced=True),
}
LABELLED: dict[str, Callable[[slice, int | None], Case]] = {
    kind: partial(labelled, kind=kind) for kind in ("labels", "tags", "likeness")
}
ALL_ROWS = slice(None)
