"""A family is one record: with it a model goes in and out, is sampled and is trained, without a
line in any other file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import fledge.hub.families as families
from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.errors import UserError
from fledge.hub.families import register_family
from fledge.hub.family import Family, ModelConfig, Weight
from fledge.hub.folder import load_model, load_reward_model, save_model
from fledge.models.language.heads import ScalarModel
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.text.tokenizer import train_tokenizer
from tests.engine.foreign import Mixer, MixerSizes
from tests.hub.arcee import ARCEE, SquaredTransformer
from tests.subjects import seeded, transformer

CHARACTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens


class MixerConfig(ModelConfig):
    vocab_size: int
    n_positions: int
    n_layer: int
    n_embd: int


def list_mixer(sizes: MixerSizes) -> Iterator[Weight]:
    """Its own names, two of ours in one of theirs nowhere."""
    n, t = sizes.width, sizes.context
    yield Weight("embedding.weight", (("wte.weight", (sizes.vocab_size, n)),))
    yield Weight("place.weight", (("wpe.weight", (t, n)),))
    for layer in range(sizes.layers):
        yield Weight(f"mixing.{layer}", ((f"h.{layer}.mix", (t, t)),))
        yield Weight(f"inside.{layer}.weight", ((f"h.{layer}.mlp.weight", (n, n)),))
        yield Weight(f"inside.{layer}.bias", ((f"h.{layer}.mlp.bias", (n,)),))


def is_mixer(network: Any) -> bool:
    return isinstance(network, Mixer)


MIXER = Family(
    model_type="mixer",
    name="Mixer",
    config=MixerConfig,
    read_config=lambda c, folder: MixerSizes(c.vocab_size, c.n_positions, c.n_layer, c.n_embd),
    write_config=lambda c: {
        "vocab_size": c.vocab_size, "n_positions": c.context, "n_layer": c.layers,
        "n_embd": c.width,
    },
    weights=list_mixer,
    build=Mixer,
    builds=is_mixer,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_known", dict(families._known))
    register_family(MIXER)
    register_family(ARCEE)


def squared() -> Transformer:
    network = SquaredTransformer(transformer(gated=False).config, generator=seeded(1))
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=seeded(len(weight))))
    return network


MAKERS = [squared, lambda: Mixer(MixerSizes())]


@pytest.mark.parametrize("make", MAKERS, ids=["arcee", "mixer"])
def test_a_network_of_a_users_family_goes_out_and_in(make: Any, tmp_path: Path) -> None:
    network = make()
    save_model(tmp_path / "model", network, CHARACTERS)
    loaded = load_model(tmp_path / "model")
    assert type(loaded.network) is type(network)
    assert loaded.network.config == network.config
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name
    scalar = ScalarModel(network)
    with torch.no_grad():
        scalar.head.linear.weight.normal_(generator=seeded(2))
    save_model(tmp_path / "reward", network, CHARACTERS, scalar=scalar)
    again, _ = load_reward_model(tmp_path / "reward")
    tokens = torch.randint(2, 11, (2, 7), generator=seeded(3))
    assert torch.equal(again(tokens), scalar(tokens))


@pytest.mark.parametrize("make", MAKERS, ids=["arcee", "mixer"])
def test_what_was_read_is_sampled_and_the_trainer_says_the_same(make: Any, tmp_path: Path) -> None:
    save_model(tmp_path / "model", make(), CHARACTERS)
    policy = load_model(tmp_path / "model").policy()
    rows = Engine(policy, slots=3).run([Request([2, 6 + i % 5], 9, sample=i) for i in range(7)])
    for row in rows:
        tokens = torch.tensor([row.prompt + row.tokens])
        exact = policy.log_prob(tokens, tokens[:, 1:])[0, len(row.prompt) - 1 :].detach()
        torch.testing.assert_close(torch.tensor(row.logp), exact, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_variant_is_what_transformers_makes_of_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network = squared()
    save_model(tmp_path / "model", network, CHARACTERS)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").float()
    assert type(theirs).__name__ == "ArceeForCausalLM"
    tokens = torch.randint(2, 11, (2, 12), generator=seeded(3))
    assert (network(tokens) @ network.unembedding.T - theirs(tokens).logits).abs().max() < 1e-4


def test_a_size_that_is_wrong_is_a_sentence_and_costs_nothing(tmp_path: Path) -> None:
    save_model(tmp_path / "model", Mixer(MixerSizes()), CHARACTERS)
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    for entry, message in (
        ({"n_layer": 10**9}, r"has no h\.2\.mix"),
        ({"n_embd": 17}, "config.json asks for"),
        ({"n_embd": "wide"}, "n_embd"),
        ({"model_type": "mixed"}, "'mixed': fledge reads .*mixer"),
        ({"model_type": 7}, "model_type"),
    ):
        path.write_text(json.dumps(config | entry))
        with pytest.raises(UserError, match=message):
            load_model(tmp_path / "model")
    path.write_text(json.dumps(config))
    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file(weights | {"extra": torch.ones(1)}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(UserError, match="has no place for"):
        load_model(tmp_path / "model")


def test_a_network_of_no_family_is_refused_and_not_written_as_another(tmp_path: Path) -> None:
    class Stranger(nn.Module):
        config = MixerSizes()

    class Wider(Transformer):
        """Without a record of its own it would be read back as a Llama without its bias."""

        def __init__(self) -> None:
            super().__init__(transformer().config)
            self.extra = nn.Parameter(torch.ones(3))

    for network, message in ((Stranger(), "Stranger is of no family"), (Wider(), "Wider is of no")):
        with pytest.raises(UserError, match=message):
            save_model(tmp_path / "model", network, CHARACTERS)
        assert not (tmp_path / "model").exists()


def test_the_three_families_are_told_apart_by_their_networks(tmp_path: Path) -> None:
    kinds: list[tuple[dict[str, Any], str]] = [
        ({}, "llama"), ({"window": 5}, "mistral"), ({"qk_norm": True}, "qwen3"),
    ]  # fmt: skip
    for sizes, model_type in kinds:
        save_model(tmp_path / model_type, transformer(**sizes), CHARACTERS)
        said = json.loads((tmp_path / model_type / "config.json").read_text())
        assert said["model_type"] == model_type
        assert isinstance(load_model(tmp_path / model_type).policy(), TokenPolicy)
