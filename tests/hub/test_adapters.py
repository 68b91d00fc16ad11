"""Adapters in PEFT's layout, against PEFT itself: theirs is read, ours is read there, with equal
logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.adapter_folder import CONFIG, WEIGHTS
from fledge.hub.folder import load_model, load_reward_model, save_model
from fledge.models.language.adapters import LoRA, list_adapters, merge_adapters
from fledge.models.language.heads import ScalarModel
from fledge.text.tokenizer import train_tokenizer
from tests.hub import foreign
from tests.subjects import seeded, transformer

peft: Any = pytest.importorskip("peft")
transformers: Any = pytest.importorskip("transformers")

CHARACTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens
KINDS = [LoRA(4, 8.0), LoRA(4, 8.0, stabilised=True), LoRA(4, 8.0, dora=True)]


def tokens() -> Tensor:
    return torch.randint(6, 11, (2, 12), generator=seeded(3))


def logits(network: Any) -> Tensor:
    with torch.no_grad():
        return network(tokens()) @ network.unembedding.T


def move(network: Any) -> None:
    """As if it had learned."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(5)))


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_model(tmp_path / "base", transformer(tied=request.param), CHARACTERS)
    return tmp_path / "base"


def with_adapter(base: Path, settings: LoRA = KINDS[0], **more: Any) -> Any:
    return load_model(base).adapt(settings, generator=seeded(1), **more)


@pytest.mark.parametrize("settings", KINDS, ids=["lora", "stabilised", "dora"])
def test_a_fresh_adapter_changes_nothing(base: Path, settings: LoRA) -> None:
    before = logits(load_model(base).network)
    torch.testing.assert_close(logits(with_adapter(base, settings).network), before)


@pytest.mark.parametrize("saved", [(), ("norm",), ("embed_tokens",)], ids=str)
@pytest.mark.parametrize("settings", KINDS, ids=["lora", "stabilised", "dora"])
def test_peft_reads_ours_with_equal_logits(
    base: Path, tmp_path: Path, settings: LoRA, saved: tuple[str, ...]
) -> None:
    model = with_adapter(base, settings, saved=saved)
    move(model.network)
    ours = logits(model.network)
    assert (ours - logits(load_model(base).network)).abs().max() > 0.1  # it says something else
    model.save(tmp_path / "adapter")
    torch.testing.assert_close(logits(load_model(tmp_path / "adapter").network), ours)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(base)
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    torch.testing.assert_close(theirs(tokens()).logits.detach(), ours, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("saved", [None, ["embed_tokens"], ["lm_head"], ["norm"]], ids=str)
@pytest.mark.parametrize(
    "patterns",
    [{}, {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"layers.0.*up_proj": 5}}],
    ids=["plain", "patterns"],
)
@pytest.mark.parametrize("dora", [False, True])
def test_ours_is_what_peft_says(
    base: Path, tmp_path: Path, saved: list[str] | None, patterns: dict[str, Any], dora: bool
) -> None:
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "up_proj", "down_proj"], use_dora=dora,
        modules_to_save=saved, task_type="CAUSAL_LM", **patterns,
    )  # fmt: skip
    model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), config)
    move(model)
    theirs = model.eval()(tokens()).logits.detach()
    model.save_pretrained(tmp_path / "adapter")
    ours = logits(load_model(tmp_path / "adapter").network)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", KINDS, ids=["lora", "stabilised", "dora"])
def test_merged_is_unmerged(base: Path, tmp_path: Path, settings: LoRA) -> None:
    model = with_adapter(base, settings)
    move(model.network)
    unmerged = logits(model.network)
    model.merged().save(tmp_path / "merged")
    torch.testing.assert_close(logits(model.network), unmerged, atol=2e-5, rtol=1e-4)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    said = theirs(tokens()).logits.detach()
    torch.testing.assert_close(said, unmerged, atol=2e-5, rtol=1e-4)


def test_an_adapter_on_an_adapter(base: Path, tmp_path: Path) -> None:
    first = with_adapter(base)
    move(first.network)
    first.save(tmp_path / "first")
    second = load_model(tmp_path / "first").adapt(LoRA(2, 4.0), generator=seeded(2))
    torch.testing.assert_close(logits(second.network), logits(first.network), atol=2e-5, rtol=1e-4)
    move(second.network)
    second.save(tmp_path / "second")
    again = logits(load_model(tmp_path / "second").network)
    torch.testing.assert_close(again, logits(second.network), atol=2e-5, rtol=1e-4)


