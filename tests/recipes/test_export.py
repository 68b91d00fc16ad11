"""`fledge export`: what it writes opens where it is meant to, and says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fledge.errors import UserError
from fledge.hub.folder import load_model, load_reward_model, save_model
from fledge.models.language.adapters import LoRA
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.heads import ScalarModel
from fledge.models.language.virtual_tokens import Virtual
from fledge.recipes.look.export import ExportConfig, export
from fledge.runs.show import Show
from fledge.text.tokenizer import train_tokenizer
from tests.subjects import seeded, transformer

TOKENS = train_tokenizer("bpe", ["the cat sat on the mat " * 9], 280)


def logits(network: Any) -> torch.Tensor:
    tokens = torch.randint(6, TOKENS.vocab_size, (2, 12), generator=seeded(3))
    with torch.no_grad():
        return network(tokens) @ network.unembedding.T


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "base", transformer(vocab_size=TOKENS.vocab_size, width=32), TOKENS)
    return tmp_path / "base"


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    model = load_model(base).adapt(LoRA(4, 8.0), generator=seeded(1))
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(5)))
    model.save(tmp_path / "adapter")
    return tmp_path / "adapter"


def run(**fields: Any) -> dict[str, Any]:
    return export(ExportConfig(**fields), Show(Console(quiet=True)))


@pytest.mark.parametrize("form", ["hf", "merged", "gguf", "peft"])
def test_an_adapter_is_said_the_same_in_every_format(adapter: Path, form: str) -> None:
    weights = {"weights": "f32"} if form == "gguf" else {}
    written = run(run=adapter, format=form, **weights)
    again = load_model(Path(written["out"]))
    torch.testing.assert_close(
        logits(again.network), logits(load_model(adapter).network), atol=1e-4, rtol=1e-4
    )
    assert (again.base is None) == (form != "peft")


def test_the_default_is_the_adapter_alone_and_else_a_folder(adapter: Path, base: Path) -> None:
    assert run(run=adapter)["format"] == "peft"
    assert run(run=base)["format"] == "hf"


def test_an_adapter_alone_is_written_without_its_base(adapter: Path, base: Path) -> None:
    said = logits(load_model(adapter).network)
    whole = (base / "model.safetensors").rename("aside")
    out = Path(run(run=adapter, out="else/where")["out"])
    whole.rename(base / "model.safetensors")
    assert torch.equal(logits(load_model(out).network), said)
    told = json.loads((out / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == str(base.resolve())
    base.rename("away")
    run(run=adapter, out="later")
    with pytest.raises(UserError, match="put the base back"):
        load_model(Path("later"))


def test_in_fewer_bits(base: Path) -> None:
    sizes = [run(run=base, format="gguf", weights=w, out=f"{w}.gguf")["bytes"]
             for w in ("f32", "f16", "q8_0", "q4_0")]  # fmt: skip
    assert sizes == sorted(sizes, reverse=True)
    folder = run(run=base, weights="bf16")["out"]
    transformers: Any = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert theirs.dtype == torch.bfloat16


def test_a_modelfile_stands_beside(base: Path) -> None:
    written = run(run=base, format="gguf")
    said = Path(written["written"][1]).read_text()
    assert "FROM ./base.gguf\n" in said
    assert 'PARAMETER stop "<|end|>"' in said


def test_a_reward_model(base: Path) -> None:
    model = load_model(base)
    scalar = ScalarModel(model.network)
    with torch.no_grad():
        scalar.head.linear.weight.add_(1.0)
    model.save(Path("reward"), scalar, fledge_reward={"mean": 1.0, "std": 2.0})
    again, loaded = load_reward_model(Path(run(run="reward")["out"]))
    tokens = torch.randint(6, TOKENS.vocab_size, (2, 12), generator=seeded(3))
    torch.testing.assert_close(again(tokens), scalar(tokens))
    assert loaded.config["fledge_reward"]["mean"] == 1.0
    with pytest.raises(UserError, match="reward model"):
        run(run="reward", format="gguf")


@pytest.mark.parametrize("form", ["peft", "merged", "gguf"])
def test_several_adapters_as_one(adapter: Path, base: Path, form: str) -> None:
    """A third of an adapter three times is the adapter."""
    weights = {"weights": "f32"} if form == "gguf" else {}
    again = run(run=adapter, more=f"{adapter}, {adapter}", shares="0.5,0.25,0.25", format=form,
                **weights)  # fmt: skip
    torch.testing.assert_close(
        logits(load_model(Path(again["out"])).network), logits(load_model(adapter).network),
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_virtual_tokens_go_out_alone(base: Path, kind: Any) -> None:
    model = load_model(base).adapt(Virtual(kind, 4), generator=seeded(1))
    model.save(Path("virtual"))
    again = load_model(Path(run(run="virtual")["out"]))
    assert torch.equal(logits(again.network), logits(model.network))
    for form in ("hf", "merged", "gguf"):
        with pytest.raises(UserError, match=f"no place in format={form}: give format=peft"):
            run(run="virtual", format=form)


@pytest.mark.parametrize("form", ["hf", "merged", "gguf", "peft", None])
def test_houlsby_is_fledge_s_alone(base: Path, form: str | None) -> None:
    load_model(base).adapt(Houlsby(2), generator=seeded(1)).save(Path("houlsby"))
    with pytest.raises(UserError, match="fledge alone reads them, from houlsby"):
        run(run="houlsby", format=form)


@pytest.mark.parametrize(
    "fields",
    [{"more": "adapter"}, {"shares": "1"}, {"more": "adapter", "shares": "1"},
     {"more": "adapter", "shares": "1,nan"}, {"more": "adapter", "shares": "1,half"}],
)  # fmt: skip
def test_a_sum_needs_a_share_for_each(adapter: Path, fields: dict[str, str]) -> None:
    with pytest.raises(UserError, match="one number for run and one for each"):
        run(run=adapter, **fields)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"format": "peft"}, "no adapter"),
        ({"format": "merged"}, "no adapter"),
        ({"weights": "q8_0"}, "format=gguf"),
        ({"format": "gguf", "out": "model.bin"}, ".gguf"),
        ({"out": "taken"}, "not empty"),
        ({"run": "nowhere"}, "does not exist"),
    ],
)
def test_what_cannot_be(base: Path, fields: dict[str, Any], says: str) -> None:
    Path("taken").mkdir()
    Path("taken", ".hidden").touch()
    with pytest.raises(UserError, match=says):
        run(**{"run": base, **fields})
