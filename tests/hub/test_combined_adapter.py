"""Several LoRA adapters written as one: its matrices are the sum by the formula, and PEFT's own
exact combination ("cat") says the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.adapter_folder import WEIGHTS
from fledge.hub.combined_adapter import combine_adapters
from fledge.hub.folder import load_model, save_model
from fledge.models.language.adapters import LoRA
from fledge.models.language.bottleneck import Houlsby
from tests.hub import foreign
from tests.subjects import seeded, transformer

A, B = LoRA(2, 6.0), LoRA(3, 5.0, stabilised=True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tmp_path / "base", transformer(tied=False), foreign.CHARACTERS)
    return tmp_path / "base"


def tune(base: Path, name: str, settings: Any, seed: int, **more: Any) -> Path:
    """As if it had learned."""
    model = load_model(base).adapt(settings, generator=seeded(seed), **more)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(seed)))
    model.save(base.parent / name)
    return base.parent / name


def combine(paths: list[Path], shares: list[float], out: Path) -> Path:
    combine_adapters([load_model(path) for path in paths], shares).save(out)
    return out


def delta(folder: Path, module: str, scale: float) -> Tensor:
    """s B A out of the file itself, 0 where the module has no adapter."""
    held = load_file(folder / WEIGHTS)
    down, up = (held.get(f"base_model.model.{module}.lora_{side}.weight") for side in "AB")
    return torch.zeros(()) if down is None or up is None else scale * up @ down


def matrices(folder: Path) -> dict[str, Tensor]:
    """Of the whole model, as `transformers` names them."""
    load_model(folder).merged().save(folder.with_name(f"{folder.name}-merged"))
    return load_file(folder.with_name(f"{folder.name}-merged") / "model.safetensors")


@pytest.mark.parametrize("shares", [[0.5, 0.5], [2.0, -0.7], [0.0, 1.0]], ids=str)
def test_the_sum_is_the_formula_s(base: Path, tmp_path: Path, shares: list[float]) -> None:
    paths = [tune(base, "a", A, 1, modules=["q_proj", "down_proj"]), tune(base, "b", B, 2)]
    whole = matrices(combine(paths, shares, tmp_path / "sum"))
    plain = load_file(base / "model.safetensors")
    moved = 0
    for name, matrix in plain.items():
        module = name.removesuffix(".weight")
        wanted = matrix + sum(
            share * delta(path, module, scale)
            for share, path, scale in zip(shares, paths, (6 / 2, 5 / 3**0.5), strict=True)
        )
        torch.testing.assert_close(whole[name], wanted, atol=1e-5, rtol=1e-5)
        moved += not torch.equal(whole[name], matrix)
    assert moved >= 2 * 7


def test_the_mean_of_an_adapter_and_itself_is_the_adapter(base: Path, tmp_path: Path) -> None:
    """And not twice the adapter, which a mean of A and of B by PEFT's weights is."""
    path = tune(base, "a", A, 1)
    both = matrices(combine([path, path], [0.5, 0.5], tmp_path / "mean"))
    alone = matrices(path)
    for name, matrix in alone.items():
        torch.testing.assert_close(both[name], matrix, atol=1e-5, rtol=1e-5)


def test_peft_says_the_same(base: Path, tmp_path: Path) -> None:
    peft: Any = pytest.importorskip("peft")
    paths = [tune(base, "a", A, 1, modules=["q_proj"]), tune(base, "b", LoRA(3, 5.0), 2)]
    model, _ = foreign.load(base)
    model = peft.PeftModel.from_pretrained(model, paths[0], adapter_name="a")
    model.load_adapter(paths[1], adapter_name="b")
    model.add_weighted_adapter(["a", "b"], [0.6, 0.3], "sum", combination_type="cat")
    model.set_adapter("sum")
    theirs = model.eval()(foreign.rows(12)).logits.detach()
    out = combine(paths, [0.6, 0.3], tmp_path / "sum")
    read = peft.PeftModel.from_pretrained(foreign.load(base)[0], out).eval()
    torch.testing.assert_close(read(foreign.rows(12)).logits.detach(), theirs, atol=2e-5, rtol=1e-4)


def test_what_cannot_be_added_up(base: Path, tmp_path: Path) -> None:
    good = tune(base, "good", A, 1)
    save_model(tmp_path / "other", transformer(seed=9, tied=False), foreign.CHARACTERS)
    for name, settings, more, says in (
        ("dora", LoRA(2, dora=True), {}, "DoRA"),
        ("saved", A, {"saved": ["norm"]}, "learned whole"),
        ("houlsby", Houlsby(2), {}, "no adapter of lora"),
        ("bits", A, {"weights": "nf4"}, "base_weights=fp32 and .* nf4"),
    ):
        with pytest.raises(UserError, match=says):
            combine([good, tune(base, name, settings, 1, **more)], [1.0, 1.0], tmp_path / "sum")
    with pytest.raises(UserError, match="two bases"):
        combine([good, tune(tmp_path / "other", "c", A, 1)], [1.0, 1.0], tmp_path / "sum")
    with pytest.raises(UserError, match="no adapter of lora"):
        combine([good, base], [1.0, 1.0], tmp_path / "sum")
