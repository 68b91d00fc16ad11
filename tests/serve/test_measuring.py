"""Embeddings are those of `fledge.load(...).embed`; ids go there and back."""

from __future__ import annotations

import base64
import struct

import httpx
import pytest

import fledge
from tests.serve.conftest import Running

TEXTS = ["the cat sat on a mat", "old rivers", "é 한글 \U0001f600"]


def test_an_embedding_is_the_mean_of_the_last_hidden_states(running: Running) -> None:
    expected = fledge.load(running.folders["two"]).embed(TEXTS)
    answers = [
        httpx.post(
            f"{running.url}/v1/embeddings",
            json={"model": "two", "input": TEXTS, "encoding_format": form},
            timeout=60,
        ).json()
        for form in ("float", "base64")
    ]
    for answer in answers:
        assert [one["index"] for one in answer["data"]] == [0, 1, 2]
        assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
    for i, row in enumerate(expected.tolist()):
        assert answers[0]["data"][i]["embedding"] == pytest.approx(row, abs=1e-5)
        raw = base64.b64decode(answers[1]["data"][i]["embedding"])
        assert list(struct.unpack(f"<{len(row)}f", raw)) == pytest.approx(row, abs=1e-5)


def test_text_to_ids_and_back(running: Running) -> None:
    for text in TEXTS:
        body = {"prompt": text, "add_special_tokens": False}
        told = httpx.post(f"{running.url}/tokenize", json=body).json()
        assert told["count"] == len(told["tokens"]) == len(told["token_strs"])
        back = httpx.post(f"{running.url}/detokenize", json={"tokens": told["tokens"]}).json()
        assert back == {"prompt": text}


def test_an_answer_goes_on_from_chosen_tokens(running: Running) -> None:
    """As greedy decoding would, had it said them."""
    body = {
        "messages": [{"role": "user", "content": "the cat"}], "max_tokens": 12, "temperature": 0,
        "logprobs": True, "return_token_ids": True,
    }  # fmt: skip
    url = f"{running.url}/v1/chat/completions"
    whole = httpx.post(url, json=body).json()["choices"][0]
    ids = [one["token_id"] for one in whole["logprobs"]["content"]]
    rest = httpx.post(url, json={**body, "continue_tokens": ids[:5], "max_tokens": 7}).json()
    choice = rest["choices"][0]
    assert choice["message"]["content"] == whole["message"]["content"]
    assert [one["token_id"] for one in choice["logprobs"]["content"]] == ids[5:]
