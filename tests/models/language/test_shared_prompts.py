"""Rows laid end to end say together what each says alone, and teach the same; a prompt that several
have is read once, and padding never.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from fledge.models.language import transformer as networks
from fledge.models.language.adapters import LoRA, Target, adapt_network
from fledge.models.language.transformer import Transformer
from fledge.models.language.virtual_tokens import put_before, start_from
from fledge.policy import TokenPolicy
from fledge.trajectories import Trajectories, from_rows
from tests.subjects import learner, policy_of, seeded, transformer

PROMPTS = (9, 6, 9)  # tokens; the first and the last are of the same length, and differ
ANSWERS = (5, 3, 1, 4)  # to each of them
# Each prompt once, and of every answer all but the last token, which foretells nothing.
READ = sum(PROMPTS) + len(PROMPTS) * sum(n - 1 for n in ANSWERS)


@pytest.fixture(autouse=True)
def of_any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "WIDE", 0)


def answers() -> Trajectories:
    """Twelve rows, those of one prompt apart from each other. Of the last one a step in the middle
    was not chosen, as the output of a tool.
    """
    draw = seeded(3)
    prompts = [torch.randint(2, 11, (n,), generator=draw).tolist() for n in PROMPTS]
    rows, own = [], []
    for number in ANSWERS:
        for prompt in prompts:
            rows.append(prompt + torch.randint(2, 11, (number,), generator=draw).tolist())
            own.append([False] * len(prompt) + [True] * number)
    own[-1][-2] = False
    batch = from_rows(rows, own)
    return batch.replace(group=torch.arange(len(rows)) % len(prompts))


def ask(policy: TokenPolicy, batch: Trajectories) -> tuple[Tensor, list[Tensor], int]:
    """Log-probabilities, the gradient of their weighed sum, how many tokens a block has read."""
    read: list[int] = []
    hook = policy.network.blocks[0].register_forward_pre_hook(
        lambda _, given: read.append(given[0].shape[0] * given[0].shape[1])
    )
    logp = policy.log_prob(batch.obs, batch.action, batch.chosen)
    weight = torch.linspace(-1, 2, logp.numel()).view(logp.shape)
    learnt = [p for p in policy.parameters() if p.requires_grad]
    gradient = torch.autograd.grad((weight * logp).sum(), learnt, allow_unused=True)
    hook.remove()
    return logp.detach(), [g for g in gradient if g is not None], sum(read)


def ask_alone(policy: TokenPolicy, batch: Trajectories) -> tuple[Tensor, list[Tensor]]:
    """The same, row by row: a row alone has nobody to share with."""
    logp = torch.zeros(batch.chosen.shape, dtype=torch.float64)
    weight = torch.linspace(-1, 2, logp.numel()).view(logp.shape)
    learnt = [p for p in policy.parameters() if p.requires_grad]
    policy.zero_grad()
    for i in range(len(batch)):
        row = batch[i : i + 1]
        own = policy.log_prob(row.obs, row.action, row.chosen)
        (weight[i] * own).sum().backward()
        logp[i] = own.detach()
    return logp, [p.grad for p in learnt if p.grad is not None]


VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "learned positions": {
        "learned_positions": True, "norm": "layer", "gated": False, "activation": "gelu",
        "qkv_bias": True, "out_bias": True, "mlp_bias": True,
    },
    "norms of heads": {"qk_norm": True, "tied": False, "unturned": (1,)},
    "capped": {"score_cap": 5.0, "logit_cap": 5.0, "norm_places": "around"},
    "side by side": {"residual": "parallel", "norm": "layer", "rotary_width": 2},
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_say_and_teach_what_they_do_alone(variant: str) -> None:
    network = transformer(dtype=torch.float64, **VARIANTS[variant])
    policy, batch = policy_of(network), answers()
    logp, gradient, read = ask(policy, batch)
    assert read == READ
    alone, gradient_alone = ask_alone(policy, batch)
    torch.testing.assert_close(logp, alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, gradient_alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_too(checkpointing: bool) -> None:
    network, batch = transformer(dtype=torch.float64), answers()
    targets = {
        name: [Target(name, 0, module.out_features)]
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    adapt_network(network, targets, settings=LoRA(2), generator=seeded(1))
    for name, parameter in network.named_parameters():
        if name.endswith("up"):
            torch.nn.init.normal_(parameter, std=0.3, generator=seeded(2))
    network.gradient_checkpointing = checkpointing
    policy = policy_of(network)
    logp, gradient, read = ask(policy, batch)
    assert read == (1 + checkpointing) * READ
    alone, gradient_alone = ask_alone(policy, batch)
    torch.testing.assert_close(logp, alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, gradient_alone, rtol=1e-9, atol=1e-9)
    network.float()
    rounded = {}
    for name, rows in {"together": [batch], "alone": [batch[i : i + 1] for i in range(12)]}.items():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            rounded[name] = torch.cat([policy.log_prob(r.obs, r.action, r.chosen) for r in rows])
    torch.testing.assert_close(rounded["together"], rounded["alone"], rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_behind_virtual_tokens_too(kind: Literal["prefix", "prompt"]) -> None:
    network, batch = transformer(dtype=torch.float64), answers()
    put_before(network, start_from(kind, network, torch.tensor([3, 7, 2, 5])))
    policy = policy_of(network)
    logp, gradient, read = ask(policy, batch)
    assert read == READ + (4 if kind == "prompt" else 0)  # which a block reads, too
    alone, gradient_alone = ask_alone(policy, batch)
    torch.testing.assert_close(logp, alone, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, gradient_alone, rtol=1e-6, atol=1e-6)


def test_what_cannot_be_shared_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window shorter than the rows; several documents; prompts that nobody has in common, in rows
    of one length; a network that is none of ours; a narrow one.
    """
    batch = answers()

    def count(network: Transformer, rows: Trajectories = batch) -> int:
        return ask(policy_of(network), rows)[2]

    whole = 12 * batch.chosen.shape[1]
    assert count(transformer(window=4)) == whole
    assert count(transformer(window=40)) < whole
    assert count(transformer(border=int(batch.obs[0, 3]))) == whole
    other = torch.arange(12)[:, None] % 9 + 2
    apart = batch.obs.clone()
    apart[:, :1] = other
    apart[:, 1:2] = torch.arange(12)[:, None] // 9 + 2
    rows = batch.replace(obs=apart, action=apart[:, 1:])
    of_one_length = batch.chosen | (torch.arange(batch.chosen.shape[1]) >= 8)
    assert count(transformer(), rows.replace(chosen=of_one_length)) == whole

    class Derived(Transformer):
        pass

    derived = transformer()
    derived.__class__ = Derived
    assert count(derived) == whole
    monkeypatch.undo()
    assert count(transformer()) == whole


