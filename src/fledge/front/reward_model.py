"""A reward model in Python: what an answer to a prompt is worth to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fledge.errors import UserError
from fledge.front.model import build_exchange
from fledge.hub.folder import Loaded
from fledge.models.language.heads import ScalarModel
from fledge.text.chat import render
from fledge.trajectories import from_rows


class RewardModel:
    """r(x, y), read at the last token, as `fledge.load_reward_model` gives it; scaled so that the
    answers it was trained on have mean 0 and standard deviation 1. Bradley and Terry's model of
    what people prefer: P(y is preferred to z) = σ(std · (r(x, y) − r(x, z))).
    """

    def __init__(self, model: ScalarModel, loaded: Loaded) -> None:
        self.model, self.loaded = model.eval(), loaded
        scale = loaded.config.get("fledge_reward", {"mean": 0.0, "std": 1.0})
        self.mean, self.std = float(scale["mean"]), float(scale["std"])

    @property
    def folder(self) -> Path:
        return self.loaded.folder

    def score(self, prompt: str | Sequence[str], completion: str | Sequence[str]) -> Any:
        """Of one answer to a prompt a number, of several a list. Raises UserError for what does not
        fit the context.
        """
        if isinstance(prompt, str) and isinstance(completion, str):
            return self._score([prompt], [completion])[0]
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        completions = [completion] if isinstance(completion, str) else list(completion)
        if len(prompts) == 1:
            prompts *= len(completions)
        if len(prompts) != len(completions):
            raise UserError(
                f"{len(prompts)} prompts came with {len(completions)} completions: give one for "
                "each."
            )
        return self._score(prompts, completions)

    @torch.no_grad()
    def _score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        tokenizer, context = self.loaded.tokenizer, self.model.network.config.context
        scores: list[float] = []
        for prompt, completion in zip(prompts, completions, strict=True):
            row, own = render(tokenizer, build_exchange(prompt, completion))
            if len(row) > context:
                raise UserError(
                    f"a prompt and its answer have {len(row):,} tokens, and the model's context is "
                    f"{context:,}: shorten one of them."
                )
            batch = from_rows([row], [own])
            scores.append(float(self.model.score(batch.obs, batch.last())))
        return [(score - self.mean) / self.std for score in scores]

    def __repr__(self) -> str:
        return f"RewardModel(mean {self.mean:.3g}, std {self.std:.3g}, from {self.folder})"
