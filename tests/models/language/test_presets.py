"""Sizes by name, each of which can be changed."""

from __future__ import annotations

import pytest

from fledge.errors import UserError
from fledge.models.language.presets import PRESETS, transformer_config
from fledge.models.language.transformer import TransformerConfig


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_whole_set_of_sizes(name: str) -> None:
    config = transformer_config(name, 1000)
    assert (config.layers, config.width) == (PRESETS[name]["layers"], PRESETS[name]["width"])
    assert config.vocab_size == 1000


def test_fields_that_are_given_replace_the_presets() -> None:
    config = transformer_config(
        "nano", 100, width=96, context=None, heads=6, tied=False, qk_norm=True
    )
    expected = TransformerConfig(
        100, context=128, layers=3, width=96, heads=6, kv_heads=6, tied=False, qk_norm=True
    )
    assert config == expected


def test_an_unknown_preset_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"tinny.*Perhaps you meant tiny"):
        transformer_config("tinny", 100)
