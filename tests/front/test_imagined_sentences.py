"""Sentences that are given in Python, and the model that is learned of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fledge
from fledge.errors import UserError

TEXTS = [f"{who} {does}" for who in ("he", "she", "it", "one", "who") for does in
         ("runs", "sees", "waits", "sings", "sits")]  # fmt: skip


def test_a_list_of_texts_is_learned_and_the_model_draws(tmp_path: Path) -> None:
    run = fledge.imagine(
        TEXTS, model="text_vae", steps=3, width=8, latents=2, draws=2, rows_per_step=4, samples=2,
        precision="fp32", compile="no", out=tmp_path / "run",
    )  # fmt: skip
    said = run.model.sample(4, torch.Generator().manual_seed(0))
    assert len(said) == 4
    assert all(isinstance(each, str) for each in said)
    assert run.model.embed(TEXTS[:3]).shape == (3, 2)
    path = fledge.sample(run, between=TEXTS[:2], steps=3)["sentences"]
    assert len(path) == 3
    with pytest.raises(UserError, match="no model that speaks"):
        fledge.load(run.folder)


def test_an_empty_list_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        fledge.imagine([], model="text_vae", out=tmp_path / "run")
