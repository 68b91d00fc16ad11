"""A learned reward: the model's number at the last real token, shifted and scaled; the truth is
looked at, never trained on.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fledge.models.language.heads import ScalarModel
from fledge.sample.generate import Completion
from fledge.score import reward_model
from fledge.score.reward_model import RewardModelScore
from fledge.score.verifier import Verifier
from fledge.tasks.named import load_task
from tests.subjects import seeded, transformer

COMPLETIONS = [
    Completion([1, 5, 6], [7, 2], [0.0, 0.0], "stop"),
    Completion([1], [8, 9, 10, 4, 3, 2], [0.0] * 6, "stop"),
    Completion([1, 5], [9, 9, 9], [0.0] * 3, "length"),
    Completion([1, 7], [2], [0.0], "stop"),
    Completion([1, 8, 8, 8], [3], [0.0], "length"),
]


def model() -> ScalarModel:
    """In float64: batches of other sizes add in other orders, and no tolerance in float32 holds on
    every processor.
    """
    model = ScalarModel(transformer())
    torch.nn.init.normal_(model.head.linear.weight, generator=seeded(0))
    return model.double()


@pytest.mark.parametrize("tokens", [1, 12, 4096])
def test_the_score_of_a_row_is_its_own_whatever_it_is_batched_with(
    tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_model, "READ", tokens)
    judge = model()
    alone = [float(judge(torch.tensor([c.prompt + c.tokens]))[0, -1].detach()) for c in COMPLETIONS]
    assert RewardModelScore(judge, mean=0.0, std=1.0, truth=None).raw(
        COMPLETIONS
    ).tolist() == pytest.approx(alone, abs=1e-12)
    task = load_task("reverse", seed=0)
    examples, texts = [task.example(i, "train") for i in range(5)], ["x"] * 5
    marks = RewardModelScore(judge, mean=0.3, std=2.0, truth=None)(examples, COMPLETIONS, texts)
    assert marks["reward_model_score"] == pytest.approx(
        [(score - 0.3) / 2 for score in alone], abs=1e-12
    )


def test_short_answers_are_not_padded_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = model()
    score, read = judge.score, []

    def counted(tokens: Tensor, last: Tensor) -> Tensor:
        read.append(tokens.numel())
        return score(tokens, last)

    monkeypatch.setattr(judge, "score", counted)
    long = Completion([1] * 30, [2], [0.0], "stop")
    RewardModelScore(judge, mean=0.0, std=1.0, truth=None).raw([long, *COMPLETIONS * 20])
    assert sum(read) <= 31 + 100 * 7  # at full padding 31 · 101


@pytest.mark.parametrize("most", [-0.5, 0.0, 0.25, 1e9])
def test_an_answer_that_was_cut_earns_so_much_at_most_whoever_judges(most: float) -> None:
    judge, task = model(), load_task("reverse", seed=0)
    examples = [task.example(i, "train") for i in range(5)]
    texts = [example.answer or "" for example in examples]
    for scorer, capped in (
        (
            RewardModelScore(judge, mean=-9.0, std=1.0, truth=None, cut_reward=most),
            "reward_model_score",
        ),
        (Verifier(task, cut_reward=most), None),
    ):
        marks = scorer(examples, COMPLETIONS, texts)
        whole = marks[capped] if capped else [1.0] * 5  # each says the right answer
        for completion, reward, score in zip(COMPLETIONS, marks["reward"], whole, strict=True):
            assert reward == (score if completion.stopped else min(score, most))


def test_the_true_score_stands_beside_the_reward_and_changes_it_by_nothing() -> None:
    judge, task = model(), load_task("reverse", seed=0)
    examples = [task.example(i, "train") for i in range(5)]
    texts = [example.answer or "" for example in examples]
    plain = RewardModelScore(judge, mean=0.0, std=1.0, truth=None)(examples, COMPLETIONS, texts)
    marks = RewardModelScore(judge, mean=0.0, std=1.0, truth=Verifier(task))(
        examples, COMPLETIONS, texts
    )
    assert marks["reward"] == plain["reward"]
    # those that never stopped have no answer
    assert marks["true_score"] == marks["exact_match"] == [1.0, 1.0, 0.0, 1.0, 0.0]
