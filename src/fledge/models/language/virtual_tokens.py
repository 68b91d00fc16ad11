"""Virtual tokens, which are trained and stand before every document: prefix tuning (Li & Liang
2021, §4.2), whose keys and values are learned in every layer, and prompt tuning (Lester et al.
2021, §2), whose embeddings are learned and read by the frozen network.

They take positions 0 to N − 1, and the first real token stands at N, as in PEFT and
`transformers`: learned positions, rotary angles and windows all count them, and the model's context
holds N tokens fewer. Since virtual tokens see themselves alone, their keys and values are the same
before every row: they are computed once a pass, whatever the number of rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fledge.weights_version import raise_version

KeysValues = tuple[Tensor, Tensor]  # of a layer, each [1, kv_heads, N, d], keys already turned


@dataclass(frozen=True)
class Virtual:
    """kind: prefix or prompt. number: N. text: what they start from; by default tokens of the
    vocabulary, drawn.
    """

    kind: Literal["prefix", "prompt"]
    number: int = 20
    text: str = ""


class VirtualTokens(nn.Module, ABC):
    """N of them; `embedding` [N, …] is what is trained, as PEFT stores it."""

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        real = torch.promote_types(embedding.dtype, torch.float32)
        self.number = len(embedding)
        self.embedding = nn.Parameter(embedding.detach().to(real).contiguous())

    @abstractmethod
    def read(self, network: Any, long: bool = False) -> list[KeysValues]:
        """The keys and values of each layer of a Transformer. long: by the angles of long rows."""


class Prefix(VirtualTokens):
    """embedding [N, layers · 2 · kv_heads · d]"""

    def read(self, network: Any, long: bool = False) -> list[KeysValues]:
        c = network.config
        each = self.embedding.view(self.number, c.layers, 2, c.kv_heads, c.head_width)
        return [(k[None], v[None]) for k, v in each.permute(1, 2, 3, 0, 4)]


class Prompt(VirtualTokens):
    """embedding [N, D]: what the first block reads, but for learned positions."""

    def read(self, network: Any, long: bool = False) -> list[KeysValues]:
        c, places = network.config, slice(0, self.number)
        h = self.embedding[None].to(network.embedding.weight.dtype)
        if c.learned_positions:
            h = h + network.place.weight[places]
        turns = network.turn(places, h, long)
        before: list[KeysValues] = []
        for layer, block in enumerate(network.blocks):
            turn = turns[network.name_rotary(layer, long)]
            _, k, v = block.attention.project(block.attention_norm(h), turn)
            before.append((k, v))
            if layer + 1 < c.layers:
                h = block(h, turn, _see_before(self.number, c.window_of(layer), h.device))
        return before


class KeptPrompt(Prompt):
    """Tokens that many rows begin with, whose keys and values are computed once for all of them:
    nothing here may learn meanwhile.
    """

    def __init__(self, embedding: Tensor) -> None:
        super().__init__(embedding)
        self._kept: dict[bool, list[KeysValues]] = {}

    def read(self, network: Any, long: bool = False) -> list[KeysValues]:
        if long not in self._kept:
            self._kept[long] = super().read(network, long)
        return self._kept[long]


@contextmanager
def read_behind(network: Any, tokens: Tensor) -> Iterator[None]:
    """Meanwhile a Transformer without virtual tokens reads every row as if these tokens [N] stood
    before it, by what it says of them now.
    """
    with torch.no_grad():
        network.virtual = KeptPrompt(network.embed_tokens(tokens))
    try:
        yield
    finally:
        network.virtual = None


def _see_before(number: int, window: int, device: torch.device) -> Tensor | None:
    """Of virtual tokens that see themselves: bool [1, 1, N, N]; None is causal."""
    if not 0 < window < number:
        return None
    seen = torch.ones(number, number, dtype=torch.bool, device=device).tril()
    return seen.triu(1 - window)[None, None]


def see_virtual(mask: Tensor | None, places: Tensor, number: int, window: int) -> Tensor:
    """What tokens at `places` [T] or [B, T] see when `number` virtual tokens stand before them: all
    of these, or those that their window reaches.

    mask: bool [B or 1, 1, T, T] of the tokens among themselves, None for causal.  -> [B or 1, 1, T,
    N + T]
    """
    t = places.shape[-1]
    if mask is None:
        mask = torch.ones(t, t, dtype=torch.bool, device=places.device).tril()[None, None]
    distance = places[..., None] - torch.arange(number, device=places.device)  # [.., T, N]
    near = distance < window if window else torch.ones_like(distance, dtype=torch.bool)
    near = near[:, None] if near.ndim == 3 else near[None, None]
    rows = max(len(near), len(mask))
    return torch.cat([part.expand(rows, -1, -1, -1) for part in (near, mask)], dim=-1)


@torch.no_grad()
def start_from(kind: Literal["prefix", "prompt"], network: Any, tokens: Tensor) -> VirtualTokens:
    """Virtual tokens that begin as these tokens [N]: the network says what it says of a row that
    has them before it.
    """
    prompt = Prompt(network.embed_tokens(tokens))
    if kind == "prompt":
        return prompt
    network.reach_position(len(tokens))
    layers = [torch.stack([k[0], v[0]]) for k, v in prompt.read(network)]
    return Prefix(torch.stack(layers).permute(3, 0, 1, 2, 4).flatten(1))


def put_before(network: Any, virtual: VirtualTokens) -> None:
    """Let them stand before all that a Transformer reads, in place; its context has room for
    them.
    """
    network.virtual = virtual.to(network.embedding.weight.device)
    network.config = replace(network.config, context=network.config.context - virtual.number)
    raise_version(network)


def virtual_of(network: nn.Module) -> VirtualTokens | None:
    """The virtual tokens of a network of whatever class."""
    return getattr(network, "virtual", None)
