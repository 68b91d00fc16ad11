"""Bottleneck adapters in a folder of fledge's own: they come back as they went, in every family,
and what is another model's is refused.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.adapter_folder import CONFIG, WEIGHTS
from fledge.hub.folder import load_model, load_reward_model, save_model
from fledge.log_prob import cap_logits
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.heads import ScalarModel
from fledge.tensor_file import write_tensors
from tests.hub import foreign
from tests.subjects import seeded, transformer

LAST = {family: (family, options) for family, options in foreign.VARIANTS}
FAMILIES = list(LAST.values())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tmp_path / "base", transformer(), foreign.CHARACTERS)
    return tmp_path / "base"


def logits(network: Any) -> Tensor:
    with torch.no_grad():
        tokens = foreign.rows(12)
        return network(tokens, network.document_mask(tokens)) @ network.unembedding.T


def move(network: Any) -> None:
    """As if it had learned."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=seeded(5)))


@pytest.mark.parametrize("variant", FAMILIES, ids=foreign.list_ids(FAMILIES))
def test_it_changes_nothing_and_comes_back(variant: tuple[str, Any], tmp_path: Path) -> None:
    base = foreign.save(foreign.make(*variant), tmp_path / "base")
    before = logits(load_model(base).network)
    model = load_model(base).adapt(Houlsby(3), generator=seeded(1))
    torch.testing.assert_close(logits(model.network), before)
    learns = sum(p.numel() for p in model.network.parameters() if p.requires_grad)
    c = model.network.config
    assert learns == c.layers * 2 * (2 * 3 * c.width + 3 + c.width)  # the paper's 2md + d + m
    move(model.network)
    moved = logits(model.network)
    assert (moved - before).abs().max() > 0.05
    model.save(tmp_path / "adapter")
    torch.testing.assert_close(logits(load_model(tmp_path / "adapter").network), moved)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_it_says_what_transformers_does_with_the_file_s_layers(family: str, tmp_path: Path) -> None:
    """On what attention and MLP return there, before the norm that some families have next."""
    base = foreign.save(foreign.make(family, dict(foreign.VARIANTS)[family]), tmp_path / "base")
    model = load_model(base).adapt(Houlsby(3), generator=seeded(1))
    move(model.network)
    model.save(tmp_path / "adapter")
    held = load_file(tmp_path / "adapter" / WEIGHTS)
    theirs, _ = foreign.load(base)
    heard = 0

    def adapt(place: str, output: Any) -> Any:
        nonlocal heard
        heard += 1
        z = output[0] if isinstance(output, tuple) else output
        low = z @ held[f"{place}.down.weight"].T + held[f"{place}.down.bias"]
        inner = 0.5 * low * (1 + torch.erf(low / 2**0.5))
        z = z + inner @ held[f"{place}.up.weight"].T + held[f"{place}.up.bias"]
        return (z, *output[1:]) if isinstance(output, tuple) else z

    for name, module in theirs.named_modules():
        if part := re.search(r"\.(\d+)\.(self_attn|attn|attention|mlp)$", name):
            kind = "mlp" if part[2] == "mlp" else "attention"
            module.register_forward_hook(
                lambda _, __, y, where=f"blocks.{part[1]}.{kind}_out_norm": adapt(where, y)
            )
    said = theirs(foreign.rows(12)).logits.detach()
    assert heard == 2 * model.network.config.layers
    with torch.no_grad():
        ours = model.network(foreign.rows(12)) @ model.network.unembedding.T
    ours = cap_logits(ours, model.network.logit_cap)
    torch.testing.assert_close(ours, said, atol=1e-4, rtol=1e-3)


def test_a_reward_model_goes_out_and_in(base: Path, tmp_path: Path) -> None:
    model = load_model(base).adapt(Houlsby(3), generator=seeded(1))
    scalar = ScalarModel(model.network)
    move(scalar)
    model.save(tmp_path / "reward", scalar)
    again, _ = load_reward_model(tmp_path / "reward")
    torch.testing.assert_close(again(foreign.rows(12)), scalar(foreign.rows(12)))


def test_peft_says_that_it_is_none_of_its_own(base: Path, tmp_path: Path) -> None:
    peft: Any = pytest.importorskip("peft")
    load_model(base).adapt(Houlsby(3), generator=seeded(1)).save(tmp_path / "adapter")
    with pytest.raises(Exception, match="peft_type"):
        peft.PeftModel.from_pretrained(foreign.load(base)[0], tmp_path / "adapter")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": 4}, "another model's"),
        ({"width": 0}, "width"),
        ({"adapter_type": "parallel"}, "peft_type=None"),
        ({"base_model_name_or_path": "/nowhere/at/all"}, "not there"),
    ],
)
def test_another_is_refused(base: Path, tmp_path: Path, change: Any, says: str) -> None:
    folder = tmp_path / "a" / "adapter"
    load_model(base).adapt(Houlsby(3), generator=seeded(1)).save(folder)
    (folder / "fledge_adapter.json").unlink()
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=says):
        load_model(folder)


def test_tensors_too_few_or_too_many(base: Path, tmp_path: Path) -> None:
    load_model(base).adapt(Houlsby(3), generator=seeded(1)).save(tmp_path / "adapter")
    file = tmp_path / "adapter" / WEIGHTS
    held = load_file(file)
    some = min(held)
    for tensors, says in (
        ({name: tensor for name, tensor in held.items() if name != some}, f"lacks {some}"),
        (held | {"more": torch.ones(1)}, "has more"),
    ):
        write_tensors(file, tensors, {"format": "pt"})
        with pytest.raises(UserError, match=says):
            load_model(tmp_path / "adapter")


def test_it_cannot_be_merged(base: Path) -> None:
    model = load_model(base).adapt(Houlsby(3), generator=seeded(1))
    with pytest.raises(UserError, match="layers of its own, which cannot be merged"):
        model.merged()
