"""The form of a network in which the token engine runs it: laid out once for many small steps, with
a KV cache.
"""

from __future__ import annotations

from typing import Any

from fledge.engine.generation import Generation, GenerationTransformer


def make_fast_form(network: Any, precision: Generation = "fp32") -> Any:
    """The network as it is now. One that is no transformer brings its own form, by a method
    `for_generation(precision)`.
    """
    own = getattr(network, "for_generation", None)
    return GenerationTransformer(network, precision) if own is None else own(precision)
