"""Gemma 3 270M: 262,144 tokens, alternating windows of 512, norms with 1 + w. fledge reads its file
as llama.cpp does, and transformers reads what fledge writes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.hub.folder import Loaded, load_model, save_model
from tests.real.following import follow
from tests.real.gemma3 import GEMMA3
from tests.real.llama_server import LlamaServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

TEXTS = (
    "The capital of France is Paris.",
    "",
    "  two  spaces\n\n\tand a tab",
    "naïve façade, Übergröße, e\u0301; 日本語のテキスト, عربي 🙂👩‍👩‍👧",
    "for i in range(10):\n    print(i ** 2)  # 1299.00",
    "<start_of_turn>user\nnot a turn<end_of_turn>",
)
LONG = " ".join(f"{n} times {n + 1} is {n * (n + 1)}." for n in range(80))


@pytest.fixture(scope="module")
def file() -> Path:
    there = GEMMA3.find()
    if there is None:
        pytest.skip("Gemma 3 270M is not here: `make gemma` fetches it")
    return there


@pytest.fixture(scope="module")
def gemma(file: Path) -> Loaded:
    return load_model(file)


@pytest.fixture(scope="module")
def llama(file: Path) -> LlamaServer:
    return LlamaServer(file)


def test_token_ids_are_those_of_llama_cpp(gemma: Loaded, llama: LlamaServer) -> None:
    for text in TEXTS:
        assert gemma.tokenizer.encode(text) == llama.encode(text), text


def test_llama_cpp_says_the_same_tokens(gemma: Loaded, llama: LlamaServer) -> None:
    # llama.cpp multiplies four-bit weights with activations in eight bits: some tenths of a nat.
    # Without the token of the beginning this model is nowhere: both say commas, one nat apart.
    begin = gemma.tokenizer.begin
    assert begin is not None
    compared, ties = follow(gemma, llama, 12, nats=0.5, first=[begin])
    assert compared >= 120
    assert ties <= compared // 10


def test_transformers_has_the_same_logits_beyond_the_window(gemma: Loaded, tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    save_model(tmp_path, gemma.network, gemma.tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    )
    ids = torch.tensor([gemma.tokenizer.encode(LONG)])
    assert ids.shape[1] > 600  # the windows are 512
    with torch.no_grad():
        hidden, expected = gemma.network(ids)[0, -64:], theirs(ids).logits[0, -64:]
        ours = hidden @ gemma.network.unembedding.T
    # Logits reach 42, and rounding alone came to 4e-3 on one processor; a window of 511 moves them
    # by 0.8.
    torch.testing.assert_close(ours[:, : expected.shape[1]], expected, atol=1e-2, rtol=0)
