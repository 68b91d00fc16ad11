"""Adapters of one base hold its weights once, and say what they say when each is loaded alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.hub.adapter_start import Adapter
from fledge.hub.folder import load_any, load_model
from fledge.models.language.adapters import LoRA
from fledge.models.language.bottleneck import Houlsby
from fledge.serve import loading
from tests.serve.models import make_model


def load_many(folders: list[Path]) -> list[Any]:
    told: list[Path] = []
    loaded = loading.load_many(folders, told.append)
    assert told == folders
    return loaded


def make_adapter(base: Path, folder: Path, settings: Adapter, seed: int, **more: Any) -> Path:
    """One that has learned something: its numbers are random."""
    model = load_model(base).adapt(settings, **more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.network.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
    model.save(folder)
    return folder


@torch.no_grad()
def say(network: Any) -> Tensor:
    row = torch.arange(5, 25)[None]
    return network(row, network.document_mask(row))


def list_places(network: Any) -> set[int]:
    return {weight.data_ptr() for weight in network.parameters()}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    base = make_model(tmp_path / "base")
    return [
        base,
        make_adapter(base, tmp_path / "a", LoRA(4), 1),
        make_adapter(base, tmp_path / "b", LoRA(8, dora=True), 2),
        make_adapter(base, tmp_path / "c", Houlsby(4), 3),
    ]


def test_each_says_what_it_says_alone(folders: list[Path]) -> None:
    alone = [say(load_any(folder)[0].network) for folder in folders]
    together = [say(loaded.network) for loaded, _ in load_many(folders)]
    for mine, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    assert all(not torch.equal(alone[0], other) for other in alone[1:])


@pytest.mark.parametrize("with_base", [True, False])
def test_the_base_is_held_once(folders: list[Path], with_base: bool) -> None:
    base = sum(weight.numel() for weight in load_model(folders[0]).network.parameters())
    models = [loaded for loaded, _ in load_many(folders if with_base else folders[1:])]
    every = {w.data_ptr(): w.numel() for one in models for w in one.network.parameters()}
    own = sum(w.numel() for one in models for w in one.network.parameters()) - base * len(models)
    assert sum(every.values()) == base + own


def test_an_adapter_with_parts_of_the_base_of_its_own_leaves_the_base_alone(
    tmp_path: Path,
) -> None:
    base = make_model(tmp_path / "base")
    whole = make_adapter(base, tmp_path / "w", LoRA(4), 1, saved=["embed_tokens"])
    beside = make_adapter(base, tmp_path / "a", LoRA(4), 2)
    models = [loaded.network for loaded, _ in load_many([base, whole, beside])]
    for network, folder in zip(models, (base, whole, beside), strict=True):
        torch.testing.assert_close(say(network), say(load_any(folder)[0].network), rtol=0, atol=0)
    assert not list_places(models[0]) & list_places(models[1])
    assert list_places(models[0]) & list_places(models[2])
