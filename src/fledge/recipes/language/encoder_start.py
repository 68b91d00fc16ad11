"""The encoder that `pretrain` begins with: a fresh one or a base, under the heads that are trained,
and beside it the generator that replaces tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fledge.algorithms.likelihood.masked import MaskedModel
from fledge.hub.families import family_of
from fledge.hub.folder import Loaded
from fledge.models.language.encoder import Encoder, with_heads
from fledge.seeds import generator_for
from fledge.text.frames import Frame
from fledge.text.tokenizer import Tokenizer

SMALLER = 4  # the generator's width is this part of the encoder's (Clark et al. 2020, §3.2)


def list_heads(objective: str, architecture: str) -> dict[str, Any]:
    """Fields of the config for what is learned."""
    if objective == "rtd":
        return {"replaced": True, "pooler_activation": "gelu", "family": "electra"}
    heads = {"masked": True, "transform": True, "family": architecture}
    return heads | ({"next": True, "pooler": True} if objective == "nsp" else {})


def make_model(config: Any, base: Loaded | None, tokenizer: Tokenizer, frame: Frame) -> MaskedModel:
    """The base under the heads that are trained, or a fresh encoder. Raises UserError for sizes
    that do not fit, and for weights that cannot be frozen.
    """
    border, seed, device = frame.before[0], config.seed, config.on()
    if base is None:
        objective = config.objective or "mlm"
        network = config.make_encoder(
            tokenizer.vocab_size, list_heads(objective, config.architecture), border=border,
            seed=seed, device=device,
        )  # fmt: skip
    else:
        network = stand_heads(base.network, config.objective, seed)
        network.border = border
        config.freeze_parts(network)
    generator = make_generator(network, seed) if network.config.replaced else None
    family_of(network)  # can it be written in the end?
    config.set_checkpointing(network)
    return MaskedModel(network, generator).to(device)


def stand_heads(network: Encoder, objective: str | None, seed: int) -> Encoder:
    """A base with what it lacks for the objective; without one, for what it was trained on."""
    c = network.config
    if c.replaced and objective in (None, "rtd"):
        return network
    heads: dict[str, Any] = {
        "masked": True, "transform": True, "replaced": False, "classifier": "", "labels": (),
    }  # fmt: skip
    if objective == "nsp" or (objective is None and c.next):
        heads |= {"next": True, "pooler": True}
    elif not c.norm_first:
        heads |= {"next": False}
    return with_heads(network, heads, generator_for(seed, "weights", "heads"))


def make_generator(network: Encoder, seed: int) -> Encoder:
    """A quarter as wide, of heads as wide where they can be."""
    c = network.config
    heads = max(1, c.heads // SMALLER)
    sizes = replace(
        c, width=heads * c.head_width, heads=heads, mlp_width=max(1, c.mlp_width // SMALLER),
        embedding_width=0, replaced=False, masked=True, transform=True, pooler=False,
    )  # fmt: skip
    return Encoder(sizes, network.border, generator_for(seed, "weights", "generator"))