def test_the_number_that_learns_is_the_formula_s(base: Path) -> None:
    model = with_adapter(base, LoRA(3))
    c = model.network.config
    q, kv, f = c.heads * c.head_width, c.kv_heads * c.head_width, c.mlp_width
    shapes = [(q, c.width), (kv, c.width), (kv, c.width), (c.width, q), (f, c.width), (f, c.width),
              (c.width, f)]  # fmt: skip
    learns = sum(p.numel() for p in model.network.parameters() if p.requires_grad)
    assert learns == c.layers * sum(3 * (out + into) for out, into in shapes)


def test_only_the_named_modules(base: Path) -> None:
    model = with_adapter(base, modules=["v_proj", "down_proj"])
    assert {a.target.name.rpartition(".")[2] for a in list_adapters(model.network)} == {
        "v_proj",
        "down_proj",
    }


def test_a_reward_model_goes_out_and_in(base: Path, tmp_path: Path) -> None:
    model = with_adapter(base)
    scalar = ScalarModel(model.network)
    move(scalar)
    model.save(tmp_path / "reward", scalar, fledge_reward={"mean": 1.0, "std": 2.0})
    again, loaded = load_reward_model(tmp_path / "reward")
    torch.testing.assert_close(again(tokens()), scalar(tokens()))
    assert loaded.config["fledge_reward"] == {"mean": 1.0, "std": 2.0}
    with pytest.raises(UserError, match="reward model"):
        load_model(tmp_path / "reward")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "reward").eval()
    assert theirs.config.get_text_config().pad_token_id is not None
    last = scalar(tokens())[:, -1]  # no row is padded
    said = theirs(tokens()).logits.squeeze(1).detach()
    torch.testing.assert_close(said, last.detach(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type=IA3"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights=pissa_niter_4"),
        ({"bias": "all"}, "bias=all"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
        ({"rank_pattern": {"(": 3}}, "no regular expression"),
        ({"r": 0}, "r"),
        ({"base_model_name_or_path": "/nowhere/at/all"}, "not there"),
    ],
)
def test_what_is_not_computed_is_refused(
    base: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with_adapter(base).save(tmp_path / "a" / "adapter")
    folder = tmp_path / "a" / "adapter"
    (folder / "fledge_adapter.json").unlink()
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=says):
        load_model(folder)


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    model = with_adapter(base)
    model.save(tmp_path / "adapter")
    save_model(base, transformer(tied=model.network.config.tied, seed=9), CHARACTERS)
    with pytest.raises(UserError, match="another hash"):
        load_model(tmp_path / "adapter")
    (tmp_path / "adapter" / "fledge_adapter.json").unlink()
    save_model(base, transformer(width=64, heads=4), CHARACTERS)
    with pytest.raises(UserError, match="another model's"):
        load_model(tmp_path / "adapter")


def test_a_damaged_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    with_adapter(base).save(tmp_path / "adapter")
    file = tmp_path / "adapter" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged"):
        load_model(tmp_path / "adapter")


@pytest.mark.parametrize("saved", ["o_proj", "down_proj"])
def test_a_matrix_that_learns_whole(base: Path, tmp_path: Path, saved: str) -> None:
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj"], modules_to_save=[saved], task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), config)
    move(model)
    theirs = model.eval()(tokens()).logits.detach()
    model.save_pretrained(tmp_path / "adapter")
    ours = load_model(tmp_path / "adapter")
    torch.testing.assert_close(logits(ours.network), theirs, atol=2e-5, rtol=1e-4)
    learns = [name for name, p in ours.network.named_parameters() if p.requires_grad]
    assert any(name.endswith(("out.weight", "down.weight")) for name in learns)
    mine = with_adapter(base, saved=[saved])
    move(mine.network)
    mine.save(tmp_path / "mine")
    again = logits(load_model(tmp_path / "mine").network)
    torch.testing.assert_close(again, logits(mine.network))


