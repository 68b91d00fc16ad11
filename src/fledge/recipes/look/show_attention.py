"""`fledge show attention`: which token looks at which, by layer and head of a model on a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.folder import load_model
from fledge.models.language.attention_maps import attention_maps
from fledge.recipes.family_field import FamilyField
from fledge.recipes.look.context import encode_context
from fledge.report.show_attention import Head, draw_attention
from fledge.report.show_page import check_show_page, write_show_page
from fledge.runs.show import Show
from fledge.text.spelling import name_tokens

MOST = 256  # tokens: a map has their square


class ShowAttentionConfig(FamilyField):
    """Draw the attention of every layer and head of a model on a text, under its causal mask and
    its window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Path = Field(description="a run or model folder")
    text: str = Field(default="the cat sat on the mat", description="what it reads")
    chat: bool = Field(default=False, description="the text as a user's turn, in the chat template")
    layer: int | None = Field(
        default=None, ge=1, description="with head: the one to draw large; none: the sharpest"
    )
    head: int | None = Field(default=None, ge=1, description="with layer: the one to draw large")
    out: Path = Field(default=Path("attention.html"), description="the page to write")


def show_attention(config: ShowAttentionConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a model that is not there or attends otherwise, a text that is too long,
    and a head that there is not.
    """
    check_show_page(config.out)
    config.use_family()
    if (config.layer is None) != (config.head is None):
        raise UserError("layer and head name one head together: give both, or neither.")
    model = load_model(config.base)
    ids = encode_context(model, config.text, raw=not config.chat)
    if len(ids) > MOST:
        raise UserError(f"the text is {len(ids):,} tokens, and maps are drawn of {MOST} at most.")
    maps = attention_maps(model.network, torch.tensor([ids]))
    if not maps.isfinite().all():
        raise UserError(
            f"{config.base} attends by numbers that are not finite: its weights overflow, or hold "
            "values that are none. Use a run from before that."
        )
    heads = [
        describe_head(layer, head, maps[layer - 1, head - 1])
        for layer in range(1, maps.shape[0] + 1)
        for head in range(1, maps.shape[1] + 1)
    ]
    large = find_head(config, heads)
    spelled = name_tokens(model.tokenizer, model.network.config.vocab_size)
    names = [spelled[token] for token in ids]
    sizes = model.network.config
    windows = sorted({sizes.window_of(layer) for layer in range(sizes.layers)})
    write_show_page(
        config.out, draw_attention(str(config.base), names, windows, maps.numpy(), heads, large)
    )
    for each in heads:
        show.line(
            f"layer {each.layer} head {each.head}: looks back {each.distance:.1f} tokens, spread "
            f"over {each.spread:.1f}; {each.first:.0%} on the first token, {each.before:.0%} on "
            f"the one before, {each.itself:.0%} on itself"
        )
    show.line(f"Page: {config.out}")
    return {
        "base": str(config.base),
        "tokens": names,
        "windows": windows,
        "heads": [vars(each) for each in heads],
        "maps": maps.tolist(),
        "page": str(config.out),
    }


def describe_head(layer: int, head: int, weights: Tensor) -> Head:
    """What a map says in five figures, over the tokens after the first.  weights [T, T]"""
    after = weights[1:] if len(weights) > 1 else weights
    at = torch.arange(len(weights) - len(after), len(weights))
    back = (at[:, None] - torch.arange(len(weights))[None]).clamp_min(0)
    rows = torch.arange(len(after))
    return Head(
        layer,
        head,
        distance=float((after * back).sum(-1).mean()),
        spread=float(torch.special.entr(after).sum(-1).exp().mean()),
        first=float(after[:, 0].mean()),
        before=float(after[rows, (at - 1).clamp_min(0)].mean()),
        itself=float(after[rows, at].mean()),
    )


def find_head(config: ShowAttentionConfig, heads: list[Head]) -> Head:
    """The one that is asked for, or the one that spreads least."""
    if config.layer is None:
        return min(heads, key=lambda each: each.spread)
    for each in heads:
        if (each.layer, each.head) == (config.layer, config.head):
            return each
    last = heads[-1]
    raise UserError(
        f"layer={config.layer} head={config.head} is none of {config.base}, which has {last.layer} "
        f"layers of {last.head} heads."
    )
