"""What a verb's open fields are for a model of 30 million parameters or more, which is most often
somebody's own, tuned already, and slow on a small machine.

The verbs' own defaults are for models of some half a million parameters that are raised here. A
large one has learnt more than a run may spoil, and a step of the same size would take minutes. The
rates are what is usual for models of 0.1 to 3 billion parameters; an adapter bears some ten times
that of all weights (Schulman et al. 2025, "LoRA without regret").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from fledge.evaluate.distance import KL_PROMPTS
from fledge.recipes.training import LARGE

Config = TypeVar("Config", bound=BaseModel)

FEW_ANSWERS = 8  # to measure the distance from the base by


@dataclass(frozen=True)
class LargeDefaults:
    """Of one verb.

    adapter_rate, whole_rate: the learning rate of an adapter, and of all weights; None: as it is.
    fields: the others by name.
    """

    adapter_rate: float | None
    whole_rate: float
    fields: Mapping[str, Any]

    def suit(
        self, config: Config, parameters: int, *, adapted: bool, fresh: bool = False
    ) -> Config:
        """The config with its open fields as they suit a model of so many parameters; what was
        given stays.

        fresh: what learns has learnt nothing yet, and does so at the verb's own rate.
        """
        if parameters < LARGE:
            return config
        rate = self.adapter_rate if adapted else self.whole_rate
        suited = {**self.fields, **({} if fresh else {"learning_rate": rate})}
        given = config.model_fields_set
        return config.model_copy(
            update={name: value for name, value in suited.items() if name not in given}
        )

    def describe(self) -> str:
        """For `--help`."""
        rate = f"learning_rate={self.whole_rate:g}"
        if self.adapter_rate is not None:
            rate = f"learning_rate={self.adapter_rate:g} ({self.whole_rate:g} without an adapter)"
        others = (f"{name}={value}" for name, value in self.fields.items())
        return (
            f"Of a model of {LARGE // 10**6} million parameters or more, where nothing else is "
            f"given: {', '.join([rate, *others])}"
        )


def count_kl_answers(parameters: int) -> int:
    """How many answers an evaluation samples to measure the distance from the base."""
    return FEW_ANSWERS if parameters >= LARGE else KL_PROMPTS


TUNE = LargeDefaults(
    2e-4, 2e-5,
    {
        "steps": 200, "rows_per_step": 16, "warmup_steps": 10, "max_new_tokens": 128,
        "evaluation_prompts": 32,
    },
)  # fmt: skip
REWARD = LargeDefaults(1e-4, 1e-5, {"pairs_per_step": 8, "pairs": 256, "max_new_tokens": 128})
PREFER = LargeDefaults(
    5e-5, 5e-6,
    {"pairs_per_step": 8, "pairs": 256, "max_new_tokens": 128, "evaluation_prompts": 32},
)  # fmt: skip
ALIGN = LargeDefaults(
    5e-5, 2e-6, {"prompts_per_step": 8, "max_new_tokens": 128, "evaluation_prompts": 32}
)
DISTILL = LargeDefaults(
    None, 2e-5,
    {"rows_per_step": 8, "max_new_tokens": 128, "evaluation_prompts": 32, "evaluation_rows": 16},
)  # fmt: skip
