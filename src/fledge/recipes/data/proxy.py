"""A small model that is trained on some text and judged on other: what `fledge data effect` and
`data mixture` compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from fledge.evaluate.by_document import measure_documents
from fledge.hub.folder import load_model
from fledge.json_file import read_json
from fledge.recipes.carry_on import run_inside
from fledge.recipes.language.pretrain import PretrainConfig, pretrain
from fledge.recipes.language.text_data import TextFields
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.text.documents import read_documents

Measured = tuple[list[float], list[int]]
"""Bits and bytes of each document."""


class ProxyFields(TextFields):
    """Of each of the models."""

    steps: int = Field(default=300, ge=1, description="optimizer steps of each model")
    tokens_per_step: int = Field(default=2048, ge=64, description="bytes an optimizer step")
    model: str = Field(default="nano", description="preset of sizes, as of `pretrain`")
    learning_rate: float = Field(default=3e-3, gt=0, description="at its peak")


def train_proxy(
    run: Run, config: ProxyFields, name: str, data: str, held: Sequence[Path], seed: int, show: Show
) -> list[Measured]:
    """Of each held-out file, by the model of this name in the study's folder; a finished one is
    read, not repeated.
    """
    folder, path = run.folder / name, run.folder / f"{name}.json"
    if not path.exists():
        alone = PretrainConfig(
            data=data, tokenizer="bytes", duplicates="keep", model=config.model,
            steps=config.steps, tokens_per_step=config.tokens_per_step,
            learning_rate=config.learning_rate, precision="fp32", compile="no", seed=seed,
            out=folder,
        )  # fmt: skip
        run_inside(folder, lambda begun: pretrain(alone, show, begun), show, run.allowed)
        loaded = load_model(folder)
        policy, context = loaded.policy(), loaded.network.config.context
        told: list[dict[str, Any]] = []
        for file in held:
            documents = read_documents(str(file))
            each = measure_documents(policy, documents, loaded.tokenizer, context)
            told.append({"bits": [one.bits_per_byte * one.bytes for one in each],
                         "bytes": [one.bytes for one in each]})  # fmt: skip
        write_json(path, {"held": told})
    judged = read_json(path, dict[str, Any])["held"]
    return [(one["bits"], one["bytes"]) for one in judged]
