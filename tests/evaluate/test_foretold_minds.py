"""Answers about minds, against a model asked token by token, and arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from fledge.evaluate.foretold_minds import MindAnswer, answer_minds, count_minds
from fledge.hub.folder import load_model
from fledge.tasks.minds.mind_task import Asked, make_mind_task
from fledge.text.asking import encode_prompt
from tests.serve.models import make_model


def test_shares_are_the_models_own_among_the_listed_answers(tmp_path: Path) -> None:
    model = load_model(make_model(tmp_path / "one", context=1024))
    policy, tokenizer = model.policy(), model.tokenizer
    task = make_mind_task("false_beliefs:habit", 0)
    assert task is not None
    examples = [task.example(i, "test") for i in range(3)]
    for example, got in zip(examples, answer_minds(policy, tokenizer, examples), strict=True):
        nats = []
        for answer in got.asked.chances:
            before, said = encode_prompt(tokenizer, example.prompt), tokenizer.encode(answer)
            row = torch.tensor([[*before, *said]])
            with torch.no_grad():
                logp = policy.logits(policy.hidden(row[:, :-1])[0]).double().log_softmax(-1)
            behind = logp[len(before) - 1 :]
            nats.append(sum(float(behind[i, token]) for i, token in enumerate(said)))
        total = math.fsum(math.exp(each) for each in nats)
        assert got.shares == pytest.approx([math.exp(each) / total for each in nats], rel=1e-4)
        assert got.kind == "false_beliefs:habit"


def answer(story: str, chances: list[float], shares: list[float], control: bool) -> MindAnswer:
    asked = Asked(dict(zip("ab", chances, strict=True)), control)
    return MindAnswer("kind", story, asked, tuple(shares))


def test_what_is_counted_of_a_kind() -> None:
    counted = count_minds(
        [
            answer("one", [0.0, 1.0], [0.25, 0.75], False),
            answer("one", [1.0, 0.0], [0.9, 0.1], True),
            answer("two", [0.75, 0.25], [0.5, 0.5], False),
            answer("two", [0.0, 1.0], [0.9, 0.1], True),
            answer("three", [0.0, 1.0], [1.0, 0.0], False),
        ]
    )
    assert (counted.questions, counted.right) == (3, 2)
    assert (counted.controls, counted.remembered) == (2, 1)
    assert (counted.scenes, counted.whole) == (2, 1)
    assert counted.by_chance == pytest.approx(0.5)
    assert counted.nats == math.inf  # certain of what is not so
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert counted.exact_nats == pytest.approx(entropy / 3)
    other = [
        MindAnswer("other", story, Asked({"a": 1.0, "b": 0.0}, control), (0.9, 0.1))
        for story, control in (("one", False), ("one", True), ("one", True))
    ]
    both = count_minds([*other, answer("one", [0.0, 1.0], [0.25, 0.75], False)])
    assert (both.questions, both.controls, both.scenes, both.whole) == (2, 2, 2, 2)
    half = count_minds([answer("two", [0.75, 0.25], [0.5, 0.5], False)])
    assert half.nats == pytest.approx(math.log(2))
