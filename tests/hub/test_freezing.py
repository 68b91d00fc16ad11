"""What a pattern freezes is what carries such a name in the files that `transformers` writes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fledge.errors import UserError
from fledge.hub.folder import load_model
from fledge.hub.freezing import freeze_weights
from tests.hub.foreign import CHARACTERS, COMMON, GPT2

transformers = pytest.importorskip("transformers")

# model_type, its sizes, patterns, and the same of the whole names in the file
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("llama", COMMON, ["embed*", "layers.0.*"], ["model.embed*", "model.layers.0.*"]),
    ("llama", COMMON, ["model.layers.?.mlp.*", "lm_head*"], ["model.layers.?.mlp.*", "lm_head*"]),
    ("gpt2", GPT2, ["h.[01].*", "wpe*"], ["transformer.h.[01].*", "transformer.wpe*"]),
    ("qwen3_moe", COMMON | {"num_experts": 2, "moe_intermediate_size": 8,
      "num_experts_per_tok": 1}, ["*.experts.*"],
     ["*.experts.*"]),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
def test_one_step_moves_all_but_what_fits(case: int, tmp_path: Path) -> None:
    kind, sizes, patterns, whole = CASES[case]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **sizes)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    CHARACTERS.save(tmp_path / "base")
    loaded = load_model(tmp_path / "base")
    loaded.save(tmp_path / "before")
    freeze_weights(loaded.network, patterns, "freeze")
    for parameter in loaded.network.parameters():
        if parameter.requires_grad:
            parameter.data += 1
    loaded.save(tmp_path / "after")
    before, after = (
        load_file(tmp_path / name / "model.safetensors") for name in ("before", "after")
    )
    same = {name for name in before if before[name].equal(after[name])}
    assert same == {name for name in before if any(fnmatchcase(name, p) for p in whole)}
    assert 0 < len(same) < len(before)


def test_a_pattern_that_fits_nothing_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("llama", **COMMON)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    CHARACTERS.save(tmp_path / "base")
    network = load_model(tmp_path / "base").network
    for patterns, said in (
        (["embed*", "layer.0.*"], "'layer.0.\\*', which fits no weight of this model"),
        (["*.k_proj.*"], "k_proj.weight without .*q_proj.weight, .*v_proj.weight"),
        (["*"], "nothing would learn"),
    ):
        with pytest.raises(UserError, match=said):
            freeze_weights(network, patterns, "freeze")
        assert all(p.requires_grad for p in network.parameters())
