"""How far a policy is from another: from the one that it began as, a student from its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from fledge.algorithms.likelihood.distillation import measure_divergence
from fledge.divergence import forward_kl
from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.policy import TokenPolicy
from fledge.sample.conversing import answer_task
from fledge.sample.rollouts import build_trajectories
from fledge.score.kl import stepwise_kl
from fledge.score.scoring import untruncate
from fledge.seeds import generator_for
from fledge.splits import HeldOut
from fledge.tasks.named import Task
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Trajectories

KL_PROMPTS = 64  # answers an evaluation samples to measure the KL, unless told otherwise


def judge_distance(
    policy: TokenPolicy,
    reference: TokenPolicy,
    tokenizer: Tokenizer,
    task: Task,
    max_new_tokens: int,
    seed: int,
    name: str = "kl",
    answers: int = KL_PROMPTS,
) -> Judge:
    """By the KL to the reference, which is only watched, under this name. answers: how many are
    sampled to measure it.
    """

    def read(part: HeldOut, step: int) -> Figures:
        if part == "test":
            return {}
        return {name: judge_kl(policy, reference, tokenizer, task, max_new_tokens, seed, answers)}

    return Judge(read)


def judge_kl(
    policy: TokenPolicy,
    reference: TokenPolicy,
    tokenizer: Tokenizer,
    task: Task,
    max_new_tokens: int,
    seed: int,
    answers: int = KL_PROMPTS,
) -> float:
    """KL(π‖π_ref) in nats an answer: exact at every step of answers sampled to validation prompts,
    the same draws each time.

    Of the policy as it samples, top-k and nucleus included, from the reference over all tokens, as
    in training (`untruncate`d).
    """
    reference = untruncate(reference)
    completions = answer_task(
        policy,
        tokenizer,
        task,
        [task.example(i, "validation") for i in range(answers)],
        max_new_tokens=max_new_tokens,
        generator=generator_for(seed, "evaluation", "kl"),
    )
    rows = build_trajectories(completions, [0.0] * answers, list(range(answers))).to(
        policy.network.unembedding.device
    )
    return float(stepwise_kl(policy, reference, rows).mean())


@torch.no_grad()
def measure_kl(teacher: TokenPolicy, student: TokenPolicy, rows: Sequence[Trajectories]) -> float:
    """KL(teacher‖student) in nats per chosen token, over the actions."""
    nats, tokens = 0.0, 0
    for piece in rows:
        part = piece.to(student.network.unembedding.device)
        nats += float(measure_divergence(forward_kl, teacher, student, part).double().sum())
        tokens += int(part.chosen.sum())
    if not tokens:
        raise UserError(
            "no held-out row has a chosen token: there is nothing to compare teacher and student "
            "by."
        )
    return nats / tokens


def judge_student(
    teacher: TokenPolicy,
    student: TokenPolicy,
    rows: Mapping[HeldOut, Sequence[Trajectories]],
    like: Judge,
) -> Judge:
    """By the KL to the teacher on each part's rows. like: another judge of the same parts, which
    says how many things they hold and what these are.
    """

    def read(part: HeldOut, step: int) -> Figures:
        return {"teacher_kl": measure_kl(teacher, student, rows[part])}

    return Judge(
        read, "teacher_kl", lower_is_better=True, items=like.items, what=like.what, apart=like.apart
    )  # fmt: skip
