"""Prefix and prompt tuning in PEFT's layout, against PEFT itself: theirs is read, ours is read
there, with equal logits, in every family; and both go on in training, engine and reward models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.adapter_folder import CONFIG, WEIGHTS
from fledge.hub.families import family_of
from fledge.hub.folder import load_model, load_reward_model, save_model
from fledge.log_prob import Decoding, cap_logits
from fledge.models.language.adapters import LoRA
from fledge.models.language.heads import ScalarModel
from fledge.models.language.virtual_tokens import Virtual
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.tensor_file import write_tensors
from tests.hub import foreign
from tests.subjects import seeded, transformer

peft: Any = pytest.importorskip("peft")
transformers: Any = pytest.importorskip("transformers")

LAST = {family: (family, dict(options)) for family, options in foreign.VARIANTS}
LAST["gpt_neox"][1]["num_key_value_heads"] = 4  # which PEFT reads where it is, and NeoX never
FAMILIES = [*LAST.values(), ("gemma2", {"head_dim": 6, "sliding_window": 5})]
N = 6  # virtual tokens: more than a window holds in some


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tmp_path / "base", transformer(), foreign.CHARACTERS)
    return tmp_path / "base"


def rows(length: int = 12) -> Tensor:
    """Without begin tokens: PEFT knows no border between documents."""
    return torch.randint(3, 11, (2, length), generator=seeded(length))


def logits(network: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        raw = network(tokens, network.document_mask(tokens)) @ network.unembedding.T
    return cap_logits(raw, network.logit_cap)


def move(parameters: Any) -> None:
    """As if they had learned."""
    with torch.no_grad():
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(5)))


def theirs(base: Path, config: Any) -> Any:
    model, _ = foreign.load(base)
    return peft.get_peft_model(model, config).eval()


def ask(model: Any) -> Tensor:
    """Of the real tokens alone: of prompt tuning PEFT gives the virtual ones' logits, too."""
    return model(input_ids=rows()).logits.detach()[:, -rows().shape[1] :]


def prefix(**more: Any) -> Any:
    return peft.PrefixTuningConfig(num_virtual_tokens=N, task_type="CAUSAL_LM", **more)


def prompt(**more: Any) -> Any:
    return peft.PromptTuningConfig(num_virtual_tokens=N, task_type="CAUSAL_LM", **more)


@pytest.mark.parametrize("make", [prefix, prompt], ids=["prefix", "prompt"])
@pytest.mark.parametrize("variant", FAMILIES, ids=foreign.list_ids(FAMILIES))
def test_both_ways_in_every_family(variant: tuple[str, Any], make: Any, tmp_path: Path) -> None:
    base = foreign.save(foreign.make(*variant), tmp_path / "base")
    model = theirs(base, make())
    move(model.prompt_encoder.parameters())
    said = ask(model)
    plain = ask(foreign.load(base)[0])
    assert (said - plain).abs().max() > 0.05  # the virtual tokens are heard
    model.save_pretrained(tmp_path / "adapter")
    ours = load_model(tmp_path / "adapter")
    torch.testing.assert_close(logits(ours.network, rows()), said, atol=1e-4, rtol=1e-3)
    assert family_of(ours.network).model_type == variant[0]
    move(ours.network.parameters())
    ours.save(tmp_path / "mine")
    again = peft.PeftModel.from_pretrained(foreign.load(base)[0], tmp_path / "mine").eval()
    said = ask(again)
    torch.testing.assert_close(logits(ours.network, rows()), said, atol=1e-4, rtol=1e-3)


