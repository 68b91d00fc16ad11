"""One model on the questions of a suite: what each question got, under every rule."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fledge.errors import UserError
from fledge.evaluate.calibration import Calibration, measure_calibration
from fledge.evaluate.pass_at_k import estimate_pass_at_k
from fledge.evaluate.suites.answering import Said, answer
from fledge.evaluate.suites.choosing import RULES, choose
from fledge.evaluate.suites.coded import judge_humaneval
from fledge.evaluate.suites.questions import AskedQuestion, Marked
from fledge.evaluate.suites.suite import Asked
from fledge.hub.folder import Loaded
from fledge.log_prob import Decoding
from fledge.programs.pool import ProgramPool
from fledge.recipes.look.suite_fields import EvaluateSuiteConfig

PASSES = (1, 10, 100)


@dataclass(frozen=True)
class Measured:
    """values: of each question, by rule; counts: the rule whose mean is the result. details: a row
    for each question. unjudged: answers that could not be judged, and why.
    """

    values: dict[str, list[float]]
    counts: str
    details: list[dict[str, Any]]
    seconds: float
    calibration: Calibration | None = None
    unjudged: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> list[float]:
        return self.values[self.counts]


def measure_model(
    config: EvaluateSuiteConfig, model: Loaded, asked: Asked, pool: ProgramPool | None
) -> Measured:
    """Raises UserError for what the model cannot be asked."""
    began = time.perf_counter()
    measured = (
        measure_choices(config, model, asked)
        if asked.suite.chosen
        else measure_answers(config, model, asked, pool)
    )
    seconds = time.perf_counter() - began
    return Measured(**{**vars(measured), "seconds": seconds})


def measure_choices(config: EvaluateSuiteConfig, model: Loaded, asked: Asked) -> Measured:
    chosen = choose(
        model.policy(), model.tokenizer, asked.questions, asked.before, chat=config.chat
    )
    right = [question.right for question in asked.questions]
    values = {
        rule: [float(one.answer(rule) == r) for one, r in zip(chosen, right, strict=True)]
        for rule in RULES
    }
    scores = [torch.tensor(one.scores(asked.suite.counts), dtype=torch.float64) for one in chosen]
    if not all(bool(each.isfinite().all()) for each in scores):
        raise UserError(
            f"{model.folder} gives a choice a log-probability that is no number: use a run from "
            "before that."
        )
    # As log-probabilities they add up to what the model gives them together; per byte or token
    # they are none, and their softmax only says how far apart they are.
    shares = [each.softmax(0).tolist() for each in scores]
    details = [
        {
            "question": question.text,
            "choices": list(question.choices),
            "right": question.right,
            "answer": one.answer(asked.suite.counts),
            "nats": one.nats,
            "tokens": one.tokens,
            "shares": share,
        }
        for question, one, share in zip(asked.questions, chosen, shares, strict=True)
    ]
    calibration = measure_calibration(shares, right, seed=config.seed)
    return Measured(values, asked.suite.counts, details, 0.0, calibration)


def answer_all(config: EvaluateSuiteConfig, model: Loaded, asked: Asked) -> list[list[Said]]:
    return answer(
        model.policy(),
        model.tokenizer,
        asked.questions,
        asked.before,
        max_new_tokens=config.most_new_tokens,
        rule=Decoding(config.temperature),
        samples=config.samples,
        chat=config.chat,
        seed=config.seed,
    )


def measure_answers(
    config: EvaluateSuiteConfig, model: Loaded, asked: Asked, pool: ProgramPool | None
) -> Measured:
    said = answer_all(config, model, asked)
    questions = [question for question in asked.questions for _ in range(config.samples)]
    texts = [one.text for several in said for one in several]
    marks = judge(questions, texts, asked, pool)
    by_question = [marks[a : a + config.samples] for a in range(0, len(marks), config.samples)]
    values = {"accuracy": [sum(m.right for m in each) / len(each) for each in by_question]}
    for name in marks[0].others if marks else ():
        values[name] = [sum(m.others[name] for m in each) / len(each) for each in by_question]
    for k in PASSES:
        if 1 < k <= config.samples:
            values[f"pass_at_{k}"] = [
                estimate_pass_at_k(config.samples, sum(m.right for m in each), k)
                for each in by_question
            ]
    details = [
        {
            "question": question.text,
            "said": [one.text for one in several],
            "read": [m.read for m in each],
            "right": [m.right for m in each],
            "stopped": [one.stopped for one in several],
        }
        for question, several, each in zip(asked.questions, said, by_question, strict=True)
    ]
    every = [one for several in said for one in several]
    figures = {
        "tokens_said": sum(one.tokens for one in every),
        "cut": sum(not one.stopped for one in every) / max(1, len(every)),
    }
    unjudged = [m.error for m in marks if m.error]
    return Measured(values, "accuracy", details, 0.0, None, unjudged, figures)


def judge(
    questions: Sequence[AskedQuestion], texts: Sequence[str], asked: Asked, pool: ProgramPool | None
) -> list[Marked]:
    if asked.suite.programs:
        assert pool is not None
        return judge_humaneval(questions, texts, pool)
    assert asked.suite.judge is not None
    return asked.suite.judge(questions, texts)
