"""The verbs of the command line: where each lives, loaded only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verb:
    summary: str  # for `fledge --help`
    module: str
    config_name: str
    trains: bool = False  # its function takes a third argument, the run to continue
    bare: str | None = None  # the field that a word alone gives, as in `fledge resume runs/tune`

    @property
    def config(self) -> Any:
        """The frozen pydantic model of its fields."""
        return getattr(importlib.import_module(self.module), self.config_name)

    @property
    def function(self) -> Callable[..., dict[str, Any]]:
        name = "".join("_" + c.lower() if c.isupper() else c for c in self.config_name.removesuffix("Config")).lstrip(
            "_"
        )
        return getattr(importlib.import_module(self.module), name)


VERBS: dict[str, Verb] = {
    "demo": Verb("the whole road: pre-train, tune, reward, align, report", "fledge.recipes.demo", "DemoConfig", True),
    "pretrain": Verb("train a language model on raw text", "fledge.recipes.pretrain", "PretrainConfig", True),
    "tune": Verb("tune a model on conversations or a task", "fledge.recipes.tune", "TuneConfig", True),
    "reward": Verb("train a reward model on preferences", "fledge.recipes.reward", "RewardConfig", True),
    "prefer": Verb("learn from preferences: dpo, ipo, simpo, orpo, kto", "fledge.recipes.prefer", "PreferConfig", True),
    "align": Verb("learn from a reward: reinforce, ppo, grpo, em, …", "fledge.recipes.align", "AlignConfig", True),
    "distill": Verb("teach a student what a teacher knows", "fledge.recipes.distill", "DistillConfig", True),
    "control": Verb("train an agent in a world: ppo, dqn, …", "fledge.recipes.control", "ControlConfig", True),
    "play": Verb("judge or film a trained agent", "fledge.recipes.play", "PlayConfig", bare="run"),
    "ladder": Verb(
        "one gridworld by every method, beside the exact answer", "fledge.recipes.ladder", "LadderConfig", bare="world"
    ),
    "sample": Verb("complete a prompt", "fledge.recipes.sample", "SampleConfig", bare="base"),
    "chat": Verb("talk to a model in the terminal", "fledge.recipes.chat", "ChatConfig", bare="base"),
    "evaluate": Verb(
        "bits per byte on text, exact match on a task", "fledge.recipes.evaluate", "EvaluateConfig", bare="base"
    ),
    "verify": Verb(
        "check every estimator, or your own FILE, by enumeration", "fledge.recipes.verify", "VerifyConfig", bare="file"
    ),
    "tokenizer train": Verb("train a tokenizer", "fledge.recipes.tokenizer", "TokenizerTrainConfig"),
    "tokenizer show": Verb(
        "show its merges and how it splits a text", "fledge.recipes.tokenizer", "TokenizerShowConfig", bare="tokenizer"
    ),
    "runs": Verb("list runs, with their lineage as a tree", "fledge.recipes.runs", "RunsConfig", bare="root"),
    "report": Verb("write a run's report.html", "fledge.recipes.report", "ReportConfig", bare="run"),
    "resume": Verb("continue a run that was stopped or killed", "fledge.recipes.resume", "ResumeConfig", bare="run"),
}