@pytest.mark.parametrize("bare", [False, True])
def test_rows_that_share_nothing_are_read_without_their_padding(bare: bool) -> None:
    """bare: of rows that have no prompt, everything behind the first token is chosen."""
    draw = seeded(5)
    sizes = (14, 3, 9, 5, 4, 11)
    rows = [torch.randint(2, 11, (n,), generator=draw).tolist() for n in sizes]
    own = [[(bare and j > 0) or j > n // 2 for j in range(n)] for n in sizes]
    policy, batch = policy_of(transformer(dtype=torch.float64)), from_rows(rows, own)
    logp, gradient, read = ask(policy, batch)
    # What is asked twice, the first token of two rows that begin alike, may be read once.
    firsts = {row[0] for row in rows} if bare else rows
    assert read == sum(n - 1 for n in sizes) - (len(sizes) - len(firsts))
    alone, gradient_alone = ask_alone(policy, batch)
    torch.testing.assert_close(logp, alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, gradient_alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("tokens", "most"), [(32, 80), (8, 99)])
def test_micro_batches_keep_answers_to_a_prompt_together(tokens: int, most: int) -> None:
    """Of 51 tokens, where apart they are 123; also of prompts that alone are longer than the bound.
    And their numbers are the same.
    """
    policy, batch = policy_of(transformer(dtype=torch.float64)), answers()
    fit = learner(policy, tokens_per_micro_batch=tokens)
    pieces = list(fit.cut(batch))
    assert sum(len(piece) for piece in pieces) == len(batch)
    assert sum(ask(policy, piece)[2] for piece in pieces) <= most
    said = fit.map(lambda part: [policy.log_prob(part.obs, part.action, part.chosen)], batch)
    alone, _ = ask_alone(policy, batch)
    torch.testing.assert_close(said[0].detach(), alone, rtol=1e-9, atol=1e-9)
