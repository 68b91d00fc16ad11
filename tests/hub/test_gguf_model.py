"""GGUF files in and out: the same model comes back, and llama.cpp says the same tokens of ours."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.folder import load_model, save_model
from fledge.hub.gguf_blocks import BY_NAME, TYPES, WRITTEN, decode, encode
from fledge.hub.gguf_file import GgufFile, Written, write_gguf
from fledge.hub.gguf_model import save_gguf
from fledge.models.language.quantisation import INT4, INT8, round_to_nearest
from fledge.text.chat import Message, render
from fledge.text.tokenizer import Tokenizer, train_tokenizer
from tests.real.llama_server import LlamaServer
from tests.subjects import seeded

PROSE = (
    "The quick brown fox jumps over the lazy dog, and 12 other animals (3 of them cats) look on; "
    "what they think isn't known. " * 20
)
TOKENS = train_tokenizer("bpe", [PROSE], 320)
SIZES: dict[str, Any] = {
    "vocab_size": TOKENS.vocab_size, "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 7, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
SIZES_OF_GPT2 = {
    "vocab_size": TOKENS.vocab_size, "n_embd": 32, "n_layer": 7, "n_head": 4, "n_positions": 64,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Llama3": {
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        }
    },
    "LlamaTied": {"tie_word_embeddings": True},
    "Qwen2": {"use_sliding_window": False},
    "Qwen3": {"head_dim": 16, "use_sliding_window": False},
    "Gemma": {"head_dim": 16, "hidden_activation": "gelu_pytorch_tanh"},
    "Gemma2": {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
    "Gemma3": {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
    "SmolLM3": {},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "Qwen3Moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "norm_topk_prob": True, "head_dim": 16,
    },
    "Olmo2": {},
    "Phi3": {"sliding_window": None},
    "Phi3Part": {
        "sliding_window": None,
        "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5},
    },
    "GPT2": {},
    "GPTNeoX": {"rotary_pct": 0.5},
    "GPTNeoXInTurn": {"rotary_pct": 1.0, "use_parallel_residual": False},
    "StableLm": {"partial_rotary_factor": 0.5, "use_qkv_bias": True},
    "StableLmParallel": {"partial_rotary_factor": 1.0, "use_parallel_residual": True},
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that transformers made, with every number moved."""
    transformers: Any = pytest.importorskip("transformers")
    given = FAMILIES[request.param] | SIZES
    if request.param == "GPT2":  # which calls its sizes otherwise
        given = SIZES_OF_GPT2
    name = re.sub("Tied|3(?=$)(?<=Llama3)|Part|InTurn|Parallel", "", request.param)
    of_text = "Text" if name == "Gemma3" else ""
    config = getattr(transformers, f"{name}{of_text}Config")(**given)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(1)))
    place = tmp_path_factory.mktemp("model")
    model.save_pretrained(place)
    TOKENS.save(place)
    return place


