"""A trainer of the Hugging Face family is killed and resumed: are the weights those of a run that
went through?
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from transformers import set_seed

from fledge.verify.referee.second_way import tell_apart

STEPS = 4  # of the run that goes through; the other is resumed after half of them


def compare_resumed(build: Callable[..., Any]) -> str:
    """build: a folder and further arguments of the trainer -> a trainer at its first weights.

    -> as `tell_apart` says it
    """
    arguments = {
        "max_steps": STEPS,
        "save_strategy": "steps",
        "save_steps": STEPS // 2,
        "learning_rate": 0.05,
    }
    with tempfile.TemporaryDirectory(prefix="fledge-referee-") as folder:
        through = _run(build(f"{folder}/through", **arguments), None)
        before = build(f"{folder}/first", **arguments).model.lm_head.weight.detach().clone()
        place = f"{folder}/through/checkpoint-{STEPS // 2}"
        resumed = _run(build(f"{folder}/resumed", **arguments), place)
    return tell_apart(before, through, resumed)


def _run(trainer: Any, checkpoint: str | None) -> torch.Tensor:
    # A process that is started anew has its generators where `seed` puts them.
    set_seed(trainer.args.seed)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer.model.lm_head.weight.detach().double().clone()
