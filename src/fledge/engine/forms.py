"""The form of a network in which the token engine runs it: a fast one where its class has one, laid
out once for many small steps and with a KV cache; the slow one for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fledge.engine.generation import Generation, GenerationTransformer
from fledge.engine.slow_form import SlowForm
from fledge.models.language.transformer import Transformer, TransformerConfig

_FAST: dict[type, Callable[[Any, Generation], Any]] = {Transformer: GenerationTransformer}


def register_fast_form(network: type, make: Callable[[Any, Generation], Any]) -> None:
    """From now on networks of this class, and not of one derived from it, run in the form that
    `make(network, precision)` gives: what `SlowForm` has, and as fast as it can.
    """
    _FAST[network] = make


def make_form(network: Any, precision: Generation = "fp32") -> Any:
    """The network as it is now. The slow form knows no precision but the network's own."""
    # A class that is derived may compute something else, and then its parent's form would be wrong.
    make = _FAST.get(type(network))
    if make is None or (isinstance(network, Transformer) and not _is_plain(network)):
        return SlowForm(network)
    return make(network, precision)


def _is_plain(network: Transformer) -> bool:
    """Whether it is a transformer of ours, with none of the choices that other families make."""
    c = network.config
    return c == TransformerConfig(
        c.vocab_size, c.context, c.layers, c.width, c.heads, c.kv_heads, c.mlp_width, c.tied,
        c.qk_norm, c.rope_theta, c.norm_eps, c.head_width, c.window,
    )  # fmt: skip