def test_a_prefix_made_by_a_projection_is_read_as_it_came_out(base: Path, tmp_path: Path) -> None:
    model = theirs(base, prefix(prefix_projection=True, encoder_hidden_size=7))
    move(model.prompt_encoder.parameters())
    said = ask(model)
    model.save_pretrained(tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / CONFIG).read_text())["prefix_projection"]
    ours = load_model(tmp_path / "adapter").network
    torch.testing.assert_close(logits(ours, rows()), said, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_what_peft_generates_is_what_our_engine_says(kind: Any, base: Path, tmp_path: Path) -> None:
    model = load_model(base).adapt(Virtual(kind, N), generator=seeded(1))
    move(model.network.parameters())
    model.save(tmp_path / "adapter")
    peers = peft.PeftModel.from_pretrained(foreign.load(base)[0], tmp_path / "adapter").eval()
    said = rows(5)[:1]
    for _ in range(8):  # by whole rows: PEFT's `generate` (0.21) does not say what its forward does
        following = peers(input_ids=said).logits[:, -1:].argmax(-1)
        said = torch.cat([said, following], 1)
    policy = TokenPolicy(model.network, rule=Decoding(temperature=0))
    (completion,) = generate(policy, rows(5)[:1].tolist(), max_new_tokens=8, stop=-1)
    assert completion.tokens == said[0, -8:].tolist()


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_a_reward_model_goes_out_and_in(kind: Any, base: Path, tmp_path: Path) -> None:
    model = load_model(base).adapt(Virtual(kind, N), generator=seeded(1))
    scalar = ScalarModel(model.network)
    move(scalar.parameters())
    model.save(tmp_path / "reward", scalar)
    again, _ = load_reward_model(tmp_path / "reward")
    assert torch.equal(again(rows()), scalar(rows()))
    if kind == "prefix":  # of which PEFT (0.21) says that no classifier takes one
        return
    judge = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    judge = peft.PeftModel.from_pretrained(judge, tmp_path / "reward").eval()
    said = judge(input_ids=rows()).logits.squeeze(1).detach()
    torch.testing.assert_close(said, scalar(rows())[:, -1].detach(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("weights", ["bf16", "int8", "nf4"])
def test_a_base_in_fewer_bits_is_held_so_again(weights: Any, base: Path, tmp_path: Path) -> None:
    model = load_model(base).adapt(Virtual("prompt", N), weights=weights, generator=seeded(1))
    move(model.network.parameters())
    model.save(tmp_path / "adapter")
    again = load_model(tmp_path / "adapter")
    assert again.base is not None
    assert again.base.weights == weights
    assert torch.equal(logits(again.network, rows()), logits(model.network, rows()))


def test_it_stays_as_it_is(base: Path) -> None:
    model = load_model(base).adapt(Virtual("prefix", N), generator=seeded(1))
    with pytest.raises(UserError, match="virtual tokens of its own, which cannot be merged"):
        model.merged()
    with pytest.raises(UserError, match="cannot be merged"):
        model.adapt(LoRA(2))


@pytest.mark.parametrize("text", ["", "abc"])
@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_it_starts_as_a_text_before_the_row(kind: Any, text: str, base: Path) -> None:
    """With the text's tokens, repeated to their number, in the row itself."""
    model = load_model(base)
    number = 5
    drawn = torch.randint(8, (number,), generator=seeded(1))
    sayable = [i for i in range(11) if bool(model.policy().allowed[i])]  # pyright: ignore[reportOptionalSubscript]
    own = model.tokenizer.encode(text) or [sayable[i % len(sayable)] for i in drawn.tolist()]
    before = torch.tensor([own[i % len(own)] for i in range(number)]).expand(2, -1)
    whole = torch.cat([before, rows()], 1)
    with torch.no_grad():
        wanted = (model.network(whole) @ model.network.unembedding.T)[:, number:]
    adapted = model.adapt(Virtual(kind, number, text), generator=seeded(1))
    if text:
        said = logits(adapted.network, rows())
        torch.testing.assert_close(said, wanted, atol=2e-5, rtol=1e-4)
    embedding = adapted.network.embedding.weight
    if kind == "prompt":
        for token in adapted.network.virtual.embedding:
            assert bool((embedding == token).all(1)[sayable].any())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peft_type": "P_TUNING"}, "peft_type=P_TUNING"),
        ({"num_transformer_submodules": 2}, "encoder and decoder"),
        ({"num_virtual_tokens": N + 1}, "another model's"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens"),
        ({"base_model_name_or_path": "/nowhere/at/all"}, "not there"),
    ],
)
@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_what_is_not_computed_is_refused(
    kind: Any, base: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    folder = tmp_path / "a" / "adapter"
    load_model(base).adapt(Virtual(kind, N), generator=seeded(1)).save(folder)
    (folder / "fledge_adapter.json").unlink()
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=says):
        load_model(folder)


def test_other_tensors_are_refused(base: Path, tmp_path: Path) -> None:
    load_model(base).adapt(Virtual("prompt", N), generator=seeded(1)).save(tmp_path / "adapter")
    file = tmp_path / "adapter" / WEIGHTS
    for tensors, says in (
        ({"base_model.other": torch.ones(1)}, "holds no prompt_embeddings"),
        ({"prompt_embeddings": torch.ones(N, 16), "more": torch.ones(1)}, "more beside"),
        ({"prompt_embeddings": torch.ones(N, 17)}, "another model's"),
    ):
        write_tensors(file, tensors, {"format": "pt"})
        with pytest.raises(UserError, match=says):
            load_model(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("settings", "says"),
    [(Virtual("prefix", 32), "leaves no room"), (Virtual("prompt", 4, "\u2603"), "token")],
)
def test_what_cannot_be_started(settings: Virtual, says: str, base: Path) -> None:
    with pytest.raises(UserError, match=says):
        load_model(base).adapt(settings, generator=seeded(1))
