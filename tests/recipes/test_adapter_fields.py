"""What the fields of an adapter make of a base, and which of them do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.hub.folder import Loaded, save_model
from fledge.models.language.adapters import is_adapted, list_adapters
from fledge.models.language.bottleneck import has_bottlenecks
from fledge.models.language.virtual_tokens import Prefix, Prompt, virtual_of
from fledge.recipes.language.adapter_fields import AdapterFields
from fledge.recipes.language.large_defaults import TUNE
from fledge.text.tokenizer import train_tokenizer
from tests.subjects import transformer

CHARACTERS = train_tokenizer("characters", ["abcde"])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tmp_path / "base", transformer(), CHARACTERS)
    return tmp_path / "base"


class OfTuning(AdapterFields):
    large = TUNE


def load(path: Path, **fields: Any) -> Loaded:
    loaded, _ = OfTuning(**fields).load_base(path)
    return loaded


def test_each_kind(base: Path) -> None:
    assert not is_adapted(load(base).network)
    assert next(list_adapters(load(base, adapter="lora").network)).down.shape[0] == 16
    assert has_bottlenecks(load(base, adapter="houlsby", adapter_rank=3).network)
    for kind, made in (("prefix", Prefix), ("prompt", Prompt)):
        virtual = virtual_of(load(base, adapter=kind, adapter_tokens=7).network)
        assert isinstance(virtual, made)
        assert virtual.number == 7


def test_the_seed_says_what_virtual_tokens_start_from(base: Path) -> None:
    one, same, other = (
        load(base, adapter="prompt", seed=seed).network.virtual.embedding for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["houlsby", "prefix", "prompt"])
def test_what_a_base_has_learned_goes_on_and_is_not_merged(kind: str, base: Path) -> None:
    first = load(base, adapter=kind)
    first.save(base.parent / "first")
    again = load(base.parent / "first")
    learns = [name for name, p in again.network.named_parameters() if p.requires_grad]
    assert learns == [name for name, p in first.network.named_parameters() if p.requires_grad]
    for other in ("none", "lora", "prompt"):
        with pytest.raises(UserError, match="cannot be merged"):
            load(base.parent / "first", adapter=other)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"adapter": "lora", "adapter_tokens": 3}, "adapter_tokens is of adapter=prefix or prompt"),
        ({"adapter": "houlsby", "adapter_dora": True}, "adapter_dora is of adapter=lora"),
        ({"adapter": "prefix", "adapter_rank": 3}, "adapter_rank is of adapter=lora or houlsby"),
        ({"adapter": "prompt", "adapter_saves": "norm"}, "adapter_saves is of adapter=lora"),
        ({"adapter": "prompt", "adapter_tokens": 32}, "leaves no room in the model's context"),
    ],
)
def test_what_does_not_go_together(base: Path, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        load(base, **fields)