def logits(network: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return network(tokens) @ network.unembedding.T


def same_logits(one: Any, other: Any) -> None:
    tokens = torch.randint(6, TOKENS.vocab_size, (2, 24), generator=seeded(2))
    torch.testing.assert_close(logits(one, tokens), logits(other, tokens), atol=2e-4, rtol=1e-4)


def test_a_model_comes_back(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    save_gguf(tmp_path / "out.gguf", model.network, model.tokenizer, "F32")
    again = load_model(tmp_path / "out.gguf")
    same_logits(again.network, model.network)
    assert again.tokenizer.encode(PROSE) == model.tokenizer.encode(PROSE)
    assert again.tokenizer.ends == model.tokenizer.ends
    save_model(tmp_path / "folder", again.network, again.tokenizer)
    same_logits(load_model(tmp_path / "folder").network, model.network)


@pytest.mark.parametrize("grid", [INT8, INT4], ids=lambda grid: grid.name)
def test_rounded_numbers_are_in_the_file_as_they_are(
    folder: Path, tmp_path: Path, grid: Any
) -> None:
    """Also those that ggml would round to others: with scales that are not of their largest."""
    gguf: Any = pytest.importorskip("gguf")
    model = load_model(folder)
    rounded = {}
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if weight.ndim < 2 or name.endswith(("place.weight", "router.weight")):
                continue
            exact = round_to_nearest(weight, grid)
            rounded[name] = exact._replace(scale=exact.scale * 1.25)
            weight.copy_(rounded[name].restore())
    path = tmp_path / "out.gguf"
    save_gguf(path, model.network, model.tokenizer, rounded=rounded)
    again = load_model(path).network.state_dict()
    for name, weight in model.network.named_parameters():
        if name in rounded:
            assert torch.equal(again[name], weight.detach()), name
        else:  # Gemma's norms go to 1 + w and back
            torch.testing.assert_close(again[name], weight.detach())
    kinds = {each.name: each.tensor_type.name for each in gguf.GGUFReader(path).tensors}
    matrices = {name for name in kinds if name.endswith(("_exps.weight", "_output.weight"))}
    assert {kinds[name] for name in matrices} == {grid.name}


def foretell(path: Path, prompts: list[list[int]]) -> list[dict[int, float] | None]:
    """llama.cpp's three likeliest next tokens, log-probabilities; None where the likeliest is a
    piece of a character, of which it says nothing.
    """
    llama: Any = pytest.importorskip("xllamacpp")
    params = llama.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(path), 64, 1
    params.warmup, params.verbosity, params.cpuparams.n_threads = False, -1, 1
    params.cache_type_k = params.cache_type_v = llama.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server, said = llama.Server(params), []
    for prompt in prompts:
        asked = {"prompt": prompt, "n_predict": 1, "temperature": 0.0, "n_probs": 3}
        choice = server.handle_completions(asked | {"cache_prompt": False})["choices"][0]
        listed = choice["logprobs"] and choice["logprobs"]["content"][0]["top_logprobs"]
        said.append(listed and {each["id"]: each["logprob"] for each in listed})
    return said


def test_llama_cpp_foretells_the_same(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    save_gguf(tmp_path / "out.gguf", model.network, model.tokenizer, "F32")
    prompts = [TOKENS.encode(PROSE[at : at + 20 + 3 * at]) for at in range(50)]
    assert max(map(len, prompts)) > 50
    # ggml looks GELU up in a table of float16 numbers.
    off = 0.15 if "gelu" in model.network.config.activation else 2e-3
    compared = 0
    for prompt, theirs in zip(prompts, foretell(tmp_path / "out.gguf", prompts), strict=True):
        if theirs is None:
            continue
        ours = logits(model.network, torch.tensor([prompt]))[0, -1].log_softmax(-1)
        said = ours[list(theirs)]
        torch.testing.assert_close(said, torch.tensor(list(theirs.values())), atol=off, rtol=0)
        if ours.topk(2).values.diff() < -2 * off:
            assert int(ours.argmax()) == max(theirs, key=theirs.__getitem__)
        compared += 1
    assert compared >= 25


@pytest.mark.parametrize("name", WRITTEN)
def test_blocks_are_those_of_the_gguf_package(name: str) -> None:
    gguf: Any = pytest.importorskip("gguf")
    kind = BY_NAME[name]
    numbers = torch.randn(64, 64, generator=seeded(3)) * torch.rand(64, 1, generator=seeded(4))
    numbers[3] = 0.0
    theirs = gguf.quants.quantize(numbers.numpy(), gguf.GGMLQuantizationType(kind.number))
    theirs = theirs.view(np.uint8).reshape(-1)
    assert np.array_equal(encode(numbers, kind).numpy(), theirs)


@pytest.mark.parametrize("name", [*WRITTEN, "Q4_1", "Q6_K", "Q4_K", "IQ4_XS", "Q5_0", "MXFP4"])
def test_every_kind_of_block_is_read(name: str) -> None:
    gguf: Any = pytest.importorskip("gguf")
    kind = BY_NAME[name]
    content = torch.randint(0, 120, (8 * kind.bytes * 32,), generator=seeded(5), dtype=torch.uint8)
    theirs = gguf.quants.dequantize(
        content.view(8, -1).numpy(), gguf.GGMLQuantizationType(kind.number)
    )
    said = decode(content, kind).numpy()
    np.testing.assert_array_equal(said, theirs.reshape(-1).astype(np.float32))


def test_sizes_of_blocks_are_those_of_the_gguf_package() -> None:
    gguf: Any = pytest.importorskip("gguf")
    known = gguf.GGML_QUANT_SIZES
    for number, kind in TYPES.items():
        assert known[gguf.GGMLQuantizationType(number)] == (kind.numbers, kind.bytes)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Llama", {"hidden_act": "gelu"}),
        ("Llama", {"mlp_bias": True}),
        ("SmolLM3", {"no_rope_layer_interval": 2}),
        ("Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 24}),
        ("Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 16, "attn_logit_softcapping": None}),
        ("Gemma3", {"head_dim": 16, "query_pre_attn_scalar": 24}),
        ("Qwen3", {"head_dim": 16, "attention_bias": True}),
        ("GPT2", {"activation_function": "gelu"}),
        ("GPTNeoX", {"attention_bias": False}),
        ("Qwen3Moe", {"num_experts": 2, "num_experts_per_tok": 1, "norm_topk_prob": False}),
        (
            "Qwen3Moe",
            {
                "num_experts": 2,
                "num_experts_per_tok": 1,
                "norm_topk_prob": True,
                "mlp_only_layers": [1],
            },
        ),
        ("Phi3", {"sliding_window": 8}),
        ("Phi3", {"sliding_window": None, "head_dim": 16}),
    ],
)
def test_what_the_file_cannot_say_is_not_written(
    name: str, given: dict[str, Any], tmp_path: Path
) -> None:
    transformers: Any = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}{'Text' if name == 'Gemma3' else ''}Config")
    sizes = SIZES_OF_GPT2 if name == "GPT2" else SIZES
    model = transformers.AutoModelForCausalLM.from_config(config(**(sizes | given)))
    model.save_pretrained(tmp_path)
    TOKENS.save(tmp_path)
    loaded = load_model(tmp_path)
    with pytest.raises(UserError, match="format=hf"):
        save_gguf(tmp_path / "out.gguf", loaded.network, loaded.tokenizer)
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_our_own_tokenizer_comes_back(kind: Any, tmp_path: Path) -> None:
    from tests.subjects import transformer

    tokens = TOKENS if kind == "bpe" else train_tokenizer("bytes", [])
    network = transformer(vocab_size=tokens.vocab_size, width=32)
    save_gguf(tmp_path / "own.gguf", network, tokens)
    again = load_model(tmp_path / "own.gguf")
    assert again.tokenizer.fingerprint() == tokens.fingerprint()
    assert again.tokenizer.opening == tokens.opening
    assert again.network.border == tokens.begin


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_llama_cpp_renders_our_own_template(kind: Any, tmp_path: Path) -> None:
    """Its Jinja is one of its own, which says other things than jinja2 now and then."""
    from tests.subjects import transformer

    tokens = TOKENS if kind == "bpe" else train_tokenizer("bytes", [])
    save_gguf(tmp_path / "own.gguf", transformer(vocab_size=tokens.vocab_size, width=32), tokens)
    server = LlamaServer(tmp_path / "own.gguf")
    talk: list[Message] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": " \n two  spaces, {{ 1 }} \n"},
        {"role": "assistant", "content": "naïve 日本"},
        {"role": "user", "content": ""},
    ]
    for turns in (talk, talk[:2], talk[1:2]):
        text = server("apply-template", messages=turns)["prompt"]
        assert server.encode(text, special=True) == render(tokens, turns, reply=True)[0]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    from tests.subjects import transformer

    network = transformer(vocab_size=TOKENS.vocab_size)
    save_gguf(tmp_path / "small.gguf", network, TOKENS, "F16")
    return tmp_path / "small.gguf"


def change(path: Path, **fields: Any) -> None:
    file = GgufFile(path)
    kept = {n.replace(".", "_"): n for n in file.fields}
    said = file.fields | {kept.get(name, name): value for name, value in fields.items()}
    tensors = [Written(name, file.read(name), BY_NAME["F32"]) for name in file.tensors]
    said = {n.replace("llama_", "llama."): v for n, v in said.items() if v is not None and v != []}
    write_gguf(path, said, tensors)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"general_architecture": "mamba"}, "architecture 'mamba'"),
        ({"llama_block_count": 10**9}, "has no|layers"),
        ({"llama_embedding_length": 10**9}, "config.json asks for|asks"),
        ({"llama_attention_head_count": 0}, "head"),
        ({"tokenizer_ggml_pre": "nobody"}, "'nobody'"),
        ({"tokenizer_ggml_model": "bert"}, "'bert'"),
        ({"tokenizer_ggml_tokens": None}, "no tokenizer"),
        ({"llama_block_count": "many"}, "damaged"),
        ({"llama_expert_count": 8}, "num_experts_per_tok"),
        ({"llama_expert_count": 8, "llama_expert_used_count": 2}, "has no .*sparse_moe"),
        ({"general_architecture": "qwen3moe"}, "without experts"),
        ({"llama_attention_head_count": "two"}, "damaged"),
        ({"tokenizer_ggml_merges": 7}, "damaged"),
        ({"tokenizer_ggml_token_type": 1.5}, "damaged"),
        ({"tokenizer_ggml_eos_token_id": 10**6}, "eos_token_id"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    small: Path, fields: dict[str, Any], says: str
) -> None:
    change(small, **fields)
    with pytest.raises(UserError, match=says):
        load_model(small)


