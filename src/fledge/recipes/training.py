"""What every training recipe has in common: its fields, and how its run is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from fledge.errors import UserError
from fledge.generators import seed_generators
from fledge.learner import Learner, Schedule
from fledge.recipes.inputs import choose_files
from fledge.runs.folder import Run
from fledge.runs.show import Show


class TrainingConfig(BaseModel):
    """The fields of every recipe that trains."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/VERB, runs/VERB-2, …",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random number in the run")
    steps: int = Field(default=1000, ge=1, description="optimizer steps (updates, for align)")
    learning_rate: float = Field(default=1e-3, gt=0, description="at its peak")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="of the learning rate after its rise"
    )
    warmup_steps: int = Field(
        default=20, ge=0, description="optimizer steps over which the learning rate rises"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's, on matrices only")
    clip: float = Field(
        default=1.0, ge=0, description="the gradient is scaled down to this norm; 0 never"
    )
    rows_per_micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="rows differentiated at a time: memory only, never the numbers",
    )
    evaluate_every: int = Field(
        default=0, ge=0, description="steps between evaluations; 0: only before and after"
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="of matrix products; auto measures this machine"
    )
    compile: Literal["auto", "yes", "no"] = Field(
        default="auto", description="torch.compile; auto: if the run is long and it is faster"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU if there is one"
    )

    def learner(self, module: nn.Module, precision: str, steps: int | None = None) -> Learner:
        schedule = Schedule(
            self.learning_rate, steps or self.steps, self.warmup_steps, self.schedule
        )
        return Learner(
            module,
            schedule,
            weight_decay=self.weight_decay,
            clip=self.clip,
            rows_per_micro_batch=self.rows_per_micro_batch,
            precision=precision,
        )

    def on(self) -> torch.device:
        return torch.device(
            "cuda"
            if self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
            else "cpu"
        )


Config = TypeVar("Config", contravariant=True)
Summary = dict[str, Any]
Recipe = Callable[[Config, Show, Run | None, ExitStack], Summary]


class Called(Protocol[Config]):
    """A recipe as it is called: with the run to continue, or without one to make a new run."""

    def __call__(self, config: Config, show: Show, run: Run | None = None) -> Summary: ...


def close_what_it_opens(recipe: Recipe[Config]) -> Called[Config]:
    """The recipe with a stack of what is closed when it returns or raises; `open_run` puts a new
    run there.

    So the run can be opened again at once, and a hundred runs in one process have no more files
    open than one.
    """

    @wraps(recipe)
    def called(config: Config, show: Show, run: Run | None = None) -> Summary:
        with ExitStack() as opened:
            return recipe(config, show, run, opened)

    return called


def open_run(
    run: Run | None,
    opened: ExitStack,
    verb: str,
    config: TrainingConfig,
    began: float,
    *,
    parents: list[Path] | None = None,
    data: list[str] | None = None,
    copied: list[str] | None = None,
) -> Run:
    """The run to continue if one was given, which its giver closes; else a new one, put on
    `opened`.

    began: by `time.perf_counter`, when the work on it began. data: names of rows, tasks, worlds and
    code of the user's. copied: those of texts and files that `keep_shards` will take into the run.

    From here on the generators that a process shares, from which code of the user's draws, follow
    the seed.
    """
    seed_generators(config.seed)
    if run is not None:
        return run
    fields = config.model_dump(mode="json")
    made = Run.create(
        config.out, verb, fields, seed=config.seed, files_of=choose_files(fields),
        parents=parents or [], data=data or [], copied=copied or [],
    )  # fmt: skip
    made.began = began
    return opened.enter_context(made)


@contextmanager
def remove_if_it_cannot_begin(run: Run) -> Iterator[None]:
    """A new run that a mistake of the user's ends in here is taken back: nothing of it could be
    continued.

    Of a run that is continued nothing is removed, whatever it lacks.
    """
    try:
        yield
    except UserError:
        run.take_back()
        raise
