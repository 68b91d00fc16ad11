"""TRL's GRPO and RLOO trainers as peers: really built, and stepped by their own `training_step`.

Sequences come in in place of what its method of generation says, and rewards through a reward
function: everything between them and `backward` is TRL's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer  # pyright: ignore[reportMissingImports]
from trl import __version__ as version  # pyright: ignore[reportMissingImports]

from fledge.exact.problem import Problem
from fledge.verify.referee.question import GROUP, Answer, Step
from fledge.verify.referee.resume import compare_resumed
from fledge.verify.referee.table_model import (
    hold,
    make_model,
    make_tokenizer,
    read_gradient,
    save_alone,
)
from fledge.verify.referee.two_processes import take_step

KINDS = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}
PROMPT = {"prompt": "open"}
SEED = 3
SAID = (0, 4, 2, 5, 1, 6)  # sequences of both lengths, of a step that processes share


class TrlPolicy:
    """A trainer for each number of groups and pieces, built when it is first asked."""

    version = version
    pads_left = True

    def __init__(self, kind: str, setting: dict[str, Any], problem: Problem) -> None:
        self.name, self.kind, self.problem = f"trl:{kind}", kind, problem
        self.setting = setting
        self.trainers: dict[tuple[int, int, int], Any] = {}
        self.folder = tempfile.TemporaryDirectory(prefix="fledge-referee-")  # gone with the peer
        self.words: tuple[int, ...] = ()

    def answer(self, step: Step) -> Answer:
        trainer = self._ready(step)
        original = type(trainer)._prepare_inputs

        def prepare(inputs: Any) -> Any:
            return self._alter(original(trainer, inputs), step)

        trainer._prepare_inputs = prepare
        self._train(trainer, step)
        gradient, leak = read_gradient(trainer.model, self.problem.language)
        return Answer(gradient, leak)

    def losses(self, step: Step, tables: Sequence[Tensor]) -> list[float]:
        """What `training_step` returns at each table. Samples, advantages and the old
        log-probabilities are those of the problem's own table, as in a second step on the samples.
        """
        trainer = self._ready(step)
        fixed = self._alter(
            type(trainer)._prepare_inputs(trainer, [PROMPT] * len(step.words)), step
        )
        if self.kind == "grpo":
            fixed["old_per_token_logps"] = self._log_prob(trainer, fixed)
        trainer._prepare_inputs = lambda inputs: fixed
        values = []
        for table in tables:
            hold(trainer.model, self.problem.language, table)
            values.append(self._train(trainer, step))
        hold(trainer.model, self.problem.language, self.problem.logits)
        return values

    def draw(self, count: int) -> list[int]:
        """The numbers of so many sequences as the trainer's own generation samples them."""
        trainer = self._trainer(GROUP, 1, 1)
        prompts = [[self.problem.language.vocabulary]] * count
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            more = (1,) if self.kind == "grpo" else ()
            said = type(trainer)._generate_single_turn(trainer, prompts, None, {}, *more)
        said = said[0] if self.kind == "grpo" else said
        number = {word: i for i, word in enumerate(self.problem.language.sequences)}
        return [number[tuple(ids)] for ids in said]

    def _ready(self, step: Step) -> Any:
        trainer = self._trainer(len(step.words), step.groups, step.pieces)
        self.words = step.words
        trainer.pad_to_multiple_of = None
        trainer._buffered_inputs, trainer._step = None, 0
        trainer.current_gradient_accumulation_steps = step.pieces
        return trainer

    def _train(self, trainer: Any, step: Step) -> float:
        trainer.model.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):
            # The trainer shuffles its rows before it cuts them: by the same draw on every run.
            torch.manual_seed(SEED)
            rows = [PROMPT] * len(step.words)
            lost = [
                float(trainer.training_step(trainer.model, rows, None)) for _ in range(step.pieces)
            ]
        return sum(lost)

    @torch.no_grad()
    def _log_prob(self, trainer: Any, inputs: dict[str, Any]) -> Tensor:
        """The trainer's own log-probabilities of the completions.  [B, T]"""
        ids, mask = (
            torch.cat([inputs[f"prompt_{name}"], inputs[f"completion_{name}"]], 1)
            for name in ("ids", "mask")
        )
        kept = inputs["completion_ids"].shape[1]
        return trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, kept)[0]

    def _alter(self, inputs: dict[str, Any], step: Step) -> dict[str, Any]:
        """More padding before prompts or after completions, and other tokens where the masks say
        that nothing is.
        """
        inputs = dict(inputs)
        pad = self.problem.language.vocabulary + 1
        if step.padding or step.left:
            for name, width in (("prompt", (step.left, 0)), ("completion", (0, step.padding))):
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

    def resume(self) -> str | None:
        """What a killed run is, beside one that went through: with its own generation."""

        def build(folder: str, **more: Any) -> Any:
            trainer = self._build(2 * GROUP, 2, 1, folder, **more)
            del trainer._generate_single_turn
            return trainer

        return compare_resumed(build)

    def step_once(self, rank: int, world: int) -> Tensor:
        """Two groups, short sequences in the first; each process says its share of them."""
        ends = sorted(
            range(len(SAID)), key=lambda at: len(self.problem.language.sequences[SAID[at]])
        )
        words = tuple(SAID[at] for at in ends)
        each = len(words) // world
        self.words = words[rank * each : (rank + 1) * each]
        groups = each // GROUP
        return take_step(lambda folder, **more: self._build(each, groups, 1, folder, **more))

    def _build(self, rows: int, groups: int, pieces: int, folder: str = "", **more: Any) -> Any:
        config, kind = KINDS[self.kind]
        language = self.problem.language
        model = make_model(language, self.problem.logits)
        told = dict(self.setting)
        told.setdefault("beta", self.problem.beta)
        folder = folder or f"{self.folder.name}/{len(self.trainers)}"
        if told["beta"]:
            save_alone(model, folder)
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
            **more,
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


def build_peer(peer: str, setting: dict[str, Any], problem: Problem) -> TrlPolicy:
    return TrlPolicy(peer.partition(":")[2], setting, problem)
