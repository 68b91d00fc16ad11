"""Attention maps: rows that sum to 1, nothing beyond mask and window, and the same weights as
`transformers` shows of the exported model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fledge.errors import UserError
from fledge.hub.folder import load_model, save_model
from fledge.models.language.attention_maps import attention_maps
from fledge.models.language.transformer import Transformer
from fledge.models.language.transformer_config import TransformerConfig
from fledge.models.language.virtual_tokens import put_before, start_from
from fledge.text.tokenizer import train_tokenizer
from tests.hub.foreign import VARIANTS, list_ids, make, rows, save
from tests.subjects import seeded

BYTES = train_tokenizer("bytes", [])
SIZES = TransformerConfig(
    BYTES.vocab_size, context=32, layers=2, width=32, heads=4, kv_heads=2, window=5
)


def draw_tokens(length: int = 12) -> torch.Tensor:
    return torch.randint(6, BYTES.vocab_size, (1, length), generator=seeded(3))


def test_maps_are_those_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network = Transformer(SIZES, generator=seeded(0))
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.mul_(2.0)  # so that maps are sharp
    save_model(tmp_path / "model", network, BYTES)
    twin = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", attn_implementation="eager"
    )
    tokens = draw_tokens()
    with torch.no_grad():
        theirs = twin(tokens, output_attentions=True).attentions
    maps = attention_maps(network, tokens)
    assert maps.shape == (2, 4, 12, 12)
    torch.testing.assert_close(maps, torch.stack([each[0] for each in theirs]), atol=2e-5, rtol=0)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 4, 12))
    at = torch.arange(12)
    seen = (at[None] <= at[:, None]) & (at[None] > at[:, None] - 5)
    assert bool((maps[:, :, ~seen] == 0).all())
    assert bool((maps[:, :, seen] > 0).all())


def read(theirs: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The maps of `transformers`. Of long rope, where they hang on how far the row goes on, those
    of the rows first trained on and, behind them, those of the whole row, in one.
    """
    with torch.no_grad():
        whole = torch.stack([each[0] for each in theirs(tokens, output_attentions=True).attentions])
        rope = getattr(theirs.config, "rope_parameters", None) or {}
        first = getattr(theirs.config, "original_max_position_embeddings", None)
        if rope.get("rope_type") == "longrope" and first and first < tokens.shape[1]:
            early = theirs(tokens[:, :first], output_attentions=True).attentions
            whole[:, :, :first, :first] = torch.stack([each[0] for each in early])
    return whole


@pytest.mark.parametrize(("family", "options"), VARIANTS, ids=list_ids())
def test_maps_of_every_family_are_those_of_transformers(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    theirs = make(family, options)
    network = load_model(save(theirs, tmp_path)).network
    for length in (9, 20):
        tokens = rows(length, 1).clamp(min=2)  # none that opens another document
        maps, wanted = attention_maps(network, tokens), read(theirs, tokens)
        torch.testing.assert_close(maps, wanted, atol=2e-5, rtol=0)


def test_the_network_is_as_it_was_before() -> None:
    network = Transformer(SIZES, generator=seeded(0))
    tokens = draw_tokens()
    with torch.no_grad():
        before = network(tokens)
        attention_maps(network, tokens)
        assert torch.equal(network(tokens), before)
    assert all("attend" not in vars(block.attention) for block in network.blocks)


def test_no_token_looks_into_another_document() -> None:
    network = Transformer(SIZES, border=1, generator=seeded(0))
    tokens = draw_tokens()
    tokens[0, 0] = tokens[0, 7] = 1
    maps = attention_maps(network, tokens)
    assert bool((maps[:, :, 7:, :7] == 0).all())


def test_what_attends_otherwise_is_not_drawn_wrong() -> None:
    network = Transformer(SIZES, generator=seeded(0))
    attention = network.blocks[0].attention
    usual = attention.attend
    attention.attend = lambda q, k, v, mask: usual(2.0 * q, k, v, mask)
    with pytest.raises(UserError, match="attends otherwise"):
        attention_maps(network, draw_tokens())
    with pytest.raises(UserError, match="way of its own"):
        attention_maps(nn.Linear(2, 2), draw_tokens())


def test_virtual_tokens_are_no_text_to_draw() -> None:
    network = Transformer(SIZES, generator=seeded(0))
    put_before(network, start_from("prompt", network, torch.tensor([3, 4])))
    with pytest.raises(UserError, match="virtual tokens before them"):
        attention_maps(network, draw_tokens()[:, :4])
