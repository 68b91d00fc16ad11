"""A config.json that somebody else wrote is the model that `transformers` makes of it, or one
sentence, at no cost.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fledge.errors import UserError
from fledge.hub.families import find_family
from fledge.hub.folder import load_model, load_reward_model, save_model
from fledge.json_file import check_shape
from fledge.models.language.heads import ScalarModel
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.sample.generate import generate
from fledge.text.tokenizer import train_tokenizer
from tests.hub.foreign import VARIANTS, list_sizes
from tests.subjects import seeded, transformer

CHARACTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens
SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *(
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "sliding_window",
        "max_window_layers",
    ),
)
ODD = [
    "null",
    "[]",
    "{}",
    '"a"',
    "-1",
    "0",
    "1.5",
    "true",
    "7",
    "1000000",
    "1000000000",
    "1e400",
    "NaN",
    "[" * 200,
]


def tokens() -> torch.Tensor:
    return torch.randint(6, 11, (2, 12), generator=seeded(3))


def logits(folder: Path) -> torch.Tensor:
    network = load_model(folder).network
    return network(tokens()) @ network.unembedding.T


def theirs(folder: Path) -> torch.Tensor:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(folder).float()(tokens()).logits


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def save_family(model_type: str, folder: Path) -> Path:
    """A model of the first variant of a family, made and saved by us alone."""
    options = next(options for family, options in VARIANTS if family == model_type)
    family = find_family(model_type, folder)
    entries = {"model_type": model_type, **list_sizes(model_type), **options}
    config = check_shape({"rms_norm_eps": 1e-5, **entries}, family.config, "config.json")
    network = Transformer(family.read_config(config, folder), generator=seeded(0))
    save_model(folder, network, CHARACTERS)
    assert json.loads((folder / "config.json").read_text())["model_type"] == model_type
    return folder


@pytest.fixture(
    params=[
        model_type if model_type in ("llama", "mistral", "qwen3")
        else pytest.param(model_type, marks=pytest.mark.slow)
        for model_type in dict(VARIANTS)
    ]
)  # fmt: skip
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_family(request.param, tmp_path / "model")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", transformer(), CHARACTERS)
    return tmp_path / "model"


def rewrite(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | entries
    kept = {name: value for name, value in config.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(kept))


@torch.no_grad()
def test_no_value_of_a_config_is_believed_and_none_costs_memory(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    config, before = json.loads(text), peak_bytes()
    for name in {
        *config,
        *SIZES,
        "rope_theta",
        "rope_scaling",
        "layer_types",
        "use_sliding_window",
        "no_rope_layers",
        "mlp_only_layers",
    }:
        for odd in ODD:
            marked = json.dumps(config | {name: "MARK"}).replace('"MARK"', odd)
            (folder / "config.json").write_text(marked)
            try:
                network = load_model(folder).network
            except UserError as error:
                said = str(error)
            else:
                said = str(folder)
                assert network(tokens()[:, :7]).isfinite().all()
            assert "\n" not in said
            assert str(folder) in said
    assert peak_bytes() - before < 100e6


@pytest.mark.parametrize("whole", ["null", "[]", "{}", "7", '"llama"', "", "\0\0", "[" * 100_000])
def test_a_config_that_is_no_object_is_a_sentence(llama: Path, whole: str) -> None:
    (llama / "config.json").write_text(whole)
    with pytest.raises(UserError, match=r"config\.json"):
        load_model(llama)


@pytest.mark.parametrize(
    "entries",
    [
        {"rope_parameters": {}},
        {"rope_parameters": None},
        {"rope_parameters": ..., "rope_theta": 500.0},
        {"rope_parameters": {"rope_type": "default"}, "rope_theta": 500.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500}},
        {"tie_word_embeddings": ...},
        {"head_dim": None},
        {"rms_norm_eps": 0.0},
        {"architectures": []},
        {"architectures": None},
        {"model_type": "mistral", "architectures": ["MistralForCausalLM"]},
        {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 4},
        {"max_position_embeddings": 10**9},
    ],
    ids=str,
)
@torch.no_grad()
def test_what_is_left_out_means_what_it_means_to_transformers(
    llama: Path, entries: dict[str, Any]
) -> None:
    weights = load_file(llama / "model.safetensors")
    if "tie_word_embeddings" in entries:
        weights["lm_head.weight"] = torch.randn(11, 16, generator=seeded(4))
        save_file(weights, llama / "model.safetensors", {"format": "pt"})
    rewrite(llama, **entries)
    assert (logits(llama) - theirs(llama)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("layers", "slides"),
    [(["sliding_attention"] * 2, True), (["full_attention"] * 2, False), (None, True)],
    ids=str,
)
@torch.no_grad()
def test_layer_types_decide_as_in_transformers(
    tmp_path: Path, layers: list[str] | None, slides: bool
) -> None:
    save_model(tmp_path / "model", transformer(qk_norm=True), CHARACTERS)
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    rewrite(tmp_path / "model", **window, **({"layer_types": layers} if layers else {}))
    assert load_model(tmp_path / "model").network.config.window == (4 if slides else 0)
    assert (logits(tmp_path / "model") - theirs(tmp_path / "model")).abs().max() < 1e-4
    rewrite(tmp_path / "model", layer_types=["sliding_attention", "full_attention"])
    assert load_model(tmp_path / "model").network.config.windows == (4, 0)
    assert (logits(tmp_path / "model") - theirs(tmp_path / "model")).abs().max() < 1e-4
    rewrite(tmp_path / "model", layer_types=["sliding_attention", "chunked_attention"])
    with pytest.raises(UserError, match="'chunked_attention': fledge reads full_attention"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("same", [True, False])
@torch.no_grad()
def test_an_output_layer_beside_a_tied_config_is_used_as_in_transformers(
    llama: Path, same: bool
) -> None:
    weights = load_file(llama / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    weights["lm_head.weight"] = (
        embedding.clone() if same else torch.randn(embedding.shape, generator=seeded(4))
    )
    save_file(weights, llama / "model.safetensors", {"format": "pt"})
    loaded = load_model(llama)
    assert loaded.network.config.tied == same
    assert (logits(llama) - theirs(llama)).abs().max() < 1e-4
    save_model(llama, loaded.network, loaded.tokenizer)
    assert (logits(llama) - theirs(llama)).abs().max() < 1e-4


@torch.no_grad()
def test_integers_where_floats_are_meant_are_written_as_floats(tmp_path: Path) -> None:
    sizes = TransformerConfig(11, context=32, layers=1, width=16, norm_eps=1, rope_theta=10_000)
    save_model(tmp_path / "model", Transformer(sizes, generator=seeded(1)), CHARACTERS)
    text = (tmp_path / "model" / "config.json").read_text()
    assert '"rms_norm_eps": 1.0' in text
    assert '"rope_theta": 10000.0' in text
    assert (logits(tmp_path / "model") - theirs(tmp_path / "model")).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@torch.no_grad()
def test_floats_of_any_width_are_read(llama: Path, dtype: torch.dtype) -> None:
    weights = {
        name: tensor.to(dtype) for name, tensor in load_file(llama / "model.safetensors").items()
    }
    save_file(weights, llama / "model.safetensors", {"format": "pt"})
    network = load_model(llama).network
    assert torch.equal(network.embedding.weight, weights["model.embed_tokens.weight"].float())


@pytest.mark.parametrize(
    "dtype",
    [torch.int8, torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn],
)
def test_what_is_no_float_is_refused(llama: Path, dtype: torch.dtype) -> None:
    weights = load_file(llama / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].to(dtype)
    save_file(weights, llama / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError, match=r"model\.norm\.weight .* reads weights in F64, F32, F16, BF16"
    ):
        load_model(llama)


def test_a_tokenizer_of_another_size_than_the_embedding_is_refused(llama: Path) -> None:
    for text, tokens in (("abcd", 10), ("abcdef", 12)):
        train_tokenizer("characters", [text]).save(llama)
        with pytest.raises(
            UserError, match=rf"has {tokens} tokens and the model's embedding 11 rows"
        ):
            load_model(llama)


@torch.no_grad()
def test_rows_that_fill_an_embedding_up_are_legal_and_never_said(tmp_path: Path) -> None:
    network = transformer(vocab_size=64)
    network.embedding.weight[11:] = 9.0  # as likely as can be
    save_model(tmp_path / "model", network, CHARACTERS)
    loaded = load_model(tmp_path / "model")
    assert (logits(tmp_path / "model") - theirs(tmp_path / "model")).abs().max() < 1e-4
    policy = loaded.policy()
    said = generate(
        policy, [[1, 7]] * 20, max_new_tokens=10, stop=CHARACTERS.end, generator=seeded(2)
    )
    assert max(token for one in said for token in one.tokens) < 11
    rows = torch.cat([torch.full((4, 1), 7), torch.arange(4)[:, None] + 6], 1)
    every = policy.log_prob(
        torch.tensor([[7, a] for a in range(64)]), torch.arange(64)[:, None]
    ).exp()
    assert every.sum() == pytest.approx(1.0, abs=1e-5)
    assert every[11:].sum() == 0
    assert policy.log_prob(rows, rows[:, 1:]).isfinite().all()


@torch.no_grad()
def test_a_context_of_millions_is_held_when_it_is_used(llama: Path) -> None:
    rewrite(llama, max_position_embeddings=10**9)
    network = load_model(llama).network
    short = network(tokens())
    long = torch.randint(6, 11, (1, 9000), generator=seeded(5))
    assert network(long).isfinite().all()
    assert torch.equal(network(tokens()), short)
    assert len(network.rotary.cos) < 20_000


def test_scores_of_another_shape_are_refused(tmp_path: Path) -> None:
    model = ScalarModel(transformer())
    save_model(tmp_path / "model", model.network, CHARACTERS, scalar=model)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    for wrong, said in (
        (torch.zeros(2, 16), "tells 2 labels apart"),
        (torch.zeros(16), r"score\.weight"),
        (torch.zeros(1, 17), r"score\.weight"),
    ):
        save_file(weights | {"score.weight": wrong}, tmp_path / "model" / "model.safetensors")
        with pytest.raises(UserError, match=said):
            load_reward_model(tmp_path / "model")
    rewrite(tmp_path / "model", fledge_reward={"mean": 0.0, "std": 0.0})
    with pytest.raises(UserError, match=r"fledge_reward\.std"):
        load_reward_model(tmp_path / "model")
