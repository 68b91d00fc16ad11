"""The form of a network in which the token engine runs it: a fast one where its class has one, laid
out once for many small steps and with a KV cache; the slow one for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fledge.engine.encoder_decoder_form import EncoderDecoderForm
from fledge.engine.generation import Generation, GenerationTransformer, has_fast_form
from fledge.engine.packed_weights import PackedWeights
from fledge.engine.prompted_form import PromptedForm
from fledge.engine.recurrent_form import RecurrentForm
from fledge.engine.slow_form import SlowForm
from fledge.models.language.encoder_decoder import EncoderDecoder
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.transformer import Transformer

_FAST: dict[type, Callable[[Any, Generation], Any]] = {
    Transformer: GenerationTransformer,
    Recurrent: RecurrentForm,
    EncoderDecoder: EncoderDecoderForm,
}


def register_fast_form(network: type, make: Callable[[Any, Generation], Any]) -> None:
    """From now on networks of this class, and not of one derived from it, run in the form that
    `make(network, precision)` gives: what `SlowForm` has, and as fast as it can.
    """
    _FAST[network] = make


def make_form(
    network: Any,
    precision: Generation = "fp32",
    positions: int | None = None,
    packed: PackedWeights | None = None,
) -> Any:
    """The network as it is now, for rows of up to so many positions, by default its context. The
    forms of a recurrent network and of an encoder–decoder, and the slow one, know no precision but
    the network's own. packed: weights that other networks have too.
    """
    # A class that is derived may compute something else, and then its parent's form would be wrong.
    make = _FAST.get(type(network))
    if make is GenerationTransformer:
        longest = network.config.context if positions is None else positions
        if not has_fast_form(network, network.lead + longest):
            make = None
        elif network.lead:
            make = PromptedForm
        if make is not None:
            make = partial(make, packed=packed)
    return SlowForm(network) if make is None else make(network, precision)
