"""A model folder holds the same network for fledge and for `transformers`, and a folder that does
not is refused in a sentence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fledge.errors import UserError
from fledge.hub.folder import actions, find_model, load_model, load_reward_model, save_model
from fledge.models.language.heads import ScalarModel
from fledge.models.language.transformer import Transformer
from fledge.text.tokenizer import train_tokenizer
from fledge.trajectories import from_rows
from tests.subjects import seeded, transformer

CHARACTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens with the special ones
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("Llama", {"kv_heads": 4}),
    ("Llama", {"kv_heads": 2, "tied": False, "rope_theta": 500.0, "norm_eps": 1e-3}),
    ("Llama", {"kv_heads": 1, "head_width": 6}),
    ("Qwen3", {"kv_heads": 2, "qk_norm": True}),
    ("Qwen3", {"kv_heads": 4, "qk_norm": True, "tied": False, "head_width": 10}),
]


def rows(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 11, (4, 32), generator=seeded(seed))


def logits(network: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    return network(tokens) @ network.unembedding.T


@pytest.mark.parametrize(("family", "sizes"), KINDS, ids=str)
@torch.no_grad()
def test_logits_equal_those_of_transformers(
    family: str, sizes: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    network = transformer(**sizes)
    save_model(tmp_path / "model", network, CHARACTERS)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert type(theirs).__name__ == f"{family}ForCausalLM"
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (logits(network, rows()) - theirs(rows()).logits).abs().max() < 1e-4
    assert (logits(network, rows())).std() > 0.1


@pytest.mark.parametrize(("family", "sizes"), KINDS, ids=str)
@torch.no_grad()
def test_what_transformers_saves_is_read(
    family: str, sizes: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    save_model(tmp_path / "ours", transformer(**sizes), CHARACTERS)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    CHARACTERS.save(tmp_path / "theirs")
    network = load_model(tmp_path / "theirs").network
    assert (logits(network, rows()) - theirs(rows()).logits).abs().max() < 1e-4


@pytest.mark.parametrize(("family", "sizes"), KINDS, ids=str)
@torch.no_grad()
def test_a_saved_model_is_read_back_with_the_same_bits(
    family: str, sizes: dict[str, Any], tmp_path: Path
) -> None:
    network = transformer(**sizes)
    save_model(tmp_path / "model", network, CHARACTERS, fledge_note="kept")
    loaded = load_model(tmp_path)  # a run folder: its model/ is meant
    assert loaded.network.config == network.config
    assert loaded.network.border == CHARACTERS.begin
    assert loaded.config["fledge_note"] == "kept"
    assert loaded.tokenizer.fingerprint() == CHARACTERS.fingerprint()
    assert torch.equal(loaded.network(rows()), network(rows()))


@pytest.mark.parametrize(("family", "sizes"), [KINDS[1], KINDS[3]], ids=str)
@torch.no_grad()
def test_a_reward_model_scores_the_same_in_transformers(
    family: str, sizes: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    model = ScalarModel(transformer(**sizes))
    torch.nn.init.normal_(model.head.linear.weight, generator=seeded(1))
    save_model(tmp_path / "model", model.network, CHARACTERS, scalar=model)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert type(theirs).__name__ == f"{family}ForSequenceClassification"
    texts = [[1, 6, 7, 2], [1, 8, 9, 10, 6, 7, 2], [1, 2]]
    batch = from_rows(texts, [[False] + [True] * (len(text) - 1) for text in texts], CHARACTERS.pad)
    ours = model.score(batch.obs, batch.last())
    assert (ours - theirs(batch.obs).logits[:, 0]).abs().max() < 1e-4
    again, _ = load_reward_model(tmp_path / "model")
    assert torch.equal(again.score(batch.obs, batch.last()), ours)


def test_the_actions_are_text_and_the_stop_token() -> None:
    allowed = actions(CHARACTERS)
    assert [i for i, ok in enumerate(allowed.tolist()) if not ok] == sorted(
        [CHARACTERS.pad, CHARACTERS.begin, CHARACTERS.system, CHARACTERS.user, CHARACTERS.assistant]
    )


def test_a_second_save_replaces_the_first_whole(tmp_path: Path) -> None:
    save_model(tmp_path / "model", transformer(0), CHARACTERS, first=True)
    second = transformer(1)
    save_model(tmp_path / "model", second, CHARACTERS)
    loaded = load_model(tmp_path / "model")
    assert "first" not in loaded.config
    assert torch.equal(loaded.network(rows()), second(rows()))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", transformer(), CHARACTERS)
    return tmp_path / "model"


def test_a_plain_model_is_not_a_reward_model(folder: Path) -> None:
    with pytest.raises(UserError, match="not a reward model"):
        load_reward_model(folder)


def test_a_missing_path_and_a_folder_without_a_model_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        find_model(tmp_path / "nothing")
    with pytest.raises(UserError, match="fledge resume"):
        find_model(tmp_path)


def change_config(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | entries
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model_type": "rwkv"}, "rwkv"),
        ({"rope_parameters": {"rope_type": "spiral", "factor": 2.0}}, "by 'spiral': fledge reads"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "without a factor"),
        ({"hidden_act": "relu6"}, "hidden_act=relu6: fledge reads models with hidden_act of silu"),
        ({"hidden_size": 32}, "config.json asks for"),
        ({"num_hidden_layers": 3}, "model.layers.2"),
        ({"num_key_value_heads": 4}, "config.json asks for"),
    ],
)
def test_a_config_that_does_not_describe_the_weights_is_refused(
    folder: Path, entries: dict[str, Any], message: str
) -> None:
    change_config(folder, **entries)
    with pytest.raises(UserError, match=message):
        load_model(folder)


def test_a_config_that_is_not_whole_is_refused(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"config\.json"):
        load_model(folder)


def test_a_config_without_a_size_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="hidden_size"):
        load_model(folder)


def test_features_of_other_models_are_not_silently_dropped(folder: Path) -> None:
    """Biases change every logit: a checkpoint that has them is refused, not read without."""
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.ones(16)
    save_file(weights, folder / "model.safetensors")
    change_config(folder, attention_bias=True)
    with pytest.raises(UserError, match="bias"):
        load_model(folder)


def test_truncated_weights_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        load_model(folder)
