"""Decoders that label, against `transformers`' ForSequenceClassification and PEFT: whole and as an
adapter, in and out, rows of unequal length, and texts that end in the token that pads.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.folder import (
    Loaded,
    load_any,
    load_label_base,
    load_labeller,
    load_model,
    load_reward_model,
    save_model,
    tells_labels,
)
from fledge.models.language.adapters import LoRA
from fledge.models.language.decoder_labels import DecoderLabels
from fledge.text.tokenizer import train_tokenizer
from tests.subjects import seeded, transformer

peft: Any = pytest.importorskip("peft")
transformers: Any = pytest.importorskip("transformers")

CHARACTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens
LABELS = ("no", "yes", "perhaps")
ROWS = [[6, 9, 7, 8, 6], [8, 6, 2], [2, 10]]  # the second ends in the token that ends a text


def labeller(base: Path) -> Loaded:
    loaded = load_label_base(base)
    network = DecoderLabels(loaded.network, LABELS).eval()
    with torch.no_grad():
        network.score.weight.normal_(generator=seeded(4))
    return replace(loaded, network=network)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tmp_path / "base", transformer(), CHARACTERS)
    return tmp_path / "base"


@torch.no_grad()
def say(network: Any) -> Tensor:
    """All rows at once, padded."""
    lengths = torch.tensor([len(row) for row in ROWS])
    tokens = torch.tensor([row + [0] * (5 - len(row)) for row in ROWS])
    return network.classify(tokens, lengths)


@torch.no_grad()
def say_theirs(model: Any) -> Tensor:
    """Row by row, without padding."""
    return torch.cat([model(torch.tensor([row])).logits for row in ROWS])


@torch.no_grad()
def say_padded(model: Any) -> Tensor:
    pad = model.config.pad_token_id
    tokens = torch.tensor([row + [pad] * (5 - len(row)) for row in ROWS])
    lengths = torch.tensor([[len(row)] for row in ROWS])
    return model(tokens, attention_mask=(torch.arange(5) < lengths).long()).logits


def test_transformers_reads_ours_and_we_do(base: Path, tmp_path: Path) -> None:
    loaded = labeller(base)
    loaded.save(tmp_path / "labels", fledge_task="classify")
    assert tells_labels(tmp_path / "labels")
    assert not tells_labels(base)
    again = load_labeller(tmp_path / "labels")
    assert again.network.config.labels == LABELS
    expected = say(loaded.network)
    torch.testing.assert_close(say(again.network), expected, rtol=0, atol=0)
    auto = transformers.AutoModelForSequenceClassification
    theirs = auto.from_pretrained(tmp_path / "labels").eval()
    assert list(theirs.config.id2label.values()) == list(LABELS)
    torch.testing.assert_close(say_theirs(theirs), expected, rtol=0, atol=1e-4)
    # The token that ends a text is a text's own: what pads is another.
    assert theirs.config.pad_token_id not in (1, 2)
    torch.testing.assert_close(say_padded(theirs), expected, rtol=0, atol=1e-4)


def test_ours_is_what_transformers_says(base: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    auto = transformers.AutoModelForSequenceClassification
    theirs = auto.from_pretrained(base, num_labels=4).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    CHARACTERS.save(tmp_path / "theirs")
    ours = load_labeller(tmp_path / "theirs")
    assert ours.network.config.labels == tuple(f"LABEL_{i}" for i in range(4))
    torch.testing.assert_close(say(ours.network), say_theirs(theirs), rtol=0, atol=1e-4)


@pytest.mark.parametrize("settings", [LoRA(4, 8.0), LoRA(4, 8.0, dora=True)], ids=["lora", "dora"])
def test_peft_reads_an_adapter_of_ours(base: Path, tmp_path: Path, settings: LoRA) -> None:
    loaded = labeller(base).adapt(settings, generator=seeded(1))
    with torch.no_grad():
        for parameter in loaded.network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(5)))
    assert loaded.network.score.weight.requires_grad
    loaded.save(tmp_path / "adapter", fledge_task="classify")
    expected = say(loaded.network)
    assert tells_labels(tmp_path / "adapter")
    again = load_labeller(tmp_path / "adapter")
    assert again.network.config.labels == LABELS
    torch.testing.assert_close(say(again.network), expected, rtol=0, atol=1e-6)
    auto = transformers.AutoModelForSequenceClassification
    theirs = peft.PeftModel.from_pretrained(
        auto.from_pretrained(base, num_labels=3), tmp_path / "adapter"
    ).eval()
    torch.testing.assert_close(say_theirs(theirs), expected, rtol=0, atol=1e-4)
    again.merged().save(tmp_path / "merged")
    merged = load_labeller(tmp_path / "merged")
    torch.testing.assert_close(say(merged.network), expected, rtol=1e-5, atol=1e-5)


def test_it_neither_writes_nor_rewards(base: Path, tmp_path: Path) -> None:
    labeller(base).save(tmp_path / "labels")
    for load in (load_model, load_any, load_reward_model):
        with pytest.raises(UserError, match="tells 3 labels apart"):
            load(tmp_path / "labels")


def test_padding_is_not_seen(base: Path) -> None:
    network = labeller(base).network
    alone = [network.classify(torch.tensor([row]), torch.tensor([len(row)])) for row in ROWS]
    torch.testing.assert_close(say(network), torch.cat(alone), rtol=0, atol=1e-4)
