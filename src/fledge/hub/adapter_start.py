"""A fresh adapter on a model that has none: of which kind, where it stands, what it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.adapter_targets import choose_targets, choose_trained, freeze_network, list_places
from fledge.models.language.adapters import LoRA, adapt_network
from fledge.models.language.bottleneck import Houlsby, add_bottlenecks
from fledge.models.language.frozen_weights import FrozenWeights
from fledge.models.language.transformer import Transformer
from fledge.models.language.virtual_tokens import Virtual, put_before, start_from
from fledge.text.tokenizer import Tokenizer

Adapter = LoRA | Houlsby | Virtual


def start_lora(
    network: Any,
    settings: LoRA,
    modules: Sequence[str],
    saved: Sequence[str],
    weights: FrozenWeights,
    generator: torch.Generator | None,
) -> None:
    """In place. modules: which matrices are adapted, saved: which modules learn whole, both by the
    ends of their Hugging Face names. Raises UserError for modules that the model has not.
    """
    places = list_places(network)
    chosen = choose_targets(places, modules, "adapter_modules")
    trained = choose_trained(places, saved, "adapter_saves")
    adapt_network(
        network, chosen, trained, settings=settings, weights=weights, generator=generator
    )  # fmt: skip


def start_bottlenecks(
    network: Any, settings: Houlsby, weights: FrozenWeights, generator: torch.Generator | None
) -> None:
    """In place. Raises UserError for a network that is no Transformer."""
    _check_class(network, "houlsby")
    freeze_network(network, weights)
    add_bottlenecks(network, settings, generator)


def start_virtual(
    network: Any,
    settings: Virtual,
    tokenizer: Tokenizer,
    sayable: Tensor,
    weights: FrozenWeights,
    generator: torch.Generator | None,
) -> None:
    """In place. sayable: [V] bool, among which tokens are drawn. Raises UserError for a text
    without tokens, for more virtual tokens than the context holds, and for a network that is no
    Transformer.
    """
    _check_class(network, settings.kind)
    context = network.config.context
    if settings.number >= context:
        raise UserError(
            f"adapter_tokens={settings.number} leaves no room in the model's context of {context} "
            "tokens: give fewer."
        )
    freeze_network(network, weights)
    tokens = choose_tokens(settings, tokenizer, sayable, generator)
    put_before(network, start_from(settings.kind, network, tokens))


def _check_class(network: Any, kind: str) -> None:
    if type(network) is not Transformer:
        raise UserError(
            f"adapter={kind} changes how a block computes, which fledge does in its own "
            f"transformer and not in a {type(network).__name__}: give adapter=lora."
        )


def choose_tokens(
    settings: Virtual, tokenizer: Tokenizer, sayable: Tensor, generator: torch.Generator | None
) -> Tensor:
    """What virtual tokens start from: the settings' text, repeated or cut to their number; by
    default tokens that can be said, each as likely (Lester et al. 2021, §3.2).  -> [N]
    """
    if not settings.text:
        some = sayable.nonzero().flatten()
        return some[torch.randint(len(some), (settings.number,), generator=generator)]
    tokens = tokenizer.encode(settings.text)
    if not tokens:
        raise UserError(f"adapter_text={settings.text!r} has no token: give another text.")
    return torch.tensor([tokens[i % len(tokens)] for i in range(settings.number)])
