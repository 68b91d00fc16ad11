"""`fledge sample`: completions of a prompt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from fledge.decoding import Decoding
from fledge.models.folder import load_model
from fledge.recipes.show import Show
from fledge.sample.generate import generate
from fledge.sample.rollouts import prompt_tokens


class SampleConfig(BaseModel):
    """Complete a prompt, several times: as an answer in a conversation, or (raw) as running text."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder that speaks")
    prompt: str = Field(default="", description="what it is given")
    raw: bool = Field(default=False, description="continue the prompt as text, without the chat template")
    samples: int = Field(default=1, ge=1, description="how many completions")
    max_new_tokens: int = Field(default=128, ge=1, description="of each")
    temperature: float = Field(default=1.0, ge=0, description="0 is greedy")
    top_k: int = Field(default=0, ge=0, description="0 keeps every token")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus mass")
    min_p: float = Field(
        default=0.0, ge=0, le=1, description="drops tokens less than this times as likely as the likeliest"
    )
    seed: int = Field(default=0, ge=0, description="of the draws")


def sample(config: SampleConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a prompt that leaves no room in the context."""
    model = load_model(config.base)
    rule = Decoding(config.temperature, config.top_k, config.top_p, config.min_p)
    policy, tokenizer = model.policy().with_rule(rule), model.tokenizer
    ids = [tokenizer.begin, *tokenizer.encode(config.prompt)] if config.raw else prompt_tokens(tokenizer, config.prompt)
    began = time.perf_counter()
    completions = generate(
        policy, [ids], max_new_tokens=config.max_new_tokens, stop=tokenizer.end, samples=config.samples,
        generator=torch.Generator().manual_seed(config.seed),
    )  # fmt: skip
    seconds = time.perf_counter() - began
    said = []
    for completion in completions:
        text = tokenizer.decode(completion.tokens)
        said.append({
            "completion": text,
            "tokens": len(completion.tokens),
            "ended": "stop" if completion.stopped else "length",
            "logp": sum(completion.logp),
        })  # fmt: skip
        show.line(text if config.samples == 1 else f"[{len(said)}] {text}")
    return {"base": str(config.base), "prompt": config.prompt, "completions": said, "seconds": seconds}
