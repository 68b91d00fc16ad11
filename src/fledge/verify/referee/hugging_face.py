"""TRL's SFT and DPO trainers and transformers' own Trainer as peers: really built, their collators
fill the batches, their `training_step` does the rest.

The micro-batches of a step go through `get_batch_samples`, which counts the tokens of all of them.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
import transformers
import trl  # pyright: ignore[reportMissingImports]
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from torch.nn.functional import pad
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]

from fledge.exact.problem import Problem
from fledge.verify.referee.question import Answer, Step
from fledge.verify.referee.table_model import hold, make_model, make_tokenizer, read_gradient


class BatchTrainer:
    """A trainer that is given rows. A subclass says how it is built and what its rows are."""

    name, version = "", ""

    def __init__(self, setting: dict[str, Any], problem: Problem) -> None:
        self.setting, self.problem = setting, problem
        self.folder = tempfile.TemporaryDirectory(prefix="fledge-referee-")  # gone with the peer
        self.trainer: Any = self._build(self.folder.name)

    def _build(self, folder: str) -> Any:
        raise NotImplementedError

    def _rows(self, words: tuple[int, ...]) -> list[dict[str, Any]]:
        raise NotImplementedError

    def answer(self, step: Step) -> Answer:
        trainer = self.trainer
        rows = self._rows(step.words)
        each = len(rows) // step.pieces
        parts = [rows[at : at + each] for at in range(0, len(rows), each)]
        batches = [self._alter(trainer.data_collator(part), step) for part in parts]
        samples, count = trainer.get_batch_samples(iter(batches), len(batches), torch.device("cpu"))
        trainer.current_gradient_accumulation_steps = len(samples)
        trainer.model.zero_grad(set_to_none=True)
        for sample in samples:
            trainer.training_step(trainer.model, sample, count)
        gradient, leak = read_gradient(trainer.model, self.problem.language)
        return Answer(gradient, leak)

    def _alter(self, batch: Any, step: Step) -> dict[str, Any]:
        """More padding at the end, and other tokens where the mask says that nothing is."""
        batch = dict(batch)
        empty = {"input_ids": self.problem.language.vocabulary + 1, "labels": -100}
        for name, value in batch.items():
            if step.padding and value.dim() == 2:
                batch[name] = pad(value, (0, step.padding), value=empty.get(name, 0))
        if step.garbage:
            mask, ids = batch["attention_mask"], batch["input_ids"]
            other = (torch.arange(ids.numel()).view_as(ids) + 1) % self.problem.language.vocabulary
            batch["input_ids"] = torch.where(mask > 0, ids, other)
        return batch

    def _arguments(self, kind: Any, folder: str, **more: Any) -> Any:
        return kind(
            output_dir=folder,
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            **({} if kind is TrainingArguments else {"gradient_checkpointing": False}),
            **more,
            **self.setting,
        )

    def _word(self, number: int) -> list[int]:
        return list(self.problem.language.sequences[number])

    @property
    def opening(self) -> int:
        return self.problem.language.vocabulary


class TrlSft(BatchTrainer):
    """Prompt and completion; the loss is on the completion, as by default with such rows."""

    name, version = "trl:sft", trl.__version__

    def _build(self, folder: str) -> Any:
        row = {**self._rows((0,))[0]}
        return SFTTrainer(
            model=make_model(self.problem.language, self.problem.logits),
            args=self._arguments(SFTConfig, folder, dataset_kwargs={"skip_prepare_dataset": True}),
            train_dataset=Dataset.from_list([row]),
            processing_class=make_tokenizer(self.problem.language),
        )

    def _rows(self, words: tuple[int, ...]) -> list[dict[str, Any]]:
        return [
            {"input_ids": [self.opening, *self._word(w)], "labels": [-100, *self._word(w)]}
            for w in words
        ]


class PlainTrainer(TrlSft):
    """The Trainer of transformers with the loss of its own causal models."""

    name, version = "transformers:trainer", transformers.__version__

    def _build(self, folder: str) -> Any:
        tokenizer = make_tokenizer(self.problem.language)
        return Trainer(
            model=make_model(self.problem.language, self.problem.logits),
            args=self._arguments(TrainingArguments, folder),
            train_dataset=Dataset.from_list(self._rows((0,))),
            data_collator=DataCollatorForSeq2Seq(tokenizer),
        )


class TrlDpo(BatchTrainer):
    """The first half of the words is chosen, the second rejected; the reference is a table."""

    name, version = "trl:dpo", trl.__version__

    def _build(self, folder: str) -> Any:
        language = self.problem.language
        reference: Any = make_model(language, self.problem.logits)
        if self.problem.reference is not None:
            hold(reference, language, self.problem.reference)
        trainer: Any = DPOTrainer(
            model=make_model(language, self.problem.logits),
            ref_model=reference,
            args=self._arguments(DPOConfig, folder, beta=self.problem.beta),
            train_dataset=Dataset.from_list(
                [{"prompt": "open", "chosen": "a", "rejected": "b"}] * 2
            ),
            processing_class=make_tokenizer(language),
        )
        return trainer

    def _rows(self, words: tuple[int, ...]) -> list[dict[str, Any]]:
        half = len(words) // 2
        return [
            {
                "prompt_ids": [self.opening],
                "chosen_ids": self._word(chosen),
                "rejected_ids": self._word(rejected),
            }
            for chosen, rejected in zip(words[:half], words[half:], strict=True)
        ]


version = trl.__version__
TRAINERS = {"trl:sft": TrlSft, "transformers:trainer": PlainTrainer, "trl:dpo": TrlDpo}


def build_trainer(peer: str, setting: dict[str, Any], problem: Problem) -> BatchTrainer:
    return TRAINERS[peer](setting, problem)
