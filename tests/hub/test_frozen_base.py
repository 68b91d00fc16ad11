"""Matrices that an adapter freezes are rounded as they are read: to what they are when the whole
model is read first, and without its ever being there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.hub.adapter_targets import FrozenBase
from fledge.hub.folder import load_model, save_model
from fledge.hub.gguf_model import save_gguf
from fledge.models.language.adapters import AdaptedLinear, LoRA
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.frozen_weights import FrozenWeights
from fledge.text.tokenizer import train_tokenizer
from tests.hub import foreign
from tests.subjects import seeded, transformer

CHARACTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens
BYTES = train_tokenizer("bytes", [])


def read(path: Path, weights: FrozenWeights, saved: tuple[str, ...] = ()) -> Any:
    return load_model(path, freeze=lambda network: FrozenBase(weights, saved))


def check_same(one: Any, other: Any) -> None:
    """Bit for bit, by the same names."""
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


def list_rounded(loaded: Any) -> list[str]:
    return [n for n, m in loaded.network.named_modules() if isinstance(m, AdaptedLinear)]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_model(tmp_path / "base", transformer(dtype=request.param), CHARACTERS)
    return tmp_path / "base"


@pytest.mark.parametrize("weights", ["fp32", "bf16", "int8", "nf4"])
def test_matrices_are_what_rounding_the_whole_model_makes_them(
    weights: FrozenWeights, base: Path
) -> None:
    loaded = read(base, weights)
    layers = len(loaded.network.blocks)
    assert len(list_rounded(loaded)) == (0 if weights == "fp32" else 4 * layers)
    for settings in (LoRA(2), Houlsby(2)):
        adapted = read(base, weights).adapt(settings, weights=weights, generator=seeded(1))
        whole = load_model(base).adapt(settings, weights=weights, generator=seeded(1))
        check_same(adapted, whole)


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "qwen3_moe", "gpt_neox"])
def test_of_other_families_too(family: str, tmp_path: Path) -> None:
    """Some store matrices turned around, with biases, or in another order."""
    pytest.importorskip("transformers")
    path = foreign.save(foreign.make(family, {}), tmp_path)
    adapted = read(path, "nf4").adapt(LoRA(2), weights="nf4", generator=seeded(1))
    assert list_rounded(adapted)
    check_same(adapted, load_model(path).adapt(LoRA(2), weights="nf4", generator=seeded(1)))


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_of_a_gguf_file_too(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    save_gguf(path, transformer(BYTES.vocab_size, width=32, mlp_width=64), BYTES, kind)
    adapted = read(path, "int8").adapt(LoRA(2), weights="int8", generator=seeded(1))
    assert list_rounded(adapted)
    check_same(adapted, load_model(path).adapt(LoRA(2), weights="int8", generator=seeded(1)))


def test_a_module_that_learns_whole_is_not_rounded(base: Path) -> None:
    adapted = read(base, "nf4", ("down_proj",)).adapt(
        LoRA(2), saved=["down_proj"], weights="nf4", generator=seeded(1)
    )
    assert not any(name.endswith("down") for name in list_rounded(adapted))
    whole = load_model(base).adapt(LoRA(2), saved=["down_proj"], weights="nf4", generator=seeded(1))
    check_same(adapted, whole)
    with pytest.raises(UserError, match="adapter_saves names 'nothing'"):
        read(base, "nf4", ("nothing",))


def test_a_run_on_a_rounded_base_opens_as_it_was_saved(base: Path, tmp_path: Path) -> None:
    adapted = read(base, "nf4").adapt(LoRA(2), weights="nf4", generator=seeded(1))
    adapted.save(tmp_path / "adapter")
    again = load_model(tmp_path / "adapter")
    check_same(again, adapted)
    merged, whole = again.merged(), load_model(base).adapt(LoRA(2), weights="nf4").merged()
    check_same(merged, whole)  # the adapter is fresh and adds nothing