def test_every_matrix_of_gpt2(tmp_path: Path) -> None:
    sizes = {"vocab_size": 11, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}
    made = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=1))
    made.save_pretrained(tmp_path / "base")
    CHARACTERS.save(tmp_path / "base")
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = peft.get_peft_model(again, config)
    move(model)
    theirs = model.eval()(tokens()).logits.detach()
    model.save_pretrained(tmp_path / "adapter")
    ours = load_model(tmp_path / "adapter").network
    torch.testing.assert_close(logits(ours), theirs, atol=2e-5, rtol=1e-4)
    names = {a.target.name.rpartition("h.0.")[2] for a in list_adapters(ours)}
    assert {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"} <= names
    mine = load_model(tmp_path / "base").adapt(LoRA(2), saved=["attn.c_proj"])
    move(mine.network)
    mine.save(tmp_path / "mine")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    read = peft.PeftModel.from_pretrained(base, tmp_path / "mine").eval()
    said = read(tokens()).logits.detach()
    torch.testing.assert_close(said, logits(mine.network), atol=2e-5, rtol=1e-4)


def test_a_loaded_adapter_drops_nothing_out(base: Path, tmp_path: Path) -> None:
    model = with_adapter(base, LoRA(4, 8.0, dropout=0.5))
    move(model.network)
    model.save(tmp_path / "adapter")
    again = load_model(tmp_path / "adapter").network
    assert torch.equal(logits(again), logits(again))
    assert torch.equal(logits(model.network), logits(again))


def test_base_and_adapter_may_be_moved_together(base: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    base.rename(tmp_path / "here" / "base")
    model = with_adapter(tmp_path / "here" / "base")
    model.save(tmp_path / "here" / "adapter")
    (tmp_path / "here").rename(tmp_path / "there")
    again = load_model(tmp_path / "there" / "adapter").network
    torch.testing.assert_close(logits(again), logits(model.network))


def test_modules_that_are_none(base: Path) -> None:
    with pytest.raises(UserError, match="q_prj"):
        with_adapter(base, modules=["q_prj"])
    with pytest.raises(UserError, match="embedding"):
        with_adapter(base, saved=["embedding"])


def test_merging_makes_all_of_it_learn(base: Path) -> None:
    model = with_adapter(base)
    merge_adapters(model.network)
    assert all(parameter.requires_grad for parameter in model.network.parameters())


def test_pissa_s_adapters_belong_to_another_base_than_they_say(base: Path, tmp_path: Path) -> None:
    """PEFT itself reads them wrong on a fresh base, which still has what they took out."""
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj"], init_lora_weights="pissa_niter_4", task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), config)
    move(model)
    said = model.eval()(tokens()).logits.detach()
    model.save_pretrained(tmp_path / "adapter")
    fresh = transformers.AutoModelForCausalLM.from_pretrained(base)
    read = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
    assert (read(tokens()).logits - said).abs().max() > 0.1
    with pytest.raises(UserError, match="init_lora_weights=pissa_niter_4, which fledge does not"):
        load_model(tmp_path / "adapter")


@pytest.mark.filterwarnings("ignore:The following:RuntimeWarning")  # of PEFT
def test_adapters_on_experts_are_refused(tmp_path: Path) -> None:
    """PEFT's all-linear names a mixture's experts by `target_parameters`."""
    folder = foreign.save(
        foreign.make("mixtral", dict(foreign.VARIANTS)["mixtral"]), tmp_path / "m"
    )
    theirs, _ = foreign.load(folder)
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(theirs, config)
    model.save_pretrained(tmp_path / "adapter")
    said = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    held = load_file(tmp_path / "adapter" / WEIGHTS)
    if said.get("target_parameters") or any("experts" in name for name in held):
        with pytest.raises(UserError, match="merge the adapter into its base with PEFT"):
            load_model(tmp_path / "adapter")
    else:
        move(model)
        model.save_pretrained(tmp_path / "adapter")
        assert list_adapters(load_model(tmp_path / "adapter").network)


def test_an_embedding_s_low_rank_is_refused(base: Path, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="low-rank matrices of an embedding"):
        load_model(tmp_path / "adapter")


def test_what_a_tied_embedding_has_learned_is_merged_once(tmp_path: Path) -> None:
    save_model(tmp_path / "base", transformer(tied=True), CHARACTERS)
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"],
        ensure_weight_tying=True, task_type="CAUSAL_LM",
    )  # fmt: skip
    made = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = peft.get_peft_model(made, config)
    move(model)
    said = model.eval()(tokens()).logits.detach()
    model.save_pretrained(tmp_path / "adapter")
    learned = load_file(tmp_path / "adapter" / WEIGHTS)[
        "base_model.model.model.embed_tokens.weight"
    ]
    ours = load_model(tmp_path / "adapter").merged()
    assert torch.equal(ours.network.embedding.weight, learned)
    assert ours.network.config.tied
    torch.testing.assert_close(logits(ours.network), said, atol=2e-5, rtol=1e-4)
    ours.save(tmp_path / "merged")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert again.lm_head.weight is again.model.embed_tokens.weight
    torch.testing.assert_close(again(tokens()).logits.detach(), said, atol=2e-5, rtol=1e-4)
