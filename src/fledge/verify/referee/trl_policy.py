"""TRL's GRPO and RLOO trainers as peers: really built, and stepped by their own `training_step`.

Sequences come in in place of what its method of generation says, and rewards through a reward
function: everything between them and `backward` is TRL's.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer  # pyright: ignore[reportMissingImports]
from trl import __version__ as version  # pyright: ignore[reportMissingImports]

from fledge.exact.problem import Problem
from fledge.verify.referee.question import Answer, Step
from fledge.verify.referee.table_model import hold, make_model, make_tokenizer, read_gradient

KINDS = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}


class TrlPolicy:
    """A trainer for each number of groups and pieces, built when it is first asked."""

    version = version

    def __init__(self, kind: str, setting: dict[str, Any], problem: Problem) -> None:
        self.name, self.kind, self.problem = f"trl:{kind}", kind, problem
        self.setting = setting
        self.trainers: dict[tuple[int, int, int], Any] = {}
        self.folder = tempfile.TemporaryDirectory(prefix="fledge-referee-")  # gone with the peer
        self.words: tuple[int, ...] = ()

    def answer(self, step: Step) -> Answer:
        trainer = self._trainer(len(step.words), step.groups, step.pieces)
        language = self.problem.language
        self.words = step.words
        trainer.pad_to_multiple_of = None
        trainer._buffered_inputs, trainer._step = None, 0
        trainer.current_gradient_accumulation_steps = step.pieces
        trainer.model.zero_grad(set_to_none=True)
        rows = [{"prompt": "open"} for _ in step.words]
        original = type(trainer)._prepare_inputs

        def prepare(inputs: Any) -> Any:
            return self._alter(original(trainer, inputs), step)

        trainer._prepare_inputs = prepare
        for _ in range(step.pieces):
            trainer.training_step(trainer.model, rows, None)
        gradient, leak = read_gradient(trainer.model, language)
        return Answer(gradient, leak)

    def _alter(self, inputs: dict[str, Any], step: Step) -> dict[str, Any]:
        """More padding on either side, and other tokens where the masks say that nothing is."""
        inputs = dict(inputs)
        pad = self.problem.language.vocabulary + 1
        if step.padding:
            for name, left in (("prompt", True), ("completion", False)):
                width = (step.padding, 0) if left else (0, step.padding)
                for key, value in ((f"{name}_ids", pad), (f"{name}_mask", 0)):
                    inputs[key] = torch.nn.functional.pad(inputs[key], width, value=value)
            for key in ("old_per_token_logps", "ref_per_token_logps"):
                if inputs.get(key) is not None:
                    inputs[key] = torch.nn.functional.pad(inputs[key], (0, step.padding))
        if step.garbage:
            for name in ("prompt", "completion"):
                mask, ids = inputs[f"{name}_mask"], inputs[f"{name}_ids"]
                other = (torch.arange(ids.numel()).view_as(ids) + 1) % (pad - 1)
                inputs[f"{name}_ids"] = torch.where(mask > 0, ids, other)
        return inputs

    def _trainer(self, rows: int, groups: int, pieces: int) -> Any:
        key = (rows, groups, pieces)
        if key not in self.trainers:
            self.trainers[key] = self._build(*key)
        return self.trainers[key]

    def _build(self, rows: int, groups: int, pieces: int) -> Any:
        config, kind = KINDS[self.kind]
        language = self.problem.language
        model = make_model(language, self.problem.logits)
        told = dict(self.setting)
        told.setdefault("beta", self.problem.beta)
        folder = f"{self.folder.name}/{len(self.trainers)}"
        if told["beta"]:
            model.save_pretrained(folder)
            model.config._name_or_path = folder
        arguments = config(
            output_dir=folder,
            per_device_train_batch_size=rows // pieces,
            gradient_accumulation_steps=pieces,
            steps_per_generation=pieces,
            num_generations=rows // groups,
            max_completion_length=language.length,
            temperature=self.problem.temperature,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            **told,
        )
        trainer: Any = kind(
            model=model,
            reward_funcs=self._reward,
            args=arguments,
            train_dataset=Dataset.from_list([{"prompt": "open"}] * rows),
            processing_class=make_tokenizer(language),
        )
        trainer._generate_single_turn = self._speak
        if trainer.ref_model is not None and self.problem.reference is not None:
            trainer.ref_model.double()
            hold(trainer.ref_model, language, self.problem.reference)
        return trainer

    def _speak(self, prompts: Any, *ignored: Any) -> Any:
        """What was said, in place of generation; GRPO's also gives log-probabilities, or None."""
        said = [list(self.problem.language.sequences[word]) for word in self.words]
        return (said, None) if self.kind == "grpo" else said

    def _reward(self, completion_ids: list[list[int]], **ignored: Any) -> list[float]:
        number = {word: i for i, word in enumerate(self.problem.language.sequences)}
        return [float(self.problem.reward[number[tuple(ids)]]) for ids in completion_ids]


def build_policy(kind: str, setting: dict[str, Any], problem: Problem) -> TrlPolicy:
    return TrlPolicy(kind, setting, problem)
