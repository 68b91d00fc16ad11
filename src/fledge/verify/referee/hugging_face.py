"""TRL's SFT and DPO trainers and transformers' own Trainer as peers: really built, their collators
fill the batches, their `training_step` does the rest.

The micro-batches of a step go through `get_batch_samples`, which counts the tokens of all of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import torch
import transformers
import trl  # pyright: ignore[reportMissingImports]
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.nn.functional import pad
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]

from fledge.exact.problem import Problem
from fledge.verify.referee.question import Answer, Step
from fledge.verify.referee.resume import compare_resumed
from fledge.verify.referee.table_model import (
    OutsideTable,
    TableForCausalLM,
    hold,
    make_model,
    make_tokenizer,
    read_gradient,
)
from fledge.verify.referee.two_processes import take_step

EVERY = tuple(range(7)) * 4  # sequences of a data set that a run goes through
PAIRS = [("a", "b"), ("b", "a"), ("a a", "b"), ("b b", "a b"), ("a", "a b"), ("b a", "b")] * 4


class BatchTrainer:
    """A trainer that is given rows. A subclass says how it is built and what its rows are."""

    name, version = "", ""
    resumes = False  # whether a killed run of it is compared with one that went through
    pads_left = False  # whether its collator, at a setting that it has, pads rows on the left

    def __init__(self, setting: dict[str, Any], problem: Problem) -> None:
        self.setting, self.problem = setting, problem
        self.folder = tempfile.TemporaryDirectory(prefix="fledge-referee-")  # gone with the peer
        self.trainer: Any = self._build(self.folder.name)

    def _build(self, folder: str, **more: Any) -> Any:
        """more: arguments of the trainer beside those of the row."""
        raise NotImplementedError

    def resume(self) -> str | None:
        """What a killed run is, beside one that went through; None where it is not tried."""
        return compare_resumed(self._build) if self.resumes else None

    def step_once(self, rank: int, world: int) -> Tensor:
        """On all rows of its data set, each process with its share."""
        rows = len(self.trainer.train_dataset)
        return take_step(self._build, per_device_train_batch_size=rows // world)

    def _rows(self, words: tuple[int, ...]) -> list[dict[str, Any]]:
        raise NotImplementedError

    def answer(self, step: Step) -> Answer:
        self._train(step)
        gradient, leak = read_gradient(self.trainer.model, self.problem.language)
        return Answer(gradient, leak)

    def losses(self, step: Step, tables: Sequence[Tensor]) -> list[float]:
        """What `training_step` returns at each table."""
        values = []
        for table in tables:
            hold(self.trainer.model, self.problem.language, table)
            values.append(self._train(step))
        hold(self.trainer.model, self.problem.language, self.problem.logits)
        return values

    def _train(self, step: Step) -> float:
        """Every micro-batch of a step, forward and backward: the sum of the losses returned."""
        trainer = self.trainer
        rows = self._rows(step.words)
        each = len(rows) // step.pieces
        parts = [rows[at : at + each] for at in range(0, len(rows), each)]
        batches = [self._alter(trainer.data_collator(part), step) for part in parts]
        samples, count = trainer.get_batch_samples(iter(batches), len(batches), torch.device("cpu"))
        trainer.current_gradient_accumulation_steps = len(samples)
        trainer.model.zero_grad(set_to_none=True)
        return sum(float(trainer.training_step(trainer.model, each, count)) for each in samples)

    def _alter(self, batch: Any, step: Step) -> dict[str, Any]:
        """More padding at either end, and other tokens where the mask says that nothing is."""
        batch = dict(batch)
        for name, value in batch.items():
            if (step.padding or step.left) and isinstance(value, Tensor) and value.dim() == 2:
                batch[name] = pad(value, (step.left, step.padding), value=self._empty(name))
        for name in list(batch) if step.garbage else ():
            if name.endswith("attention_mask"):
                place = name.removesuffix("attention_mask") + "input_ids"
                if place not in batch:
                    continue  # GKD's prompts, which it only generates from
                ids = batch[place]
                other = torch.arange(ids.numel()).view_as(ids) + 1
                other = other % self.problem.language.vocabulary
                batch[place] = torch.where(batch[name] > 0, ids, other)
        return batch

    def _empty(self, name: str) -> int:
        """What stands where nothing is."""
        if name.endswith("labels"):
            return -100
        return self.problem.language.vocabulary + 1 if name.endswith("input_ids") else 0

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
    resumes = True

    def _build(self, folder: str, **more: Any) -> Any:
        return SFTTrainer(
            model=make_model(self.problem.language, self.problem.logits),
            args=self._arguments(
                SFTConfig, folder, dataset_kwargs={"skip_prepare_dataset": True}, **more
            ),
            train_dataset=Dataset.from_list(self._rows(EVERY)),
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
    model_class: type[TableForCausalLM] = TableForCausalLM
    pads_left = True

    def _build(self, folder: str, **more: Any) -> Any:
        tokenizer = make_tokenizer(self.problem.language)
        return Trainer(
            model=make_model(self.problem.language, self.problem.logits, self.model_class),
            args=self._arguments(TrainingArguments, folder, **more),
            train_dataset=Dataset.from_list(self._rows(EVERY)),
            data_collator=DataCollatorForSeq2Seq(tokenizer),
        )


class OutsideTrainer(PlainTrainer):
    """The same with a model class of a user's own, registered with AutoModelForCausalLM."""

    name, model_class = "transformers:trainer_own_model", OutsideTable


class TrlDpo(BatchTrainer):
    """The first half of the words is chosen, the second rejected; the reference is a table."""

    name, version = "trl:dpo", trl.__version__
    resumes = True

    def _build(self, folder: str, **more: Any) -> Any:
        language = self.problem.language
        reference: Any = make_model(language, self.problem.logits)
        if self.problem.reference is not None:
            hold(reference, language, self.problem.reference)
        trainer: Any = DPOTrainer(
            model=make_model(language, self.problem.logits),
            ref_model=reference,
            args=self._arguments(DPOConfig, folder, beta=self.problem.beta, **more),
            train_dataset=Dataset.from_list(
                [{"prompt": "open", "chosen": c, "rejected": r} for c, r in PAIRS]
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
TRAINERS = {each.name: each for each in (TrlSft, PlainTrainer, OutsideTrainer, TrlDpo)}


def build_peer(peer: str, setting: dict[str, Any], problem: Problem) -> BatchTrainer:
    return TRAINERS[peer](setting, problem)