def test_a_file_that_is_cut_off(small: Path) -> None:
    content = small.read_bytes()
    for size in (3, 10, 100, len(content) // 2, len(content) - 40):
        small.write_bytes(content[:size])
        with pytest.raises(UserError):
            load_model(small)


def test_a_header_that_lies(small: Path) -> None:
    content = bytearray(small.read_bytes())
    for at in (8, 16, 24):  # numbers of tensors and fields, the length of the first name
        lying = bytearray(content)
        lying[at : at + 8] = struct.pack("<Q", 2**62)
        small.write_bytes(lying)
        with pytest.raises(UserError):
            load_model(small)


def test_a_tokenizer_with_no_name_for_its_cuts(tmp_path: Path) -> None:
    from fledge.hub.gguf_tokenizer import write_tokenizer

    TOKENS.save(tmp_path)
    file = json.loads((tmp_path / "tokenizer.json").read_text())
    file["pre_tokenizer"] = {"type": "Whitespace"}
    with pytest.raises(UserError, match="format=hf"):
        write_tokenizer(file, {}, {}, TOKENS.vocab_size)


def sentencepiece() -> Any:
    """BPE with byte fallback and spaces as ▁, as Llama 2 has it."""
    from tokenizers import Tokenizer as Made
    from tokenizers import decoders, models, normalizers, trainers

    made = Made(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    made.train_from_iterator([PROSE], trainer)
    return made


def test_scores_make_the_merges_that_made_them() -> None:
    from tokenizers import Tokenizer as Made

    from fledge.hub.gguf_file import Typed
    from fledge.hub.gguf_tokenizer import read_tokenizer, write_tokenizer

    made = json.loads(sentencepiece().to_str())
    made["added_tokens"] = [t for t in made["added_tokens"] if not t["content"].startswith("<0x")]
    fields = write_tokenizer(made, {}, {"bos_token_id": 1, "eos_token_id": 2}, 400)
    plain = {n: v.value if isinstance(v, Typed) else v for n, v in fields.items()}
    again, _, ends = read_tokenizer(plain, Path("made.gguf"))
    one, other = Made.from_str(json.dumps(made)), Made.from_str(json.dumps(again))
    for text in (PROSE, "naïve  ☃ 日本", "", "a", "  two  spaces ", "thethethe dogdog"):
        asked = {"add_special_tokens": False}
        assert one.encode(text, **asked).ids == other.encode(text, **asked).ids
    assert ends == [2]


def test_the_tokenizer_is_of_the_interface(small: Path) -> None:
    assert isinstance(load_model(small).tokenizer, Tokenizer)
