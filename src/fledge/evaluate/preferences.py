"""How well a policy or a reward model ranks held-out answers: pairs of which one is preferred, or
single ones that are wanted or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from fledge.evaluate.judge import Figures, Judge
from fledge.micro_batches import cut_in_order
from fledge.models.language.heads import ScalarModel
from fledge.policy import TokenPolicy
from fledge.sample.conversations import pair_rows, token_rows
from fledge.score.reference import answer_logp, answer_tokens
from fledge.splits import HeldOut
from fledge.text.packed import JudgedRow, Pair, TokenRow
from fledge.weigh import difference

# The reward that a policy implies: of log π, log π_ref and the number of tokens of each answer.
ImpliedReward = Callable[[Tensor, Tensor, Tensor], Tensor]


def measure_share_right(gap: Tensor) -> float:
    """The share of pairs ranked as preferred; a tie is half right.  gap [N]"""
    return float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())


def judge_pairs(
    policy: TokenPolicy,
    reference: TokenPolicy,
    reward: ImpliedReward,
    held_out: Mapping[HeldOut, Sequence[Pair]],
    apart: bool,
) -> Judge:
    """By how the reward that the policy implies ranks pairs, and the mean gap."""
    reference_scores = {part: score_answers(reference, pairs) for part, pairs in held_out.items()}

    def read(part: HeldOut, step: int) -> Figures:
        logp, _ = score_answers(policy, held_out[part])
        preferred, rejected = reward(logp, *reference_scores[part])
        gap = preferred - rejected
        return {"pair_accuracy": measure_share_right(gap), "reward_gap": float(gap.mean())}

    return _judge(read, held_out, "pair", apart)


def judge_single_answers(
    policy: TokenPolicy,
    reference: TokenPolicy,
    beta: float,
    held_out: Mapping[HeldOut, Sequence[JudgedRow]],
) -> Judge:
    """By how the reward that the policy implies, β log π/π_ref, tells wanted answers from others.

    pair_accuracy: the share of all pairs of a wanted and an unwanted answer, whatever their
        prompts, in which the wanted one has more (a tie is half right): the area under the ROC
        curve. reward_gap: the difference of the two means.
    """
    rows = {part: [row for row, _ in judged] for part, judged in held_out.items()}
    wanted = {part: torch.tensor([w for _, w in judged]) for part, judged in held_out.items()}
    reference_scores = {part: score_rows(reference, rows[part]) for part in held_out}

    def read(part: HeldOut, step: int) -> Figures:
        reward = beta * (score_rows(policy, rows[part]) - reference_scores[part])
        high, low = reward[wanted[part]], reward[~wanted[part]]
        return {
            "pair_accuracy": measure_share_ahead(high, low),
            "reward_gap": float(high.mean() - low.mean()),
        }

    return _judge(read, held_out, "answer", True)


def judge_reward_model(
    model: ScalarModel, held_out: Mapping[HeldOut, Sequence[Pair]], apart: bool
) -> Judge:
    """By the share of pairs that its scores rank as preferred."""

    def read(part: HeldOut, step: int) -> Figures:
        preferred, rejected = score_pairs(model, held_out[part])
        return {"pair_accuracy": measure_share_right(preferred - rejected)}

    return _judge(read, held_out, "pair", apart)


def _judge(
    read: Callable[[HeldOut, int], Figures],
    held_out: Mapping[HeldOut, Sequence[object]],
    what: str,
    apart: bool,
) -> Judge:
    items: dict[HeldOut, int] = {part: len(rows) for part, rows in held_out.items()}
    return Judge(
        read, "pair_accuracy", items=items, what=what, apart=apart, prefix="validation_"
    )  # fmt: skip


@torch.no_grad()
def score_answers(policy: TokenPolicy, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """log π and number of tokens of the preferred and of the rejected answers.  -> [2, N] each"""
    logp, tokens = [], []
    for part in cut_in_order(map(count_steps, pairs)):
        batch = pair_rows(pairs[part]).to(policy.network.unembedding.device)
        sides = (batch.preferred, batch.rejected)
        logp.append(torch.stack([answer_logp(policy, side) for side in sides]))
        tokens.append(torch.stack([answer_tokens(side) for side in sides]))
    return torch.cat(logp, 1), torch.cat(tokens, 1)


@torch.no_grad()
def score_rows(policy: TokenPolicy, rows: Sequence[TokenRow]) -> Tensor:
    """log π of each row's answer.  -> [N]"""
    logp = []
    for part in cut_in_order(len(tokens) for tokens, _ in rows):
        batch = token_rows(rows[part]).to(policy.network.unembedding.device)
        logp.append(answer_logp(policy, batch).cpu())
    return torch.cat(logp)


@torch.no_grad()
def score_pairs(model: ScalarModel, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """A reward model's scores of the preferred and of the rejected answers, [N] each."""
    preferred, rejected = [], []
    for part in cut_in_order(map(count_steps, pairs)):
        batch = pair_rows(pairs[part]).to(model.network.unembedding.device)
        preferred.append(model.score(batch.preferred.obs, batch.preferred.last()).cpu())
        rejected.append(model.score(batch.rejected.obs, batch.rejected.last()).cpu())
    return torch.cat(preferred), torch.cat(rejected)


def count_steps(pair: Pair) -> int:
    return len(pair[0][0]) + len(pair[1][0])


def measure_share_ahead(high: Tensor, low: Tensor) -> float:
    """P(h > l) + ½·P(h = l) for h and l drawn from the two, by sorting: all pairs of large ones
    would not fit.  [N], [M] -> number
    """
    ranked = low.sort().values
    below, upto = torch.searchsorted(ranked, high), torch.searchsorted(ranked, high, right=True)
    return float((below + upto).double().mean() / (2 * len(low)))


def measure_scale(scores: Tensor) -> dict[str, float]:
    """Mean and standard deviation, by which rewards are brought to one scale; 1 where scores differ
    by rounding errors alone.  [N]
    """
    same = bool(difference(scores.max(), scores.min()) == 0)
    return {"mean": float(scores.mean()), "std": 1.0 if same else float(scores.std())}
