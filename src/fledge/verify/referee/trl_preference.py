"""TRL's trainers of preferences beside DPO (KTO, ORPO, CPO, online DPO) and its distillation (GKD)
as peers: really built, stepped by their own `training_step`.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import trl  # pyright: ignore[reportMissingImports]
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.verify.referee.hugging_face import BatchTrainer
from fledge.verify.referee.question import Step
from fledge.verify.referee.table_model import hold, make_model, make_tokenizer

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
# These live under `trl.experimental` or beside it, from one version to the next.
from trl.experimental.cpo import CPOConfig, CPOTrainer  # pyright: ignore
from trl.experimental.gkd import GKDConfig, GKDTrainer  # pyright: ignore
from trl.experimental.online_dpo import (  # pyright: ignore
    OnlineDPOConfig,
    OnlineDPOTrainer,
)
from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # pyright: ignore

try:
    from trl import KTOConfig, KTOTrainer  # pyright: ignore
except ImportError:
    from trl.experimental.kto import KTOConfig, KTOTrainer  # pyright: ignore

PAIR = {"prompt": "open", "chosen": "a", "rejected": "b"}


class TrlKto(BatchTrainer):
    """The first half of the words is desirable; the row that estimates the divergence is each
    time the next one's.
    """

    name, version = "trl:kto", trl.__version__

    def _build(self, folder: str, **more: Any) -> Any:
        language = self.problem.language
        row = {"prompt": "open", "completion": "a", "label": True}
        return KTOTrainer(
            model=make_model(language, self.problem.logits),
            ref_model=make_reference(self.problem),
            args=self._arguments(KTOConfig, folder, **more, beta=self.problem.beta),
            train_dataset=Dataset.from_list([row, {**row, "label": False}]),
            processing_class=make_tokenizer(language),
        )

    def _rows(self, words: tuple[int, ...]) -> list[dict[str, Any]]:
        return [
            {
                "prompt_ids": [self.opening],
                "completion_ids": self._word(word),
                "KL_completion_ids": self._word(words[(at + 1) % len(words)]),
                "label": at < len(words) // 2,
            }
            for at, word in enumerate(words)
        ]


class TrlOrpo(BatchTrainer):
    """Odds ratios beside the likelihood of the chosen; no reference."""

    name, version = "trl:orpo", trl.__version__

    def _build(self, folder: str, **more: Any) -> Any:
        return ORPOTrainer(
            model=make_model(self.problem.language, self.problem.logits),
            args=self._arguments(
                ORPOConfig, folder, beta=self.problem.beta, remove_unused_columns=False
            ),
            train_dataset=Dataset.from_list([PAIR] * 2),
            processing_class=make_tokenizer(self.problem.language),
        )

    def _rows(self, words: tuple[int, ...]) -> list[dict[str, Any]]:
        half = len(words) // 2
        return [
            {"prompt": "open", **self._side("chosen", chosen), **self._side("rejected", rejected)}
            for chosen, rejected in zip(words[:half], words[half:], strict=True)
        ]

    def _side(self, name: str, word: int) -> dict[str, list[int]]:
        said = self._word(word)
        return {
            f"{name}_input_ids": [self.opening, *said],
            f"{name}_attention_mask": [1] * (1 + len(said)),
            f"{name}_labels": [-100, *said],
        }


class TrlCpo(TrlOrpo):
    name, version = "trl:cpo", trl.__version__

    def _build(self, folder: str, **more: Any) -> Any:
        return CPOTrainer(
            model=make_model(self.problem.language, self.problem.logits),
            args=self._arguments(
                CPOConfig, folder, beta=self.problem.beta, remove_unused_columns=False
            ),
            train_dataset=Dataset.from_list([PAIR] * 2),
            processing_class=make_tokenizer(self.problem.language),
        )


class TrlGkd(BatchTrainer):
    """The teacher is the problem's reference; the words are those of a data set."""

    name, version = "trl:gkd", trl.__version__
    pads_left = True

    def _build(self, folder: str, **more: Any) -> Any:
        language = self.problem.language
        return GKDTrainer(
            model=make_model(language, self.problem.logits),
            teacher_model=make_reference(self.problem),
            args=self._arguments(GKDConfig, folder, **more, lmbda=0.0, remove_unused_columns=False),
            train_dataset=Dataset.from_list(self._rows((0,))),
            processing_class=make_tokenizer(language),
        )

    def _rows(self, words: tuple[int, ...]) -> list[dict[str, Any]]:
        return [
            {
                "prompt": "open",
                "input_ids": [self.opening, *self._word(word)],
                "completion_mask": [0] + [1] * len(self._word(word)),
            }
            for word in words
        ]


class TrlOnlineDpo(BatchTrainer):
    """Two completions of each prompt, put in place of what it generates; its judge prefers those
    that the question calls chosen.
    """

    name, version = "trl:online_dpo", trl.__version__
    pads_left = True

    def _build(self, folder: str, **more: Any) -> Any:
        language = self.problem.language
        trainer: Any = OnlineDPOTrainer(
            model=make_model(language, self.problem.logits),
            ref_model=make_reference(self.problem),
            reward_funcs=self._judge,
            args=self._arguments(
                OnlineDPOConfig, folder, beta=self.problem.beta, max_new_tokens=language.length
            ),
            train_dataset=Dataset.from_list([{"prompt": "open"}] * 2),
            processing_class=make_tokenizer(language),
        )
        return trainer

    def _judge(self, completions: list[str], **ignored: Any) -> list[float]:
        return [1.0] * (len(completions) // 2) + [0.0] * (len(completions) // 2)

    def _train(self, step: Step) -> float:
        trainer = self.trainer
        half = len(step.words) // 2
        each = half // step.pieces
        trainer.current_gradient_accumulation_steps = step.pieces
        trainer.args.gradient_accumulation_steps = step.pieces
        trainer.accelerator.gradient_accumulation_steps = step.pieces
        trainer.model.zero_grad(set_to_none=True)
        lost = 0.0
        for at in range(0, half, each):
            words = step.words[at : at + each] + step.words[half + at : half + at + each]
            said = self._say(words, step)
            trainer._generate = lambda *ignored, said=said: (*said, None)
            lost += float(trainer.training_step(trainer.model, {"prompt": ["open"] * each}, None))
        return lost

    def _say(self, words: tuple[int, ...], step: Step) -> tuple[Tensor, ...]:
        """Ids and mask of prompts and completions.  [B, 1] twice, [B, T] twice"""
        language = self.problem.language
        width = max(len(self._word(word)) for word in words) + step.padding
        ids = torch.full((len(words), width), language.vocabulary + 1)
        mask = torch.zeros_like(ids)
        for row, word in enumerate(words):
            said = torch.tensor(self._word(word))
            ids[row, : len(said)], mask[row, : len(said)] = said, 1
        if step.garbage:
            other = (torch.arange(ids.numel()).view_as(ids) + 1) % language.vocabulary
            ids = torch.where(mask > 0, ids, other)
        prompt = torch.full((len(words), 1 + step.left), language.vocabulary + 1)
        prompt[:, -1] = self.opening
        return prompt, (prompt == self.opening).long(), ids, mask


def make_reference(problem: Problem) -> Any:
    model = make_model(problem.language, problem.logits)
    return model if problem.reference is None else hold(model, problem.language, problem.reference)


TRAINERS = {each.name: each for each in (TrlKto, TrlOrpo, TrlCpo, TrlGkd, TrlOnlineDpo)}


def build_peer(peer: str, setting: dict[str, Any], problem: Problem) -> BatchTrainer:
    return TRAINERS[peer](setting, problem)


version = trl.__version__
