"""Weights in one file or in shards are the same model and are in memory once; what is missing, left
over or damaged is one sentence before anything is made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fledge.errors import UserError
from fledge.hub.folder import find_model, load_model, save_model
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.text.tokenizer import train_tokenizer
from tests.hub.foreign import load, make, rows, save
from tests.subjects import seeded, transformer

CHARACTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens
INDEX = "model.safetensors.index.json"


def shard(folder: Path) -> dict[str, str]:
    """A model's one file as two with an index.  -> name of a tensor to its file"""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = {f"model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
    for file, own in files.items():
        save_file({name: weights[name] for name in own}, folder / file, {"format": "pt"})
    index = {name: file for file, own in files.items() for name in own}
    write_index(folder, index)
    return index


def write_index(folder: Path, index: dict[str, str]) -> None:
    size = {"total_size": 1}
    (folder / INDEX).write_text(json.dumps({"metadata": size, "weight_map": index}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", transformer(), CHARACTERS)
    return tmp_path / "model"


@torch.no_grad()
def test_shards_are_the_model_that_they_were_cut_from(folder: Path) -> None:
    whole = load_model(folder).network.state_dict()
    shard(folder)
    assert find_model(folder) == folder
    for name, tensor in load_model(folder).network.state_dict().items():
        assert torch.equal(tensor, whole[name]), name


@torch.no_grad()
def test_shards_of_transformers_are_read(tmp_path: Path) -> None:
    """Experts of one layer in several files."""
    pytest.importorskip("transformers")
    model = make("mixtral", {"num_local_experts": 3})
    model.save_pretrained(tmp_path, max_shard_size=9000)
    CHARACTERS.save(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    network = load_model(tmp_path).network
    expected = model(rows(24)).logits
    assert (network(rows(24)) @ network.unembedding.T - expected).abs().max() < 1e-4


def test_what_is_wrong_with_shards_is_one_sentence(folder: Path) -> None:
    index = shard(folder)
    first, second = sorted(set(index.values()))
    some = next(name for name, file in index.items() if file == second)
    shown = f"{folder}/.*"
    wrong: list[tuple[dict[str, str], str]] = [
        ({}, "names no file: download it again"),
        (index | {"more.weight": first}, "has more.weight in model-00001"),
        (index | {some: first}, f"has {some} in model-00001.*, where it is not"),
        (index | {some: "model-00003.safetensors"}, "model-00003.safetensors is missing"),
        (index | {some: f"../{second}"}, "a shard lies beside its index"),
        (index | {some: "/etc/passwd"}, "a shard lies beside its index"),
        (
            {name: file for name, file in index.items() if name != some},
            f"{some}, which .* not name",
        ),
    ]
    for other, message in wrong:
        write_index(folder, other)
        with pytest.raises(UserError, match=shown + message) as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)
    write_index(folder, index)
    half = (folder / second).read_bytes()
    (folder / second).write_bytes(half[: len(half) // 2])
    with pytest.raises(UserError, match=f"{second} is damaged"):
        load_model(folder)
    (folder / second).unlink()
    with pytest.raises(UserError, match=f"{second} is missing, which {INDEX} names"):
        load_model(folder)
    (folder / INDEX).write_text('{"weight_map": 7}')
    with pytest.raises(UserError, match=f"{INDEX}.*weight_map"):
        load_model(folder)


def test_a_weight_in_two_shards_is_refused(folder: Path) -> None:
    index = shard(folder)
    name, file = next(iter(index.items()))
    other = next(one for one in index.values() if one != file)
    twice = load_file(folder / other) | {name: load_file(folder / file)[name]}
    save_file(twice, folder / other, {"format": "pt"})
    with pytest.raises(UserError, match=f"{name} is in .* and in "):
        load_model(folder)


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "phi3", "mixtral"])
def test_what_is_left_over_or_missing_is_named(family: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    file = save(make(family, {}), tmp_path) / "model.safetensors"
    weights = load_file(file)
    for name in list(weights)[::7]:
        save_file({own: weights[own] for own in weights.keys() - {name}}, file)
        with pytest.raises(UserError, match=f"has no {name}"):
            load_model(tmp_path)
    prefix = next(iter(weights)).split(".")[0]
    save_file(weights | {f"{prefix}.gate.bias": torch.ones(1)}, file)
    with pytest.raises(UserError, match=r"gate\.bias, which fledge's network has no place for"):
        load_model(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@torch.no_grad()
def test_the_precision_of_the_file_is_kept_where_that_is_asked(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    save_model(tmp_path / "stored", transformer(dtype=dtype), CHARACTERS)
    assert json.loads((tmp_path / "stored" / "config.json").read_text())["dtype"] == str(dtype)[6:]
    stored = load_file(tmp_path / "stored" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {dtype}
    wide = load_model(tmp_path / "stored").network
    kept = load_model(tmp_path / "stored", as_stored=True).network
    assert {p.dtype for p in wide.parameters()} == {torch.float32}
    assert {p.dtype for p in kept.parameters()} == {dtype}
    assert kept.rotary.cos.dtype == torch.float32
    assert torch.equal(kept.embedding.weight, stored["model.embed_tokens.weight"])
    assert (kept(rows(24)).float() - wide(rows(24))).abs().max() < 0.2


@torch.no_grad()
def test_a_model_kept_in_bfloat16_is_that_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for family in ("llama", "gemma2", "gpt2"):
        model = make(family, {}).bfloat16()
        network = load_model(save(model, tmp_path / family), as_stored=True).network
        again, _ = load(tmp_path / family)
        assert again.dtype == network.unembedding.dtype == torch.bfloat16
        ours, theirs = network(rows(24)).float(), again.model if family != "gpt2" else again
        hidden = (theirs.transformer if family == "gpt2" else theirs)(rows(24)).last_hidden_state
        assert (ours - hidden.float()).abs().mean() < 0.05 * hidden.float().abs().mean()


# The most that reading a model adds to a process, its files' mapped pages included, as a share of
# its numbers in float32.
WATCH = """
import sys, threading, time
from pathlib import Path
from fledge.hub.adapter_targets import FrozenBase
from fledge.hub.folder import load_model

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = dict(line.split(":") for line in lines)
    return sum(int(sizes[each].split()[0]) for each in ("RssAnon", "RssFile")) * 1024

model, small, kind = sys.argv[1:]
def read(path):
    return load_model(Path(path), freeze=lambda network: FrozenBase(kind)).network

read(small)  # what torch and its libraries take once
before, most, done = held(), 0, False
def watch():
    global most
    while not done:
        most = max(most, held())
        time.sleep(0.001)
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
network = read(model)
done = True
watcher.join()
print((max(most, held()) - before) / (4 * network.config.parameters))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what is held")
@pytest.mark.parametrize(
    ("dtype", "kind", "least", "most"),
    [
        (torch.float32, "fp32", 1.0, 1.4),
        (torch.bfloat16, "fp32", 1.0, 1.4),
        # An eighth is the codes; matrices that are whole while they are rounded, and what of them
        # has not gone back to the system yet, are some 30 MB, a sixth here.
        (torch.float32, "nf4", 0.14, 0.42),
        (torch.bfloat16, "int8", 0.25, 0.54),
    ],
)
def test_the_weights_are_in_memory_once(
    dtype: torch.dtype, kind: str, least: float, most: float, tmp_path: Path
) -> None:
    sizes = TransformerConfig(11, layers=16, width=512, heads=8, kv_heads=4)  # 180 MB
    save_model(tmp_path / "model", Transformer(sizes, generator=seeded(0)).to(dtype), CHARACTERS)
    save_model(tmp_path / "small", transformer(), CHARACTERS)
    watch = [sys.executable, "-c", WATCH, str(tmp_path / "model"), str(tmp_path / "small"), kind]
    threads = {**os.environ, "OMP_NUM_THREADS": "2"}  # so many matrices are read side by side
    said = subprocess.run(watch, capture_output=True, text=True, check=True, env=threads).stdout
    assert least <= float(said) < most


def test_a_file_whose_sizes_are_a_lie_costs_nothing(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    lies: list[dict[str, Any]] = [
        {"vocab_size": 2**31 - 1}, {"hidden_size": 2**30}, {"num_hidden_layers": 10_000},
        {"intermediate_size": 2**31 - 1}, {"num_hidden_layers": 10**9},
    ]  # fmt: skip
    for lie in lies:
        (folder / "config.json").write_text(json.dumps(config | lie))
        with pytest.raises(UserError, match=str(folder)):
            load_model(folder)
